//! Channels and members: `chat_channels`.
//!
//! | key | item |
//! | --- | --- |
//! | `<channel_id>` / `meta` | the channel, and how many `owners` it has |
//! | `<channel_id>` / `member#<user_id>` | a member |
//! | `<channel_id>` / `created#<user_id>#<key>` | the idempotency key with which it was created |
//! | `user#<user_id>` / `member#<channel_id>` | the same membership in its user's list, with the user's `read_seq` |
//! | `public#` / `<name>#<channel_id>` | a public channel in the list of all, by its name in lower case |
//! | `user#<user_id>` / `rate#<action>` | a token bucket ([`chat::rate`]) |
//! | `deletions#` / `<channel_id>` | a deleted channel of which something is left ([`crate::remains`]) |
//!
//! Channel and user ids, and `public#`, are followed or preceded by the tenant's name where there is one.
//!
//! The lists are items and not an index, because an index is only eventually consistent: a user who connects right
//! after joining would miss the channel. No channel id holds a `#`, so the two kinds of partitions cannot meet.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use chat::{
    channel::{
        Channel, ChannelPage, ChannelStore, Creation, Member, MemberAdded, MemberChanged, MemberPage, MemberRole,
        OwnChannel, PublicPage, Visibility,
    },
    clock::{Backoff, Clock, SystemClock, Timestamp},
    error::StoreError,
    id::{ChannelId, IdempotencyKey, TenantId, UserId},
};

use crate::{
    item::{Item, attribute, key, n, read, s, write},
    remains::DELETIONS,
    sdk::{failed, unreadable},
    tenant::Names,
};

pub(crate) const META: &str = "meta";
pub(crate) const MEMBER: &str = "member#";
const TRANSACTION: &str = "TransactWriteItems";
const BATCH_GET_BACKOFF: Backoff =
    Backoff { first: std::time::Duration::from_millis(20), most: std::time::Duration::from_millis(500) };
const BATCH_GET_ATTEMPTS: u32 = 8;

/// The key of a channel's own item.
pub(crate) fn meta_key(names: &Names, channel: &ChannelId) -> Item {
    key(("channel_id", s(names.key(channel))), ("sk", s(META)))
}

/// The key of a member.
pub(crate) fn member_key(names: &Names, channel: &ChannelId, user: &UserId) -> Item {
    key(("channel_id", s(names.key(channel))), ("sk", s(member_sk(user))))
}

/// The partition of what belongs to a user.
/// Longest sort key ("Constraints in Amazon DynamoDB").
const SORT_KEY_BYTES: usize = 1_024;

pub(crate) fn user_list(names: &Names, user: &str) -> String {
    format!("user#{}", names.key(user))
}

/// Whether the channel's own item tells of a channel that has been deleted.
pub(crate) fn is_deleted(meta: &Item) -> bool {
    meta.contains_key("deleted_at")
}

fn member_sk(user: &UserId) -> String {
    format!("{MEMBER}{user}")
}

/// Channels in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoChannels {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) names: Names,
}

impl DynamoChannels {
    /// Channels in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), names: Names::default() }
    }

    /// The channels of a tenant.
    #[must_use]
    pub fn of(&self, tenant: Option<&TenantId>) -> Self {
        Self { names: Names::of(tenant), ..self.clone() }
    }

    pub(crate) fn channel_name(&self, channel: &ChannelId) -> String {
        self.names.key(channel)
    }

    pub(crate) fn list_name(&self, user: &UserId) -> String {
        user_list(&self.names, user.as_str())
    }

    /// The key of a membership in its user's list.
    fn listed_key(&self, channel: &ChannelId, user: &UserId) -> Item {
        key(("channel_id", s(self.list_name(user))), ("sk", s(format!("{MEMBER}{channel}"))))
    }

    fn creation_key(&self, channel: &ChannelId, user: &UserId, creation: &IdempotencyKey) -> Item {
        key(("channel_id", s(self.names.key(channel))), ("sk", s(format!("created#{user}#{creation}"))))
    }

    fn public_list(&self) -> String {
        format!("public#{}", self.names.prefix())
    }

    /// The key of a channel in the list of public ones, where it is one.
    fn public_key(&self, channel: &Channel) -> Option<Item> {
        let sk = format!("{}#{}", channel.name.to_lowercase(), channel.channel_id);
        let is_public = channel.visibility == Visibility::Public;
        is_public.then(|| key(("channel_id", s(self.public_list())), ("sk", s(sk))))
    }

    pub(crate) async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        Ok(found.item)
    }

    /// A page of the items of a partition whose sort key is `<prefix><id>`, by id; and whether there are more.
    async fn page(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        // `$` comes right after `#`: no id is beyond it.
        let last = format!("{}$", prefix.trim_end_matches('#'));
        self.range(partition, prefix, &last, after, limit).await
    }

    /// A page of the items of a partition from the sort key `<first><after>` on up to `last`; and whether there are
    /// more.
    async fn range(
        &self,
        partition: &str,
        first: &str,
        last: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let mut items = Vec::new();
        let first = format!("{first}{}", after.unwrap_or_default());
        let mut start = after.map(|_| key(("channel_id", s(partition)), ("sk", s(&first))));
        loop {
            let wanted = (limit + 1 - items.len()).min(1_000);
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("channel_id = :partition AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":partition", s(partition))
                .expression_attribute_values(":first", s(&first))
                .expression_attribute_values(":last", s(last))
                .consistent_read(true)
                .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| failed("Query", error))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() || items.len() > limit {
                let more = items.len() > limit;
                items.truncate(limit);
                return Ok((items, more));
            }
        }
    }

    async fn listed(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: usize,
    ) -> Result<(Vec<(ChannelId, u64)>, bool), StoreError> {
        let (items, more) = self.page(&self.list_name(user), MEMBER, after.map(ChannelId::as_str), limit).await?;
        let ids = items.iter().map(|item| {
            let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).and_then(|sk| sk.strip_prefix(MEMBER));
            let id = sk.unwrap_or_default().parse().map_err(|error| unreadable("Query", error))?;
            Ok((id, read_seq(item)))
        });
        Ok((ids.collect::<Result<_, _>>()?, more))
    }

    /// Counts an owner more, or one less of at least two.
    fn count_owners(&self, channel: &ChannelId, more: bool) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder().table_name(&self.table).set_key(Some(meta_key(&self.names, channel)));
        let update = if more {
            update.update_expression("ADD owners :one").condition_expression("attribute_exists(sk)")
        } else {
            update.update_expression("SET owners = owners - :one").condition_expression("owners > :one")
        };
        let update =
            update.expression_attribute_values(":one", n(1)).build().map_err(|error| unreadable(TRANSACTION, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Runs changes of a channel, its own item first. `false`: it is not as believed, or others are at it.
    async fn change(&self, changes: Vec<TransactWriteItem>) -> Result<bool, StoreError> {
        let call = self.client.transact_write_items().set_transact_items(Some(changes));
        let Err(error) = call.send().await else { return Ok(true) };
        let Some(reasons) = cancellation_reasons(&error) else { return Err(failed(TRANSACTION, error)) };
        let is_other = |reason: &CancellationReason| {
            matches!(reason.code(), Some("ConditionalCheckFailed" | "TransactionConflict"))
        };
        if reasons.iter().any(is_other) { Ok(false) } else { Err(conflict()) }
    }

    /// Runs changes of a member: first the member's own item, then whatever counts the owners.
    async fn change_member(&self, changes: Vec<TransactWriteItem>) -> Result<MemberChanged, StoreError> {
        let call = self.client.transact_write_items().set_transact_items(Some(changes));
        let Err(error) = call.send().await else { return Ok(MemberChanged::Done) };
        let Some(reasons) = cancellation_reasons(&error) else { return Err(failed(TRANSACTION, error)) };
        if refused(reasons, 0).is_some() {
            return Ok(MemberChanged::Lost);
        }
        if reasons.iter().any(|reason| reason.code() == Some("ConditionalCheckFailed")) {
            return Ok(MemberChanged::LastOwner);
        }
        Err(conflict())
    }

    fn put_new(&self, operation: &'static str, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(sk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unreadable(operation, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Channels by id; those that have gone are left out.
    async fn channels(
        &self,
        ids: impl Iterator<Item = &ChannelId>,
    ) -> Result<BTreeMap<ChannelId, Channel>, StoreError> {
        const OPERATION: &str = "BatchGetItem";
        let mut wanted: Vec<Item> = ids.map(|id| meta_key(&self.names, id)).collect();
        let mut channels = BTreeMap::new();
        for attempt in 0..BATCH_GET_ATTEMPTS {
            if wanted.is_empty() {
                break;
            }
            if attempt > 0 {
                SystemClock.sleep(BATCH_GET_BACKOFF.delay(&SystemClock, attempt - 1)).await;
            }
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(std::mem::take(&mut wanted)))
                .consistent_read(true)
                .build()
                .map_err(|error| unreadable(OPERATION, error))?;
            let found = self
                .client
                .batch_get_item()
                .request_items(&self.table, keys)
                .send()
                .await
                .map_err(|error| failed(OPERATION, error))?;
            for item in found.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                if !is_deleted(&item) {
                    let channel: Channel = read(OPERATION, self.names.plain(item))?;
                    channels.insert(channel.channel_id.clone(), channel);
                }
            }
            wanted = found
                .unprocessed_keys
                .unwrap_or_default()
                .remove(&self.table)
                .map(|rest| rest.keys)
                .unwrap_or_default();
        }
        if !wanted.is_empty() {
            let source = "the table is too busy to read all channels".into();
            return Err(StoreError { operation: OPERATION, retryable: true, source });
        }
        Ok(channels)
    }
}

impl ChannelStore for DynamoChannels {
    async fn create(&self, channel: &Channel, owner: &Member, creation: Option<&Creation>) -> Result<bool, StoreError> {
        let mut meta = write(TRANSACTION, channel)?;
        meta.extend(meta_key(&self.names, &channel.channel_id));
        meta.insert("owners".to_owned(), n(1));
        let mut changes = vec![
            self.put_new(TRANSACTION, meta)?,
            self.put_new(TRANSACTION, self.member_item(owner)?)?,
            self.put_listed(owner, 0)?,
        ];
        changes.extend(self.list_publicly(None, Some(channel))?);
        if let Some(Creation { key, fingerprint }) = creation {
            let mut item = self.creation_key(&channel.channel_id, &owner.user_id, key);
            item.insert("fingerprint".to_owned(), s(fingerprint));
            changes.push(self.put_new(TRANSACTION, item)?);
        }
        let created = self.client.transact_write_items().set_transact_items(Some(changes)).send().await;
        let Err(error) = created else { return Ok(true) };
        match cancellation_reasons(&error) {
            Some(reasons) if refused(reasons, 0).is_some() => Ok(false),
            Some(_) => Err(conflict()),
            None => Err(failed(TRANSACTION, error)),
        }
    }

    async fn creation(
        &self,
        channel: &ChannelId,
        user: &UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<Creation>, StoreError> {
        let found = self.get(self.creation_key(channel, user, key)).await?;
        let fingerprint = found.and_then(|mut item| match item.remove("fingerprint") {
            Some(AttributeValue::S(fingerprint)) => Some(fingerprint),
            _ => None,
        });
        Ok(fingerprint.map(|fingerprint| Creation { key: key.clone(), fingerprint }))
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        let found = self.get(meta_key(&self.names, id)).await?.filter(|item| !is_deleted(item));
        found.map(|item| read("GetItem", self.names.plain(item))).transpose()
    }

    async fn update(&self, before: &Channel, changed: &Channel) -> Result<bool, StoreError> {
        let mut set = vec!["#name = :name", "visibility = :visibility", "#agent = :agent", "version = :version"];
        let mut remove = Vec::new();
        let mut values = Item::from([
            (":name".to_owned(), s(&changed.name)),
            (":visibility".to_owned(), attribute(TRANSACTION, changed.visibility)?),
            (":agent".to_owned(), attribute(TRANSACTION, &changed.agent)?),
            (":version".to_owned(), n(changed.version)),
            (":before".to_owned(), n(before.version)),
        ]);
        match changed.archived_at {
            Some(at) => {
                set.push("archived_at = :archived_at");
                values.insert(":archived_at".to_owned(), s(at.to_string()));
            }
            None => remove.push("archived_at"),
        }
        match changed.retention_days {
            Some(days) => {
                set.push("retention_days = :retention_days");
                values.insert(":retention_days".to_owned(), n(days));
            }
            None => remove.push("retention_days"),
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(meta_key(&self.names, &changed.channel_id)))
            .update_expression(expression)
            .condition_expression("version = :before")
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#agent", "agent")
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        let mut changes = vec![TransactWriteItem::builder().update(update).build()];
        changes.extend(self.list_publicly(Some(before), Some(changed))?);
        self.change(changes).await
    }

    async fn delete(&self, channel: &Channel, now: Timestamp) -> Result<bool, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(meta_key(&self.names, &channel.channel_id)))
            // Another version: what was about to be written to the channel as it was is refused.
            .update_expression("SET deleted_at = :now, version = :next")
            .condition_expression("version = :version")
            .expression_attribute_values(":now", s(now.to_string()))
            .expression_attribute_values(":version", n(channel.version))
            .expression_attribute_values(":next", n(channel.version + 1))
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        let remains = key(("channel_id", s(DELETIONS)), ("sk", s(self.names.key(&channel.channel_id))));
        let remains = Put::builder().table_name(&self.table).set_item(Some(remains)).build();
        let remains = remains.map_err(|error| unreadable(TRANSACTION, error))?;
        let mut changes = vec![
            TransactWriteItem::builder().update(update).build(),
            TransactWriteItem::builder().put(remains).build(),
        ];
        changes.extend(self.list_publicly(Some(channel), None)?);
        self.change(changes).await
    }

    async fn public_channels(
        &self,
        name_prefix: &str,
        after: Option<&str>,
        limit: u16,
    ) -> Result<PublicPage, StoreError> {
        let prefix = name_prefix.to_lowercase();
        // No character of a name is beyond it.
        let last = format!("{prefix}\u{10ffff}");
        // What does not continue the prefix was not given out for it, nor what is no key, or beyond the last.
        let is_key = |key: &str| key.len() <= SORT_KEY_BYTES && key <= last.as_str();
        let after = after
            .filter(|after| is_key(after))
            .and_then(|after| after.strip_prefix(prefix.as_str()))
            .filter(|rest| !rest.is_empty());
        let partition = self.public_list();
        let (items, more) = self.range(&partition, &prefix, &last, after, usize::from(limit)).await?;
        let names: Vec<String> = items
            .into_iter()
            .filter_map(|mut item| match item.remove("sk") {
                Some(AttributeValue::S(sk)) => Some(sk),
                _ => None,
            })
            .collect();
        // A name may hold a `#`, an id none.
        let ids: Vec<ChannelId> =
            names.iter().filter_map(|name| name.rsplit_once('#').and_then(|(_, id)| id.parse().ok())).collect();
        let mut found = self.channels(ids.iter()).await?;
        let channels = ids.iter().filter_map(|id| found.remove(id));
        // Who was made private a moment ago is not told of.
        let channels = channels.filter(|channel| channel.visibility == Visibility::Public).collect();
        Ok(PublicPage { channels, next_after: names.last().filter(|_| more).cloned() })
    }

    async fn mark_read(&self, channel: &ChannelId, user: &UserId, seq: u64) -> Result<Option<u64>, StoreError> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.listed_key(channel, user)))
            .update_expression("SET read_seq = :seq")
            .condition_expression("attribute_exists(sk) AND (attribute_not_exists(read_seq) OR read_seq < :seq)")
            .expression_attribute_values(":seq", n(seq))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match updated {
            Ok(_) => Ok(Some(seq)),
            Err(SdkError::ServiceError(context)) => match context.err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => {
                    Ok(refused.item().filter(|item| !item.is_empty()).map(read_seq))
                }
                _ => Err(failed("UpdateItem", SdkError::ServiceError(context))),
            },
            Err(error) => Err(failed("UpdateItem", error)),
        }
    }

    async fn member(&self, channel: &ChannelId, user: &UserId) -> Result<Option<Member>, StoreError> {
        let found = self.get(member_key(&self.names, channel, user)).await?;
        found.map(|item| read("GetItem", self.names.plain(item))).transpose()
    }

    async fn members(&self, channel: &ChannelId, after: Option<&UserId>, limit: u16) -> Result<MemberPage, StoreError> {
        let (items, more) =
            self.page(&self.names.key(channel), MEMBER, after.map(UserId::as_str), usize::from(limit)).await?;
        let members = items.into_iter().map(|item| read("Query", self.names.plain(item)));
        let members: Vec<Member> = members.collect::<Result<_, _>>()?;
        let next_after = members.last().filter(|_| more).map(|member| member.user_id.clone());
        Ok(MemberPage { members, next_after })
    }

    async fn channels_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
    ) -> Result<ChannelPage, StoreError> {
        let (ids, more) = self.listed(user, after, usize::from(limit)).await?;
        let next_after = ids.last().filter(|_| more).map(|(id, _)| id.clone());
        let mut found = self.channels(ids.iter().map(|(id, _)| id)).await?;
        let channels = ids.into_iter().filter_map(|(id, read_seq)| {
            let channel = found.remove(&id)?;
            Some(OwnChannel { unread_count: channel.last_seq.saturating_sub(read_seq), read_seq, channel })
        });
        Ok(ChannelPage { channels: channels.collect(), next_after })
    }

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Vec<ChannelId>, StoreError> {
        Ok(self.listed(user, None, limit).await?.0.into_iter().map(|(id, _)| id).collect())
    }

    async fn add_member(
        &self,
        member: &Member,
        visibility: Visibility,
        read_seq: u64,
    ) -> Result<MemberAdded, StoreError> {
        let owner = member.role == MemberRole::Owner;
        let as_believed =
            "visibility = :visibility AND attribute_not_exists(archived_at) AND attribute_not_exists(deleted_at)";
        let visibility = attribute(TRANSACTION, visibility)?;
        let meta = Some(meta_key(&self.names, &member.channel_id));
        let channel = if owner {
            let update = Update::builder()
                .table_name(&self.table)
                .set_key(meta)
                .update_expression("ADD owners :one")
                .condition_expression(as_believed)
                .expression_attribute_values(":one", n(1))
                .expression_attribute_values(":visibility", visibility)
                .build();
            TransactWriteItem::builder().update(update.map_err(|error| unreadable(TRANSACTION, error))?).build()
        } else {
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(meta)
                .condition_expression(as_believed)
                .expression_attribute_values(":visibility", visibility)
                .build();
            TransactWriteItem::builder().condition_check(check.map_err(|error| unreadable(TRANSACTION, error))?).build()
        };
        let added = self
            .client
            .transact_write_items()
            .transact_items(channel)
            .transact_items(self.put_new(TRANSACTION, self.member_item(member)?)?)
            .transact_items(self.put_listed(member, read_seq)?)
            .send()
            .await;
        let Err(error) = added else { return Ok(MemberAdded::Added) };
        let Some(reasons) = cancellation_reasons(&error) else { return Err(failed(TRANSACTION, error)) };
        if let Some(item) = refused(reasons, 1).and_then(|reason| reason.item.clone()) {
            return Ok(MemberAdded::Already(read(TRANSACTION, self.names.plain(item))?));
        }
        if refused(reasons, 0).is_some() {
            return Ok(MemberAdded::ChannelChanged);
        }
        Err(conflict())
    }

    async fn change_role(&self, member: &Member, role: MemberRole) -> Result<MemberChanged, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(member_key(&self.names, &member.channel_id, &member.user_id)))
            .update_expression("SET #role = :to")
            .condition_expression("#role = :from")
            .expression_attribute_names("#role", "role")
            .expression_attribute_values(":from", attribute(TRANSACTION, member.role)?)
            .expression_attribute_values(":to", attribute(TRANSACTION, role)?)
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        let mut changes = vec![TransactWriteItem::builder().update(update).build()];
        match (member.role, role) {
            (MemberRole::Owner, MemberRole::Owner) => {}
            (MemberRole::Owner, _) => changes.push(self.count_owners(&member.channel_id, false)?),
            (_, MemberRole::Owner) => changes.push(self.count_owners(&member.channel_id, true)?),
            _ => {}
        }
        self.change_member(changes).await
    }

    async fn remove_member(&self, member: &Member) -> Result<MemberChanged, StoreError> {
        let own = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(member_key(&self.names, &member.channel_id, &member.user_id)))
            .condition_expression("#role = :role")
            .expression_attribute_names("#role", "role")
            .expression_attribute_values(":role", attribute(TRANSACTION, member.role)?)
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        let listed = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(self.listed_key(&member.channel_id, &member.user_id)))
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        let mut changes: Vec<TransactWriteItem> =
            [own, listed].map(|delete| TransactWriteItem::builder().delete(delete).build()).into();
        if member.role == MemberRole::Owner {
            changes.push(self.count_owners(&member.channel_id, false)?);
        }
        self.change_member(changes).await
    }
}

impl DynamoChannels {
    fn member_item(&self, member: &Member) -> Result<Item, StoreError> {
        let mut item = write(TRANSACTION, member)?;
        item.extend(member_key(&self.names, &member.channel_id, &member.user_id));
        Ok(item)
    }

    /// What changes in the list of public channels with a channel that was as `before` and is as `after`.
    fn list_publicly(
        &self,
        before: Option<&Channel>,
        after: Option<&Channel>,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (before, after) =
            (before.and_then(|channel| self.public_key(channel)), after.and_then(|channel| self.public_key(channel)));
        let mut changes = Vec::new();
        if before == after {
            return Ok(changes);
        }
        if let Some(key) = before {
            let delete = Delete::builder().table_name(&self.table).set_key(Some(key)).build();
            let delete = delete.map_err(|error| unreadable(TRANSACTION, error))?;
            changes.push(TransactWriteItem::builder().delete(delete).build());
        }
        if let Some(item) = after {
            let put = Put::builder().table_name(&self.table).set_item(Some(item)).build();
            let put = put.map_err(|error| unreadable(TRANSACTION, error))?;
            changes.push(TransactWriteItem::builder().put(put).build());
        }
        Ok(changes)
    }

    fn put_listed(&self, member: &Member, read_seq: u64) -> Result<TransactWriteItem, StoreError> {
        let mut item = self.listed_key(&member.channel_id, &member.user_id);
        item.insert("joined_at".to_owned(), s(member.joined_at.to_string()));
        item.insert("read_seq".to_owned(), n(read_seq));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

fn read_seq(listed: &Item) -> u64 {
    listed.get("read_seq").and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default()
}

/// Another transaction was under way on the same items.
fn conflict() -> StoreError {
    let source = "another change of the channel was under way".into();
    StoreError { operation: TRANSACTION, retryable: true, source }
}

/// The reason of the item `index` of a cancelled transaction, when its condition did not hold.
fn refused(reasons: &[CancellationReason], index: usize) -> Option<&CancellationReason> {
    reasons.get(index).filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
}

/// The reasons of a cancelled transaction; `None` when it failed otherwise.
fn cancellation_reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<&[CancellationReason]> {
    let SdkError::ServiceError(context) = error else { return None };
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = context.err() else { return None };
    Some(cancelled.cancellation_reasons())
}
