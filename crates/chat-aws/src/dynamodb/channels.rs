//! Channels and members, in `chat_channels`: see [`crate::dynamodb::keys`].
//!
//! Every change checks its authority by conditions in the same transaction: see [`crate::dynamodb::authority`].
//!
//! Lists are items and not an index, because an index is only eventually consistent. A user who connects right after
//! joining would miss the channel.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{query::builders::QueryFluentBuilder, update_item::UpdateItemError},
    types::{KeysAndAttributes, ReturnValuesOnConditionCheckFailure, Select},
};
use chat::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberAdded, MemberRole, Memberships, OwnChannel, Visibility},
        error::StoreError,
        id::{ChannelId, IdempotencyKey, TenantId, UserId},
        incarnation::{ChannelKey, Incarnation},
        pending_end::PendingEnd,
        time::Timestamp,
    },
    ports::{
        channel_store::{ChannelCreated, ChannelPage, ChannelStore, Creation, MemberChanged, MemberPage, PublicPage},
        clock::{Backoff, Clock, SystemClock},
    },
};

use crate::{
    dynamodb::{
        authority::{Access, Place, as_read, is_contradicted},
        gate::Gates,
        item::{Item, attribute, n, number, read, s, text, write},
        keys::{self, Keys, SortRange},
        pending_items,
        transaction::{OPERATION, Part, Ran, Refused, Transaction, Write},
    },
    sdk::{decode_error, sdk_error},
};

const BATCH_GET: &str = "BatchGetItem";
const BATCH_GET_BACKOFF: Backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(500) };
const BATCH_GET_ATTEMPTS: u32 = 8;

/// Maximum number of items of one query. A page ends at 1 MB in any case ("Query" in the DynamoDB API reference).
const QUERY_ITEMS: usize = 1_000;

/// Channels in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoChannels {
    pub(crate) client: Client,
    pub(crate) table: String,
    connections: Option<String>,
    pub(crate) keys: Keys,
}

impl DynamoChannels {
    /// Creates a store for channels in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), connections: None, keys: Keys::default() }
    }

    /// Returns the same store with gates in the table `connections`. It is required for adding members and for changes
    /// that end subscriptions.
    #[must_use]
    pub fn with_connections(self, connections: impl Into<String>) -> Self {
        Self { connections: Some(connections.into()), ..self }
    }

    /// Returns the channels of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place { table: &self.table, keys: &self.keys }
    }

    fn gates(&self) -> Result<Gates<'_>, StoreError> {
        let table = self.connections.as_deref().ok_or_else(|| {
            decode_error(OPERATION, "DynamoChannels::with_connections names no table for the channels' gates")
        })?;
        Ok(Gates { table, keys: &self.keys })
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
            .map_err(|error| sdk_error("GetItem", error))?;
        Ok(found.item)
    }

    fn range(&self, range: &SortRange) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("channel_id = :partition AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":partition", s(&range.partition))
            .expression_attribute_values(":first", s(&range.first))
            .expression_attribute_values(":last", s(&range.last))
            .consistent_read(true)
    }

    /// Returns up to `limit` items of a range, the last first. Reads one query page of up to 1 MB.
    async fn newest(&self, range: &SortRange, limit: usize) -> Result<Vec<Item>, StoreError> {
        let limit = i32::try_from(limit.clamp(1, QUERY_ITEMS)).unwrap_or(i32::MAX);
        let page = self.range(range).scan_index_forward(false).limit(limit).send().await;
        Ok(page.map_err(|error| sdk_error("Query", error))?.items.unwrap_or_default())
    }

    /// Returns the number of items in a range. Reads one query page of 1 MB, about 5,000 memberships.
    async fn count(&self, range: &SortRange) -> Result<usize, StoreError> {
        let counted =
            self.range(range).select(Select::Count).send().await.map_err(|error| sdk_error("Query", error))?;
        Ok(usize::try_from(counted.count).unwrap_or_default())
    }

    /// Sends one query of a range from `start` on. Returns items and the start of the next query.
    async fn query(
        &self,
        range: &SortRange,
        limit: usize,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let page = self
            .range(range)
            .limit(i32::try_from(limit.min(QUERY_ITEMS)).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| sdk_error("Query", error))?;
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key))
    }

    /// Returns up to `limit` items of a range, and whether there are more.
    pub(crate) async fn page(&self, range: &SortRange, limit: usize) -> Result<(Vec<Item>, bool), StoreError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let (found, next) = self.query(range, limit + 1 - items.len(), start.take()).await?;
            items.extend(found);
            start = next;
            if start.is_none() || items.len() > limit {
                let more = items.len() > limit;
                items.truncate(limit);
                return Ok((items, more));
            }
        }
    }

    /// Returns a user's memberships in up to `limit` channel ids after `after`, each with its read mark, and whether
    /// there are more. One id may have several while memberships of a deleted channel are being removed. A page
    /// contains all of them.
    async fn listed(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: usize,
    ) -> Result<(Vec<(ChannelKey, u64)>, bool), StoreError> {
        let range = self.keys.memberships(user, after);
        let mut listed: Vec<(ChannelKey, u64)> = Vec::new();
        let mut ids = BTreeSet::new();
        let mut start = None;
        loop {
            let (found, next) = self.query(&range, limit + 1 - ids.len(), start.take()).await?;
            for item in found {
                let key = listed_channel(&item)?;
                ids.insert(key.channel_id.clone());
                if ids.len() > limit {
                    return Ok((listed, true));
                }
                listed.push((key, read_seq(&item)));
            }
            start = next;
            if start.is_none() {
                return Ok((listed, false));
            }
        }
    }

    /// Returns items by their keys, in any order. Missing items are left out.
    pub(crate) async fn batch_get(&self, mut wanted: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
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
                .map_err(|error| decode_error(BATCH_GET, error))?;
            let found = self
                .client
                .batch_get_item()
                .request_items(&self.table, keys)
                .send()
                .await
                .map_err(|error| sdk_error(BATCH_GET, error))?;
            items.extend(found.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
            wanted = found
                .unprocessed_keys
                .unwrap_or_default()
                .remove(&self.table)
                .map(|rest| rest.keys)
                .unwrap_or_default();
        }
        if !wanted.is_empty() {
            let source = "the table is too busy to read all items".into();
            return Err(StoreError { operation: BATCH_GET, retryable: true, source });
        }
        Ok(items)
    }

    /// Returns the current channels of the ids in some keys: see [`of_key`].
    pub(crate) async fn channels(
        &self,
        keys: impl Iterator<Item = &ChannelKey>,
    ) -> Result<BTreeMap<ChannelId, Channel>, StoreError> {
        // DynamoDB refuses a request that names an item twice.
        let ids: BTreeSet<&ChannelId> = keys.map(|key| &key.channel_id).collect();
        let items = self.batch_get(ids.into_iter().map(|id| self.keys.meta(id)).collect()).await?;
        let channels = items.into_iter().map(|item| {
            let channel: Channel = read(BATCH_GET, self.keys.plain(item))?;
            Ok((channel.channel_id.clone(), channel))
        });
        channels.collect()
    }

    pub(crate) async fn run(&self, transaction: Transaction) -> Result<Ran, StoreError> {
        transaction.run(&self.client).await
    }

    /// Adds the condition that a channel's `meta` item is as it was read.
    fn as_read(write: Write, channel: &Channel) -> Result<Write, StoreError> {
        Ok(write
            .when("version = :version AND incarnation = :incarnation")
            .value("version", n(channel.version))
            .value("incarnation", attribute(OPERATION, channel.incarnation)?))
    }

    /// Returns the key of a channel in the list of public channels, if it is public.
    fn public_key(&self, channel: &Channel) -> Option<Item> {
        let is_public = channel.visibility == Visibility::Public;
        is_public.then(|| self.keys.public(&channel.name, &channel.channel_id))
    }

    /// Updates the list of public channels for a change from `before` to `after`.
    fn list_publicly(
        &self,
        transaction: &mut Transaction,
        before: Option<&Channel>,
        after: Option<&Channel>,
    ) -> Result<(), StoreError> {
        let key_of = |channel: Option<&Channel>| channel.and_then(|channel| self.public_key(channel));
        let (old, new) = (key_of(before), key_of(after));
        if old == new {
            return Ok(());
        }
        if let (Some(key), Some(channel)) = (old, before) {
            let delete = Write::delete(&self.table, key)
                .when("attribute_not_exists(sk) OR incarnation = :incarnation")
                .value("incarnation", attribute(OPERATION, channel.incarnation)?);
            transaction.add(Part::Other, delete)?;
        }
        if let (Some(mut item), Some(channel)) = (new, after) {
            item.insert("incarnation".to_owned(), attribute(OPERATION, channel.incarnation)?);
            transaction.add(Part::Other, Write::put(&self.table, item))?;
        }
        Ok(())
    }

    fn put_new(&self, item: Item) -> Write {
        Write::put(&self.table, item).when("attribute_not_exists(sk)")
    }

    fn put_listed(&self, channel: &ChannelKey, member: &Member, read_seq: u64) -> Write {
        let mut item = self.keys.listed(&member.user_id, channel);
        item.insert("joined_at".to_owned(), s(member.joined_at.to_string()));
        item.insert("read_seq".to_owned(), n(read_seq));
        Write::put(&self.table, item)
    }

    /// Creates a membership, as [`Part::Member`], and removes the gate that refuses the user's subscriptions.
    pub(crate) fn put_member(
        &self,
        transaction: &mut Transaction,
        channel: &Channel,
        member: &Member,
        read_seq: u64,
    ) -> Result<(), StoreError> {
        let key = channel.key();
        transaction.add(Part::Member, self.put_new(self.place().member_item(channel, member)?).showing_old())?;
        transaction.add(Part::Other, self.put_listed(&key, member, read_seq))?;
        transaction.add(Part::Other, self.gates()?.unblock(&key, &member.user_id))?;
        self.put_chosen(transaction, &key, member)
    }

    /// Lists a membership that its user chose. A member who was added by another user did not choose it.
    fn put_chosen(
        &self,
        transaction: &mut Transaction,
        channel: &ChannelKey,
        member: &Member,
    ) -> Result<(), StoreError> {
        if member.added_by.is_some() {
            return Ok(());
        }
        let item = self.keys.chosen(&member.user_id, channel, member.joined_at);
        transaction.add(Part::Other, Write::put(&self.table, item))
    }

    fn record_end(&self, transaction: &mut Transaction, pending: Option<&PendingEnd>) -> Result<(), StoreError> {
        let Some(pending) = pending else { return Ok(()) };
        let item = pending_items::item(OPERATION, &self.keys, pending)?;
        transaction.add(Part::Other, Write::put(&self.table, item))
    }

    /// Runs a change of a member.
    async fn change_member(&self, transaction: Transaction, channel: &Channel) -> Result<MemberChanged, StoreError> {
        let refused = match self.run(transaction).await? {
            Ran::Done => return Ok(MemberChanged::Done),
            Ran::Refused(refused) => refused,
        };
        let is_stale = refused.is_of(Part::Member) || refused.is_of(Part::Caller);
        Ok(if !is_stale && is_last_owner(&refused, channel)? { MemberChanged::LastOwner } else { MemberChanged::Stale })
    }
}

/// Returns the channel of a key, if its id still leads to this incarnation.
fn of_key<'a>(found: &'a BTreeMap<ChannelId, Channel>, key: &ChannelKey) -> Option<&'a Channel> {
    found.get(&key.channel_id).filter(|channel| channel.incarnation == key.incarnation)
}

/// Returns whether the channel is as it was read, so that only the number of owners prevented the change.
fn is_last_owner(refused: &Refused, channel: &Channel) -> Result<bool, StoreError> {
    refused.item(Part::Access).map_or(Ok(false), |access| Place::is_as_read(access, channel))
}

fn read_seq(listed: &Item) -> u64 {
    number(listed, "read_seq").and_then(|seq| u64::try_from(seq).ok()).unwrap_or_default()
}

fn listed_channel(item: &Item) -> Result<ChannelKey, StoreError> {
    keys::listed_channel(text(item, "sk").unwrap_or_default()).map_err(|error| decode_error("Query", error))
}

impl ChannelStore for DynamoChannels {
    async fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> Result<ChannelCreated, StoreError> {
        let key = channel.key();
        let mut meta = write(OPERATION, channel)?;
        meta.extend(self.keys.meta(&channel.channel_id));
        meta.insert("incarnation".to_owned(), attribute(OPERATION, channel.incarnation)?);
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, self.put_new(meta))?;
        transaction.add(Part::Other, Write::put(&self.table, self.place().new_access(channel)?))?;
        transaction.add(Part::Other, Write::put(&self.table, self.place().member_item(channel, owner)?))?;
        transaction.add(Part::Other, self.put_listed(&key, owner, 0))?;
        self.put_chosen(&mut transaction, &key, owner)?;
        let count = Write::update(&self.table, self.keys.created(&channel.created_by), "ADD #channels :one")
            .when("attribute_not_exists(#channels) OR #channels < :most")
            .name("channels", "channels")
            .value("one", n(1))
            .value("most", n(most));
        transaction.add(Part::Created, count)?;
        self.list_publicly(&mut transaction, None, Some(channel))?;
        if let Some(Creation { key: idempotency_key, fingerprint }) = creation {
            let mut item = self.keys.creation(&key, &owner.user_id, idempotency_key);
            item.insert("fingerprint".to_owned(), s(fingerprint));
            transaction.add(Part::Other, Write::put(&self.table, item))?;
        }
        Ok(match self.run(transaction).await? {
            Ran::Done => ChannelCreated::Done,
            Ran::Refused(refused) if refused.is_of(Part::Channel) => ChannelCreated::Taken,
            Ran::Refused(_) => ChannelCreated::TooMany,
        })
    }

    async fn creation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<Creation>, StoreError> {
        let found = self.get(self.keys.creation(channel, user, key)).await?;
        let fingerprint = found.and_then(|item| Some(text(&item, "fingerprint")?.to_owned()));
        Ok(fingerprint.map(|fingerprint| Creation { key: key.clone(), fingerprint }))
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        let found = self.get(self.keys.meta(id)).await?;
        found.map(|item| read("GetItem", self.keys.plain(item))).transpose()
    }

    async fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let before = by.channel;
        let mut set =
            vec!["#name = :name", "visibility = :visibility", "#agent = :agent", "version = :changed_version"];
        let mut remove = Vec::new();
        let mut values = vec![
            ("name", s(&changed.name)),
            ("visibility", attribute(OPERATION, changed.visibility)?),
            ("agent", attribute(OPERATION, &changed.agent)?),
            ("changed_version", n(changed.version)),
        ];
        match changed.archived_at {
            Some(at) => {
                set.push("archived_at = :archived_at");
                values.push(("archived_at", s(at.to_string())));
            }
            None => remove.push("archived_at"),
        }
        match changed.retention_days {
            Some(days) => {
                set.push("retention_days = :retention_days");
                values.push(("retention_days", n(days)));
            }
            None => remove.push("retention_days"),
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let mut update = Write::update(&self.table, self.keys.meta(&before.channel_id), expression)
            .name("name", "name")
            .name("agent", "agent");
        for (name, value) in values {
            update = update.value(name, value);
        }
        let is_shown = changed.visibility != before.visibility;
        let is_moved = is_shown || changed.archived_at.is_some() != before.archived_at.is_some();
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, Self::as_read(update, before)?)?;
        let access = if is_moved { Access::Changed(changed) } else { Access::Kept };
        self.place().require(&mut transaction, by, access, None)?;
        if is_shown {
            transaction.add(Part::Other, self.gates()?.show(&before.key(), changed.visibility, now))?;
        }
        self.record_end(&mut transaction, pending)?;
        self.list_publicly(&mut transaction, Some(before), Some(changed))?;
        Ok(matches!(self.run(transaction).await?, Ran::Done))
    }

    async fn delete(&self, by: &Authority<'_>, pending: &PendingEnd, now: Timestamp) -> Result<bool, StoreError> {
        let channel = by.channel;
        let delete = Write::delete(&self.table, self.keys.meta(&channel.channel_id));
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, Self::as_read(delete, channel)?)?;
        self.place().require(&mut transaction, by, Access::Deleted, None)?;
        transaction.add(Part::Other, self.gates()?.close(&channel.key(), now))?;
        self.record_end(&mut transaction, Some(pending))?;
        self.list_publicly(&mut transaction, Some(channel), None)?;
        let count = Write::update(&self.table, self.keys.created(&channel.created_by), "ADD #channels :less")
            .name("channels", "channels")
            .value("less", n(-1));
        transaction.add(Part::Created, count)?;
        Ok(matches!(self.run(transaction).await?, Ran::Done))
    }

    async fn public_channels(
        &self,
        name_prefix: &str,
        after: Option<&str>,
        limit: u16,
    ) -> Result<PublicPage, StoreError> {
        let (items, more) = self.page(&self.keys.publics(name_prefix, after), usize::from(limit)).await?;
        let listed: Vec<ChannelKey> = items
            .iter()
            .filter_map(|item| {
                let channel_id = keys::public_channel(text(item, "sk")?)?;
                let incarnation: Incarnation = text(item, "incarnation")?.parse().ok()?;
                Some(ChannelKey { channel_id, incarnation })
            })
            .collect();
        let found = self.channels(listed.iter()).await?;
        // Leaves out channels that became private after the list was read.
        let is_listed = |channel: &&Channel| channel.visibility == Visibility::Public;
        let channels = listed.iter().filter_map(|key| of_key(&found, key)).filter(is_listed).cloned().collect();
        let last = items.last().filter(|_| more).and_then(|item| text(item, "sk"));
        Ok(PublicPage { channels, next_after: last.map(str::to_owned) })
    }

    async fn mark_read(&self, channel: &ChannelKey, user: &UserId, seq: u64) -> Result<Option<u64>, StoreError> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.keys.listed(user, channel)))
            .update_expression("SET read_seq = :seq")
            // The item exists as long as the membership.
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
                _ => Err(sdk_error("UpdateItem", SdkError::ServiceError(context))),
            },
            Err(error) => Err(sdk_error("UpdateItem", error)),
        }
    }

    async fn member(&self, channel: &ChannelKey, user: &UserId) -> Result<Option<Member>, StoreError> {
        let found = self.get(self.keys.member(channel, user)).await?;
        found.map(|item| read("GetItem", self.keys.plain(item))).transpose()
    }

    async fn members_among(&self, channel: &ChannelKey, users: &[UserId]) -> Result<Vec<Member>, StoreError> {
        // DynamoDB refuses a request that names an item twice.
        let users: BTreeSet<&UserId> = users.iter().collect();
        let wanted = users.into_iter().map(|user| self.keys.member(channel, user)).collect();
        let found = self.batch_get(wanted).await?;
        found.into_iter().map(|item| read(BATCH_GET, self.keys.plain(item))).collect()
    }

    async fn members(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> Result<MemberPage, StoreError> {
        let (items, more) = self.page(&self.keys.members(channel, after), usize::from(limit)).await?;
        let members = items.into_iter().map(|item| read("Query", self.keys.plain(item)));
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
        let (listed, more) = self.listed(user, after, usize::from(limit)).await?;
        let next_after = listed.last().filter(|_| more).map(|(key, _)| key.channel_id.clone());
        let found = self.channels(listed.iter().map(|(key, _)| key)).await?;
        let channels = listed.into_iter().filter_map(|(key, read_seq)| {
            let channel = of_key(&found, &key)?.clone();
            Some(OwnChannel { unread_count: channel.last_seq.saturating_sub(read_seq), read_seq, channel })
        });
        Ok(ChannelPage { channels: channels.collect(), next_after })
    }

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Memberships, StoreError> {
        let all = self.keys.memberships(user, None);
        let (items, more) = self.page(&all, limit).await?;
        let first: Vec<ChannelKey> = items.iter().map(listed_channel).collect::<Result<_, _>>()?;
        if !more {
            return Ok(Memberships { channels: first, left_out: 0 });
        }
        let chosen = self.newest(&self.keys.all_chosen(user), limit).await?;
        let chosen = chosen.iter().map(|item| keys::chosen_channel(text(item, "sk").unwrap_or_default()));
        let mut channels: Vec<ChannelKey> =
            chosen.collect::<Result<_, _>>().map_err(|error| decode_error("Query", error))?;
        let chosen: BTreeSet<ChannelKey> = channels.iter().cloned().collect();
        channels.extend(first.into_iter().filter(|key| !chosen.contains(key)));
        channels.truncate(limit);
        let left_out = self.count(&all).await?.saturating_sub(limit);
        Ok(Memberships { channels, left_out })
    }

    async fn add_member(&self, by: &Authority<'_>, member: &Member, read_seq: u64) -> Result<MemberAdded, StoreError> {
        // A caller whose authority is a membership cannot be added as a member again.
        if by.member.is_some_and(|caller| caller.user_id == member.user_id) {
            return Ok(MemberAdded::Stale);
        }
        let mut transaction = Transaction::default();
        self.place().require(&mut transaction, by, Access::of_roles(None, Some(member.role)), None)?;
        self.put_member(&mut transaction, by.channel, member, read_seq)?;
        // With the invitation, a removed member could return.
        self.end_invitation(&mut transaction, &by.channel.key(), &member.user_id)?;
        let refused = match self.run(transaction).await? {
            Ran::Done => return Ok(MemberAdded::Added),
            Ran::Refused(refused) => refused,
        };
        match refused.item(Part::Member) {
            Some(item) if !refused.is_of(Part::Access) && !refused.is_of(Part::Caller) => {
                Ok(MemberAdded::Already(read(OPERATION, self.keys.plain(item.clone()))?))
            }
            _ => Ok(MemberAdded::Stale),
        }
    }

    async fn change_role(
        &self,
        by: &Authority<'_>,
        member: &Member,
        role: MemberRole,
    ) -> Result<MemberChanged, StoreError> {
        if is_contradicted(by, member) {
            return Ok(MemberChanged::Stale);
        }
        let update =
            Write::update(&self.table, self.keys.member(&by.channel.key(), &member.user_id), "SET #role = :to")
                .value("to", attribute(OPERATION, role)?);
        let mut transaction = Transaction::default();
        transaction.add(Part::Member, as_read(update, member)?)?;
        let access = Access::of_roles(Some(member.role), Some(role));
        self.place().require(&mut transaction, by, access, Some(member))?;
        self.change_member(transaction, by.channel).await
    }

    async fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> Result<MemberChanged, StoreError> {
        if is_contradicted(by, member) {
            return Ok(MemberChanged::Stale);
        }
        let key = by.channel.key();
        let delete = Write::delete(&self.table, self.keys.member(&key, &member.user_id));
        let mut transaction = Transaction::default();
        transaction.add(Part::Member, as_read(delete, member)?)?;
        transaction.add(Part::Other, Write::delete(&self.table, self.keys.listed(&member.user_id, &key)))?;
        if member.added_by.is_none() {
            let chosen = self.keys.chosen(&member.user_id, &key, member.joined_at);
            transaction.add(Part::Other, Write::delete(&self.table, chosen))?;
        }
        let access = Access::of_roles(Some(member.role), None);
        self.place().require(&mut transaction, by, access, Some(member))?;
        transaction.add(Part::Other, self.gates()?.block(&key, &member.user_id, now))?;
        self.record_end(&mut transaction, Some(pending))?;
        self.change_member(transaction, by.channel).await
    }
}
