//! Stores channels and members.

use std::future::Future;

use crate::model::channel::MemberAdded;
use crate::model::{
    access::Authority,
    channel::{Channel, Member, MemberRole, Memberships, OwnChannel},
    error::StoreError,
    id::{ChannelId, IdempotencyKey, UserId},
    incarnation::ChannelKey,
    pending_end::PendingEnd,
    time::Timestamp,
};

/// A page of public channels, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPage {
    /// The channels.
    pub channels: Vec<Channel>,
    /// What to go on after, when there is more.
    pub next_after: Option<String>,
}

/// A page of a user's channels, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPage {
    /// The channels.
    pub channels: Vec<OwnChannel>,
    /// The id to go on after, when there is more.
    pub next_after: Option<ChannelId>,
}

/// What is kept of the request that created a channel, for as long as the channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// Its idempotency key.
    pub key: IdempotencyKey,
    /// Hash of all that the creator chose.
    pub fingerprint: String,
}

/// A page of a channel's members, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPage {
    /// The members.
    pub members: Vec<Member>,
    /// The id to go on after, when there is more.
    pub next_after: Option<UserId>,
}

/// What came of creating a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelCreated {
    /// It exists.
    Done,
    /// The id is taken.
    Taken,
    /// The creator has all the channels that there may be.
    TooMany,
}

/// What came of changing or removing a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChanged {
    /// It is done.
    Done,
    /// The channel would be left without an owner.
    LastOwner,
    /// The member, the channel, or the caller's membership is not as it was read.
    Stale,
}

/// Stores channels and members.
///
/// Every change checks in its own transaction what allowed it: see [`Authority`]. All reads are strongly consistent.
pub trait ChannelStore: Send + Sync {
    /// Creates `channel` with `owner`, and with what its creator may repeat the request by, in one transaction, on condition
    /// that fewer than `most` channels exist that its creator created. Nothing is written unless it is created.
    fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> impl Future<Output = Result<ChannelCreated, StoreError>> + Send;

    /// What was kept under the key with which `user` created a channel.
    fn creation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<Creation>, StoreError>> + Send;

    /// The channel that has an id now.
    fn channel(&self, id: &ChannelId) -> impl Future<Output = Result<Option<Channel>, StoreError>> + Send;

    /// Replaces the settings (all but the messages' number and time) of the channel in `by`, on condition that its version
    /// is as read. `pending`, if given, is recorded in the same transaction. A change of visibility changes
    /// [`Gate`](crate::model::connection::Gate) in it too. `false`: the channel, or the caller's membership, is not as read.
    fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes the channel in `by`, on condition that its version is as read, frees its id, closes the
    /// [`Gate`](crate::model::connection::Gate), records `pending`, and no longer counts the channel among its creator's, in one
    /// transaction. `false`: the channel, or the caller's
    /// membership, is not as read.
    fn delete(
        &self,
        by: &Authority<'_>,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Up to `limit` public channels whose names begin with `name_prefix`, in upper or lower case, after what
    /// [`PublicPage::next_after`] said.
    fn public_channels(
        &self,
        name_prefix: &str,
        after: Option<&str>,
        limit: u16,
    ) -> impl Future<Output = Result<PublicPage, StoreError>> + Send;

    /// Moves a member's read mark to `seq` unless it is beyond, and returns where it is. `None`: the user is no member at
    /// the time of the write.
    fn mark_read(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        seq: u64,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// The membership of a user.
    fn member(
        &self,
        channel: &ChannelKey,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<Member>, StoreError>> + Send;

    /// The memberships that these users have, in any order; users who are no members are left out. At most
    /// [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) users.
    fn members_among(
        &self,
        channel: &ChannelKey,
        users: &[UserId],
    ) -> impl Future<Output = Result<Vec<Member>, StoreError>> + Send;

    /// Up to `limit` members of a channel, after the id `after`.
    fn members(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> impl Future<Output = Result<MemberPage, StoreError>> + Send;

    /// Up to `limit` channels that `user` is a member of, after the id `after`.
    fn channels_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
    ) -> impl Future<Output = Result<ChannelPage, StoreError>> + Send;

    /// Up to `limit` keys of channels that `user` is a member of. Where there are more, those that the user chose come first
    /// ([`Member::added_by`]), the newest of these before older ones; then others, the smallest id first. A channel that was
    /// deleted may be among them until its removal is finished.
    fn memberships(&self, user: &UserId, limit: usize) -> impl Future<Output = Result<Memberships, StoreError>> + Send;

    /// Adds a member who has read up to `read_seq` to the channel in `by`, and ends an invitation of the user to it and a block
    /// of the user in its [`Gate`](crate::model::connection::Gate), in one transaction.
    fn add_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        read_seq: u64,
    ) -> impl Future<Output = Result<MemberAdded, StoreError>> + Send;

    /// Gives a member, who is as read, another role.
    fn change_role(
        &self,
        by: &Authority<'_>,
        member: &Member,
        role: MemberRole,
    ) -> impl Future<Output = Result<MemberChanged, StoreError>> + Send;

    /// Removes a member, who is as read, blocks the user in the channel's [`Gate`](crate::model::connection::Gate) and records
    /// `pending`, in one transaction.
    fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> impl Future<Output = Result<MemberChanged, StoreError>> + Send;
}
