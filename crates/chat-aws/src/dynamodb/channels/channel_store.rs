//! [`ChannelStore`] in `chat_channels`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{
    error::SdkError, operation::update_item::UpdateItemError, types::ReturnValuesOnConditionCheckFailure,
};
use chat::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberAdded, MemberRole, Memberships, Visibility},
        error::StoreError,
        id::{ChannelId, IdempotencyKey, UserId},
        incarnation::{ChannelKey, Incarnation},
        pending_end::PendingEnd,
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::channel_store::{ChannelCreated, ChannelStore, Creation, MemberChanged, MemberPage, PublicPage, ReadMarks},
};

use super::{
    DynamoChannels,
    queries::{listed_channel, of_key, place_of, read_seq},
};
use crate::{
    dynamodb::{
        authority::{Access, as_read, is_contradicted},
        batch::BATCH_GET,
        instructions::{self, read_channel},
        item::{attribute, n, read, s, text},
        keys, last_change,
        transaction::{OPERATION, Part, Ran, Transaction, Write},
    },
    sdk::{decode_error, sdk_error},
};

impl ChannelStore for DynamoChannels {
    async fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> Result<ChannelCreated, StoreError> {
        let key = channel.key();
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, self.put_new(self.meta_item(channel)?))?;
        transaction.add(Part::Other, Write::put(&self.table, self.place().new_access(channel, 1)?))?;
        transaction.add(Part::Other, Write::put(&self.table, self.place().member_item(&key, owner)?))?;
        transaction.add(Part::Other, self.put_listed(&key, owner, Seq::ZERO))?;
        instructions::change(&mut transaction, &self.table, &self.keys, None, channel)?;
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
        found.map(|item| read_channel("GetItem", &self.keys, item)).transpose()
    }

    async fn with_instructions(&self, mut channels: Vec<Channel>) -> Result<Vec<Channel>, StoreError> {
        self.read_instructions(&mut channels).await?;
        Ok(channels)
    }

    async fn channel_with_rev(&self, id: &ChannelId) -> Result<Option<(Channel, Rev)>, StoreError> {
        last_change::channel_with_rev(&self.client, &self.table, &self.keys, id).await
    }

    async fn current_channels(&self, ids: &[ChannelId]) -> Result<Vec<Channel>, StoreError> {
        Ok(self.channels(ids.iter()).await?.into_values().collect())
    }

    async fn channels_among(&self, keys: &[ChannelKey]) -> Result<Vec<Channel>, StoreError> {
        let found = self.channels(keys.iter().map(|key| &key.channel_id)).await?;
        Ok(keys.iter().filter_map(|key| of_key(&found, key)).cloned().collect())
    }

    async fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let before = by.channel;
        let is_shown = changed.visibility != before.visibility;
        let is_moved = is_shown || changed.archived_at.is_some() != before.archived_at.is_some();
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, self.settings_update(before, changed)?)?;
        instructions::change(&mut transaction, &self.table, &self.keys, Some(before), changed)?;
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
        let last_change = Write::delete(&self.table, self.keys.last_change(&channel.channel_id));
        transaction.add(Part::Changes, last_change)?;
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
        let found = self.channels(listed.iter().map(|key| &key.channel_id)).await?;
        // Leaves out channels that became private after the list was read.
        let is_listed = |channel: &&Channel| channel.visibility == Visibility::Public;
        let channels = listed.iter().filter_map(|key| of_key(&found, key)).filter(is_listed).cloned().collect();
        let last = items.last().filter(|_| more).and_then(|item| text(item, "sk"));
        Ok(PublicPage { channels, next_after: last.map(str::to_owned) })
    }

    async fn mark_read(&self, channel: &ChannelKey, user: &UserId, seq: Seq) -> Result<Option<Seq>, StoreError> {
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

    async fn memberships_among(&self, user: &UserId, channels: &[ChannelKey]) -> Result<Vec<Member>, StoreError> {
        // DynamoDB refuses a request that names an item twice.
        let channels: BTreeSet<&ChannelKey> = channels.iter().collect();
        let wanted = channels.into_iter().map(|channel| self.keys.member(channel, user)).collect();
        let found = self.batch_get(wanted).await?;
        found.into_iter().map(|item| read(BATCH_GET, self.keys.plain(item))).collect()
    }

    async fn read_marks(&self, members: &[(ChannelKey, UserId)]) -> Result<ReadMarks, StoreError> {
        let mut listed = BTreeMap::new();
        for member in members {
            let (channel, user) = member;
            let key = self.keys.listed(user, channel);
            listed.insert(place_of(&key), (key, member));
        }
        let found = self.batch_get(listed.values().map(|(key, _)| key.clone()).collect()).await?;
        let marks = found.iter().filter_map(|item| {
            let (_, member) = listed.get(&place_of(item))?;
            Some(((*member).clone(), read_seq(item)))
        });
        Ok(marks.collect())
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

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Memberships, StoreError> {
        let all = self.keys.memberships(user);
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

    async fn add_member(&self, by: &Authority<'_>, member: &Member, read_seq: Seq) -> Result<MemberAdded, StoreError> {
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
