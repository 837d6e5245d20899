//! Authorities as conditions of the transactions that they allow.
//!
//! The channel's part is checked against its `access` item, which holds the state that permissions depend on. Sends
//! never change that item. The caller's part is checked against its membership. The `access` item exists exactly as
//! long as the channel. Its key contains the incarnation, which distinguishes it from later channels with the same id.

use chat::model::{
    access::Authority,
    channel::{Channel, Member, MemberRole},
    error::StoreError,
    incarnation::ChannelKey,
};

use crate::dynamodb::{
    item::{Item, attribute, n, write},
    keys::Keys,
    transaction::{OPERATION, Part, Transaction, Write},
};

/// The effect of a change on the channel's `access` item.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access<'a> {
    /// No effect.
    Kept,
    /// One more owner.
    OwnerAdded,
    /// One owner less, but at least one remains.
    OwnerRemoved,
    /// The new state of the channel.
    Changed(&'a Channel),
    /// The deletion of the channel.
    Deleted,
}

impl Access<'_> {
    /// Returns the effect of a role change from `before` to `after` on the number of owners.
    pub(crate) fn of_roles(before: Option<MemberRole>, after: Option<MemberRole>) -> Self {
        match (before == Some(MemberRole::Owner), after == Some(MemberRole::Owner)) {
            (false, true) => Self::OwnerAdded,
            (true, false) => Self::OwnerRemoved,
            _ => Self::Kept,
        }
    }
}

/// The table of channels, and the keys of one tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'a str,
    pub(crate) keys: &'a Keys,
}

impl Place<'_> {
    /// Adds the conditions of `by` to a transaction, as [`Part::Access`] and [`Part::Caller`], and the change of the
    /// `access` item. `member` is the membership that the transaction changes on condition that it is as read: see
    /// [`is_contradicted`].
    pub(crate) fn require(
        self,
        transaction: &mut Transaction,
        by: &Authority<'_>,
        access: Access<'_>,
        member: Option<&Member>,
    ) -> Result<(), StoreError> {
        transaction.add(Part::Access, self.access(by.channel, access)?)?;
        if let Some(caller) = by.member
            && member.is_none_or(|member| member.user_id != caller.user_id)
        {
            let key = self.keys.member(&by.channel.key(), &caller.user_id);
            transaction.add(Part::Caller, as_read(Write::check(self.table, key), caller)?)?;
        }
        Ok(())
    }

    fn access(self, channel: &Channel, access: Access<'_>) -> Result<Write, StoreError> {
        let (table, key) = (self.table, self.keys.access(&channel.key()));
        let write = match access {
            Access::Kept => Write::check(table, key),
            Access::Deleted => Write::delete(table, key),
            Access::OwnerAdded => Write::update(table, key, "ADD owners :one").value("one", n(1)),
            Access::OwnerRemoved => Write::update(table, key, "SET owners = owners - :one")
                .when("owners > :one")
                .value("one", n(1))
                .showing_old(),
            Access::Changed(to) => {
                Write::update(table, key, "SET visibility = :to_visibility, archived = :to_archived")
                    .value("to_visibility", attribute(OPERATION, to.visibility)?)
                    .value("to_archived", attribute(OPERATION, to.archived_at.is_some())?)
            }
        };
        Ok(write
            .when("visibility = :visibility AND archived = :archived")
            .value("visibility", attribute(OPERATION, channel.visibility)?)
            .value("archived", attribute(OPERATION, channel.archived_at.is_some())?))
    }

    /// Returns the `access` item of a new channel with this number of owners.
    pub(crate) fn new_access(self, channel: &Channel, owners: usize) -> Result<Item, StoreError> {
        let mut item = self.keys.access(&channel.key());
        item.insert("visibility".to_owned(), attribute(OPERATION, channel.visibility)?);
        item.insert("archived".to_owned(), attribute(OPERATION, channel.archived_at.is_some())?);
        item.insert("owners".to_owned(), n(owners));
        Ok(item)
    }

    /// Returns whether an `access` item is as it was read. If it is, only the number of owners prevented the change.
    pub(crate) fn is_as_read(item: &Item, channel: &Channel) -> Result<bool, StoreError> {
        Ok(item.get("visibility") == Some(&attribute(OPERATION, channel.visibility)?)
            && item.get("archived") == Some(&attribute(OPERATION, channel.archived_at.is_some())?))
    }

    /// Returns the item of a member.
    pub(crate) fn member_item(self, channel: &ChannelKey, member: &Member) -> Result<Item, StoreError> {
        let mut item = write(OPERATION, member)?;
        item.extend(self.keys.member(channel, &member.user_id));
        item.insert("incarnation".to_owned(), attribute(OPERATION, member.incarnation)?);
        Ok(item)
    }
}

/// Adds the condition that a membership has the incarnation and the role that were read.
pub(crate) fn as_read(write: Write, member: &Member) -> Result<Write, StoreError> {
    Ok(write
        .when("incarnation = :incarnation AND #role = :role")
        .name("role", "role")
        .value("incarnation", attribute(OPERATION, member.incarnation)?)
        .value("role", attribute(OPERATION, member.role)?))
}

/// Returns whether the caller is the member to be changed but was read in a different state. One of the two reads is
/// then stale. A transaction can name an item only once, so it cannot check both.
pub(crate) fn is_contradicted(by: &Authority<'_>, member: &Member) -> bool {
    by.member.is_some_and(|caller| {
        caller.user_id == member.user_id && (caller.incarnation, caller.role) != (member.incarnation, member.role)
    })
}
