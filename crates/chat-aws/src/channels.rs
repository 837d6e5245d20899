//! Channels and members: `chat_channels`.
//!
//! | key | item |
//! | --- | --- |
//! | `<channel_id>` / `meta` | the channel, and how many `owners` it has |
//! | `<channel_id>` / `member#<user_id>` | a member |
//! | `user#<user_id>` / `member#<channel_id>` | the same membership in its user's list |
//!
//! The lists are items and not an index, because an index is only eventually consistent: a user who connects right
//! after joining would miss the channel. No channel id holds a `#`, so the two kinds of partitions cannot meet.

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
use chat::{
    channel::{
        Channel, ChannelPage, ChannelStore, Member, MemberAdded, MemberChanged, MemberPage, MemberRole, Visibility,
    },
    clock::{Backoff, Clock, SystemClock},
    error::StoreError,
    id::{ChannelId, UserId},
};

use crate::{
    item::{Item, attribute, key, n, read, s, write},
    sdk::{failed, unreadable},
};

const META: &str = "meta";
const MEMBER: &str = "member#";
const TRANSACTION: &str = "TransactWriteItems";
const BATCH_GET_BACKOFF: Backoff =
    Backoff { first: std::time::Duration::from_millis(20), most: std::time::Duration::from_millis(500) };
const BATCH_GET_ATTEMPTS: u32 = 8;

/// The key of a channel's own item.
pub(crate) fn meta_key(channel: &ChannelId) -> Item {
    key(("channel_id", s(channel.as_str())), ("sk", s(META)))
}

/// The key of a member.
pub(crate) fn member_key(channel: &ChannelId, user: &UserId) -> Item {
    key(("channel_id", s(channel.as_str())), ("sk", s(member_sk(user))))
}

fn member_sk(user: &UserId) -> String {
    format!("{MEMBER}{user}")
}

fn list_name(user: &UserId) -> String {
    format!("user#{user}")
}

/// The key of a membership in its user's list.
fn listed_key(member: &Member) -> Item {
    let sk = format!("{MEMBER}{}", member.channel_id);
    key(("channel_id", s(list_name(&member.user_id))), ("sk", s(sk)))
}

/// Channels in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoChannels {
    client: Client,
    table: String,
}

impl DynamoChannels {
    /// Channels in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
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
        let mut items = Vec::new();
        // `$` comes right after `#`: no id is beyond it.
        let last = format!("{}$", prefix.trim_end_matches('#'));
        let first = format!("{prefix}{}", after.unwrap_or_default());
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
                .expression_attribute_values(":last", s(&last))
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
    ) -> Result<(Vec<ChannelId>, bool), StoreError> {
        let (items, more) = self.page(&list_name(user), MEMBER, after.map(ChannelId::as_str), limit).await?;
        let ids = items.iter().map(|item| {
            let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).and_then(|sk| sk.strip_prefix(MEMBER));
            sk.unwrap_or_default().parse().map_err(|error| unreadable("Query", error))
        });
        Ok((ids.collect::<Result<_, _>>()?, more))
    }

    /// Counts an owner more, or one less of at least two.
    fn count_owners(&self, channel: &ChannelId, more: bool) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder().table_name(&self.table).set_key(Some(meta_key(channel)));
        let update = if more {
            update.update_expression("ADD owners :one").condition_expression("attribute_exists(sk)")
        } else {
            update.update_expression("SET owners = owners - :one").condition_expression("owners > :one")
        };
        let update =
            update.expression_attribute_values(":one", n(1)).build().map_err(|error| unreadable(TRANSACTION, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
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

    /// The items of channels, in the order of `ids`; those that have gone are left out.
    async fn channels(&self, ids: &[ChannelId]) -> Result<Vec<Channel>, StoreError> {
        const OPERATION: &str = "BatchGetItem";
        let mut wanted: Vec<Item> = ids.iter().map(meta_key).collect();
        let mut channels: Vec<Channel> = Vec::with_capacity(ids.len());
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
                channels.push(read(OPERATION, item)?);
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
        channels.sort_unstable_by(|a, b| a.channel_id.cmp(&b.channel_id));
        Ok(channels)
    }
}

impl ChannelStore for DynamoChannels {
    async fn create(&self, channel: &Channel, owner: &Member) -> Result<bool, StoreError> {
        let mut meta = write(TRANSACTION, channel)?;
        meta.insert("sk".to_owned(), s(META));
        meta.insert("owners".to_owned(), n(1));
        let created = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(TRANSACTION, meta)?)
            .transact_items(self.put_new(TRANSACTION, member_item(owner)?)?)
            .transact_items(self.put_listed(owner)?)
            .send()
            .await;
        let Err(error) = created else { return Ok(true) };
        match cancellation_reasons(&error) {
            Some(reasons) if refused(reasons, 0).is_some() => Ok(false),
            Some(_) => Err(conflict()),
            None => Err(failed(TRANSACTION, error)),
        }
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        self.get(meta_key(id)).await?.map(|item| read("GetItem", item)).transpose()
    }

    async fn update(&self, changed: &Channel) -> Result<bool, StoreError> {
        const OPERATION: &str = "UpdateItem";
        let mut set = vec!["#name = :name", "visibility = :visibility", "#agent = :agent", "version = :version"];
        let mut remove = Vec::new();
        let mut values = Item::from([
            (":name".to_owned(), s(&changed.name)),
            (":visibility".to_owned(), attribute(OPERATION, changed.visibility)?),
            (":agent".to_owned(), attribute(OPERATION, &changed.agent)?),
            (":version".to_owned(), n(changed.version)),
            (":before".to_owned(), n(changed.version.saturating_sub(1))),
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
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(meta_key(&changed.channel_id)))
            .update_expression(expression)
            .condition_expression("version = :before")
            .expression_attribute_names("#name", "name")
            .expression_attribute_names("#agent", "agent")
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        match updated {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(
                    context.err(),
                    // A message was being appended.
                    UpdateItemError::ConditionalCheckFailedException(_)
                        | UpdateItemError::TransactionConflictException(_)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(OPERATION, error)),
        }
    }

    async fn member(&self, channel: &ChannelId, user: &UserId) -> Result<Option<Member>, StoreError> {
        self.get(member_key(channel, user)).await?.map(|item| read("GetItem", item)).transpose()
    }

    async fn members(&self, channel: &ChannelId, after: Option<&UserId>, limit: u16) -> Result<MemberPage, StoreError> {
        let (items, more) = self.page(channel.as_str(), MEMBER, after.map(UserId::as_str), usize::from(limit)).await?;
        let members: Vec<Member> = items.into_iter().map(|item| read("Query", item)).collect::<Result<_, _>>()?;
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
        let next_after = ids.last().filter(|_| more).cloned();
        Ok(ChannelPage { channels: self.channels(&ids).await?, next_after })
    }

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Vec<ChannelId>, StoreError> {
        Ok(self.listed(user, None, limit).await?.0)
    }

    async fn add_member(&self, member: &Member, visibility: Visibility) -> Result<MemberAdded, StoreError> {
        let owner = member.role == MemberRole::Owner;
        let as_believed = "visibility = :visibility AND attribute_not_exists(archived_at)";
        let visibility = attribute(TRANSACTION, visibility)?;
        let meta = Some(meta_key(&member.channel_id));
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
            .transact_items(self.put_new(TRANSACTION, member_item(member)?)?)
            .transact_items(self.put_listed(member)?)
            .send()
            .await;
        let Err(error) = added else { return Ok(MemberAdded::Added) };
        let Some(reasons) = cancellation_reasons(&error) else { return Err(failed(TRANSACTION, error)) };
        if let Some(item) = refused(reasons, 1).and_then(|reason| reason.item.clone()) {
            return Ok(MemberAdded::Already(read(TRANSACTION, item)?));
        }
        if refused(reasons, 0).is_some() {
            return Ok(MemberAdded::ChannelChanged);
        }
        Err(conflict())
    }

    async fn change_role(&self, member: &Member, role: MemberRole) -> Result<MemberChanged, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(member_key(&member.channel_id, &member.user_id)))
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
            .set_key(Some(member_key(&member.channel_id, &member.user_id)))
            .condition_expression("#role = :role")
            .expression_attribute_names("#role", "role")
            .expression_attribute_values(":role", attribute(TRANSACTION, member.role)?)
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        let listed = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(listed_key(member)))
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
    fn put_listed(&self, member: &Member) -> Result<TransactWriteItem, StoreError> {
        let mut item = listed_key(member);
        item.insert("joined_at".to_owned(), s(member.joined_at.to_string()));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .build()
            .map_err(|error| unreadable(TRANSACTION, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

fn member_item(member: &Member) -> Result<Item, StoreError> {
    let mut item = write(TRANSACTION, member)?;
    item.insert("sk".to_owned(), s(member_sk(&member.user_id)));
    Ok(item)
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
