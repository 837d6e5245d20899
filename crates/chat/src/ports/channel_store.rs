//! Port that stores channels and members.

use std::{collections::BTreeMap, future::Future};

use crate::model::channel::MemberAdded;
use crate::model::{
    access::Authority,
    channel::{Channel, Member, MemberRole, Memberships},
    error::StoreError,
    id::{ChannelId, IdempotencyKey, UserId},
    incarnation::ChannelKey,
    pending_end::PendingEnd,
    rev::Rev,
    seq::Seq,
    time::Timestamp,
};

/// Page of public channels, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPage {
    /// The channels.
    pub channels: Vec<Channel>,
    /// Position after which the next page begins, if there is more.
    pub next_after: Option<String>,
}

/// Read marks, by channel and member.
pub type ReadMarks = BTreeMap<(ChannelKey, UserId), Seq>;

/// Record of the request that created a channel. It exists as long as the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// Idempotency key of the request.
    pub key: IdempotencyKey,
    /// Hash of all values that the creator chose.
    pub fingerprint: String,
}

/// Page of a channel's members, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// The members.
    pub members: Vec<Member>,
    /// Member after which the next page begins, if there is more.
    pub next_after: Option<UserId>,
}

/// Result of creating a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelCreated {
    /// The channel is created.
    Done,
    /// The id is taken.
    Taken,
    /// The creator has the maximum number of channels.
    TooMany,
}

/// Result of changing or removing a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChanged {
    /// The change is stored.
    Done,
    /// The channel would have no owner.
    LastOwner,
    /// The member or the authority has changed since it was read.
    Stale,
}

/// Store of channels and members.
///
/// Every change checks its [`Authority`] in its own transaction. All reads are strongly consistent.
pub trait ChannelStore: Send + Sync {
    /// Creates `channel` with `owner` and `creation` in one transaction, or changes nothing. Condition: fewer than
    /// `most` channels of the same creator exist.
    fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> impl Future<Output = Result<ChannelCreated, StoreError>> + Send;

    /// Returns the record of the request with which `user` created a channel, by its key.
    fn creation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<Creation>, StoreError>> + Send;

    /// Returns the channel that currently has an id.
    fn channel(&self, id: &ChannelId) -> impl Future<Output = Result<Option<Channel>, StoreError>> + Send;

    /// Returns these channels with the instructions of their agents, in the same order. All other reads leave the text
    /// out ([`Instructions::Unread`](crate::model::channel::Instructions::Unread)). Instructions are at least as new as
    /// their channel was read. Makes no request if all of them were read. Takes at most
    /// [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) channels, each id once.
    fn with_instructions(
        &self,
        channels: Vec<Channel>,
    ) -> impl Future<Output = Result<Vec<Channel>, StoreError>> + Send;

    /// Returns the channel that currently has an id, and the number of its last change.
    fn channel_with_rev(
        &self,
        id: &ChannelId,
    ) -> impl Future<Output = Result<Option<(Channel, Rev)>, StoreError>> + Send;

    /// Returns the channels that currently have these ids, in any order. Leaves out ids that lead to none. Takes at most
    /// [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) ids, each once.
    fn current_channels(&self, ids: &[ChannelId]) -> impl Future<Output = Result<Vec<Channel>, StoreError>> + Send;

    /// Returns the channels of these keys, in any order. Leaves out keys whose id leads to another channel or to none.
    /// Takes at most [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) keys.
    fn channels_among(&self, keys: &[ChannelKey]) -> impl Future<Output = Result<Vec<Channel>, StoreError>> + Send;

    /// Replaces the settings of the channel in `by`: all fields except the last message's `seq` and time, and
    /// instructions that were not read. Condition: the version is the one that was read. The same transaction records `pending`, if given. If the visibility
    /// changes, it also changes the [`Gate`](crate::model::connection::Gate). Returns `false` if the authority has
    /// changed since it was read.
    fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes the channel in `by`, in one transaction, on condition that its version is the one that was read. The
    /// transaction frees the id, closes the [`Gate`](crate::model::connection::Gate) and records `pending`. It also
    /// removes the channel from its creator's count. Returns `false` if the authority has changed since it was read.
    fn delete(
        &self,
        by: &Authority<'_>,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns up to `limit` public channels whose names begin with `name_prefix`, by their
    /// [`SearchKey`](crate::model::text::search_key::SearchKey). `after` is the [`PublicPage::next_after`] of the
    /// previous page.
    fn public_channels(
        &self,
        name_prefix: &str,
        after: Option<&str>,
        limit: u16,
    ) -> impl Future<Output = Result<PublicPage, StoreError>> + Send;

    /// Moves a member's read mark to `seq`, unless the mark is already beyond it. Returns the resulting mark, or `None`
    /// if the user is no member at the time of the write.
    fn mark_read(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        seq: Seq,
    ) -> impl Future<Output = Result<Option<Seq>, StoreError>> + Send;

    /// Returns the membership of a user.
    fn member(
        &self,
        channel: &ChannelKey,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<Member>, StoreError>> + Send;

    /// Returns the memberships of these users, in any order. Leaves out users who are no members. Takes at most
    /// [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) users.
    fn members_among(
        &self,
        channel: &ChannelKey,
        users: &[UserId],
    ) -> impl Future<Output = Result<Vec<Member>, StoreError>> + Send;

    /// Returns the memberships of a user in these channels, in any order. Leaves out channels without one. Takes at
    /// most [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) channels, each id once.
    fn memberships_among(
        &self,
        user: &UserId,
        channels: &[ChannelKey],
    ) -> impl Future<Output = Result<Vec<Member>, StoreError>> + Send;

    /// Returns the read marks of these members. Leaves out users who are no members. Takes at most
    /// [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) members.
    fn read_marks(
        &self,
        members: &[(ChannelKey, UserId)],
    ) -> impl Future<Output = Result<ReadMarks, StoreError>> + Send;

    /// Returns up to `limit` members of a channel, after the id `after`.
    fn members(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> impl Future<Output = Result<MemberPage, StoreError>> + Send;

    /// Returns up to `limit` keys of channels that `user` is a member of. If there are more, channels that the user
    /// chose come first ([`Member::added_by`]), newest first. The others follow, smallest id first. A deleted channel
    /// may be among them until its removal is finished.
    fn memberships(&self, user: &UserId, limit: usize) -> impl Future<Output = Result<Memberships, StoreError>> + Send;

    /// Adds a member with the read mark `read_seq` to the channel in `by`. The same transaction ends the user's
    /// invitation, and unblocks the user in the [`Gate`](crate::model::connection::Gate).
    fn add_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        read_seq: Seq,
    ) -> impl Future<Output = Result<MemberAdded, StoreError>> + Send;

    /// Changes the role of a member, on condition that the member is as it was read.
    fn change_role(
        &self,
        by: &Authority<'_>,
        member: &Member,
        role: MemberRole,
    ) -> impl Future<Output = Result<MemberChanged, StoreError>> + Send;

    /// Removes a member, on condition that the member is as it was read. The same transaction blocks the user in the
    /// channel's [`Gate`](crate::model::connection::Gate) and records `pending`.
    fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> impl Future<Output = Result<MemberChanged, StoreError>> + Send;
}
