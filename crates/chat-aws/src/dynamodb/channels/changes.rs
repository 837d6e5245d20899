//! The parts of the transactions that change channels and members.

use chat::{
    model::{
        channel::{Channel, Member, Visibility},
        error::StoreError,
        incarnation::ChannelKey,
        pending_end::PendingEnd,
        seq::Seq,
    },
    ports::channel_store::MemberChanged,
};

use super::DynamoChannels;
use crate::dynamodb::{
    authority::Place,
    instructions::{self, BESIDE, bare, is_beside},
    item::{Item, attribute, n, s},
    pending_items,
    transaction::{OPERATION, Part, Ran, Refused, Transaction, Write},
};

impl DynamoChannels {
    /// Adds the condition that a channel's `meta` item is as it was read.
    pub(super) fn as_read(write: Write, channel: &Channel) -> Result<Write, StoreError> {
        Ok(write
            .when("version = :version AND incarnation = :incarnation")
            .value("version", n(channel.version))
            .value("incarnation", attribute(OPERATION, channel.incarnation)?))
    }

    /// Returns the update of a channel's `meta` item from `before` to `changed`.
    pub(super) fn settings_update(&self, before: &Channel, changed: &Channel) -> Result<Write, StoreError> {
        let mut set = vec![
            "#name = :name",
            "visibility = :visibility",
            "#agent = :agent",
            "#has_instructions = :has_instructions",
            "read_receipts = :read_receipts",
            "version = :changed_version",
        ];
        let mut remove = Vec::new();
        let mut values = vec![
            ("name", s(&changed.name)),
            ("visibility", attribute(OPERATION, changed.visibility)?),
            ("agent", attribute(OPERATION, bare(&changed.agent))?),
            ("has_instructions", attribute(OPERATION, is_beside(changed))?),
            ("read_receipts", attribute(OPERATION, changed.read_receipts)?),
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
            .name("agent", "agent")
            .name("has_instructions", BESIDE);
        for (name, value) in values {
            update = update.value(name, value);
        }
        Self::as_read(update, before)
    }

    /// Returns the key of a channel in the list of public channels, if it is public.
    fn public_key(&self, channel: &Channel) -> Option<Item> {
        let is_public = channel.visibility == Visibility::Public;
        is_public.then(|| self.keys.public(&channel.name, &channel.channel_id))
    }

    /// Updates the list of public channels for a change from `before` to `after`.
    pub(super) fn list_publicly(
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

    pub(super) fn put_new(&self, item: Item) -> Write {
        Write::put(&self.table, item).when("attribute_not_exists(sk)")
    }

    pub(super) fn put_listed(&self, channel: &ChannelKey, member: &Member, read_seq: Seq) -> Write {
        Write::put(&self.table, self.listed_item(channel, member, read_seq))
    }

    /// Returns the item of a membership in its user's list.
    pub(super) fn listed_item(&self, channel: &ChannelKey, member: &Member, read_seq: Seq) -> Item {
        let mut item = self.keys.listed(&member.user_id, channel);
        item.insert("joined_at".to_owned(), s(member.joined_at.to_string()));
        item.insert("read_seq".to_owned(), n(read_seq));
        item
    }

    /// Returns the `meta` item of a channel. Instructions of its agent are an item beside it.
    pub(super) fn meta_item(&self, channel: &Channel) -> Result<Item, StoreError> {
        let mut item = instructions::meta_of(channel)?;
        item.extend(self.keys.meta(&channel.channel_id));
        item.insert("incarnation".to_owned(), attribute(OPERATION, channel.incarnation)?);
        Ok(item)
    }

    /// Creates a membership, as [`Part::Member`], and removes the gate that refuses the user's subscriptions.
    pub(crate) fn put_member(
        &self,
        transaction: &mut Transaction,
        channel: &Channel,
        member: &Member,
        read_seq: Seq,
    ) -> Result<(), StoreError> {
        let key = channel.key();
        transaction.add(Part::Member, self.put_new(self.place().member_item(&key, member)?).showing_old())?;
        transaction.add(Part::Other, self.put_listed(&key, member, read_seq))?;
        transaction.add(Part::Other, self.gates()?.unblock(&key, &member.user_id))?;
        self.put_chosen(transaction, &key, member)
    }

    /// Lists a membership that its user chose. A member who was added by another user did not choose it.
    pub(super) fn put_chosen(
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

    pub(super) fn record_end(
        &self,
        transaction: &mut Transaction,
        pending: Option<&PendingEnd>,
    ) -> Result<(), StoreError> {
        let Some(pending) = pending else { return Ok(()) };
        let item = pending_items::item(OPERATION, &self.keys, pending)?;
        transaction.add(Part::Other, Write::put(&self.table, item))
    }

    /// Runs a change of a member.
    pub(super) async fn change_member(
        &self,
        transaction: Transaction,
        channel: &Channel,
    ) -> Result<MemberChanged, StoreError> {
        let refused = match self.run(transaction).await? {
            Ran::Done => return Ok(MemberChanged::Done),
            Ran::Refused(refused) => refused,
        };
        let is_stale = refused.is_of(Part::Member) || refused.is_of(Part::Caller);
        Ok(if !is_stale && is_last_owner(&refused, channel)? { MemberChanged::LastOwner } else { MemberChanged::Stale })
    }
}

/// Returns whether the channel is as it was read, so that only the number of owners prevented the change.
fn is_last_owner(refused: &Refused, channel: &Channel) -> Result<bool, StoreError> {
    refused.item(Part::Access).map_or(Ok(false), |access| Place::is_as_read(access, channel))
}
