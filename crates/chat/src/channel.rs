//! Channels and their members.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::{
    access::Authority,
    clock::Timestamp,
    ending::PendingEnd,
    error::StoreError,
    id::{ChannelId, IdempotencyKey, UserId},
    incarnation::{ChannelKey, Incarnation},
};

/// Who may find, read, send to and subscribe to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Every authenticated user.
    Public,
    /// Members only; to others the channel does not exist.
    Private,
}

/// When the agent answers in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// Every message of a user.
    #[default]
    Always,
    /// Messages that mention `@assistant`.
    Mention,
    /// Never.
    Off,
}

/// The agent of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentSettings {
    /// When it answers.
    pub mode: AgentMode,
    /// What it is told about its task in this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// The model, when not the deployment's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A channel, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its id.
    pub channel_id: ChannelId,
    /// Distinguishes the channel from others that had the id. Not shown to clients.
    #[serde(skip_serializing)]
    pub incarnation: Incarnation,
    /// Its display name.
    pub name: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Its agent.
    #[serde(default)]
    pub agent: AgentSettings,
    /// Number of its newest message; 0 when it has none.
    pub last_seq: u64,
    /// When its newest message was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<Timestamp>,
    /// Who created it.
    pub created_by: UserId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was archived: from then on it takes no messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// Days after which a message sent now expires; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Counts the changes of all of the above but the messages; its entity tag.
    #[serde(default)]
    pub version: u64,
}

impl Channel {
    /// Returns the key under which all that belongs to the channel is kept.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        ChannelKey { channel_id: self.channel_id.clone(), incarnation: self.incarnation }
    }
}

/// What a member may do in a channel. Each role may what those below it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Reads and sends.
    Member,
    /// Adds and removes members.
    Moderator,
    /// Changes settings and roles, archives and restores.
    Owner,
}

/// A user's membership of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The channel.
    pub channel_id: ChannelId,
    /// The user.
    pub user_id: UserId,
    /// Distinguishes the membership from earlier ones of the same user. Not shown to clients.
    #[serde(skip_serializing)]
    pub incarnation: Incarnation,
    /// What the user may do.
    pub role: MemberRole,
    /// Since when.
    pub joined_at: Timestamp,
    /// Who made the user a member, without asking. Absent where the user chose it: by creating, joining or accepting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<UserId>,
}

/// Channels of a user, as many as one connection takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memberships {
    /// Their keys.
    pub channels: Vec<ChannelKey>,
    /// Memberships beyond them.
    pub left_out: usize,
}

/// A channel of a user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnChannel {
    /// The channel.
    #[serde(flatten)]
    pub channel: Channel,
    /// Number of the newest message that the user has read.
    pub read_seq: u64,
    /// Messages after that, the user's own among them.
    pub unread_count: u64,
}

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

/// What came of adding a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberAdded {
    /// The user is a member now.
    Added,
    /// The user was one already, as given.
    Already(Member),
    /// The channel, or the caller's membership, is not as it was read.
    Stale,
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
    /// [`Gate`](crate::connection::Gate) in it too. `false`: the channel, or the caller's membership, is not as read.
    fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes the channel in `by`, on condition that its version is as read, frees its id, closes the
    /// [`Gate`](crate::connection::Gate), records `pending`, and no longer counts the channel among its creator's, in one
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
    /// [`PAGE_ITEMS`](crate::limits::PAGE_ITEMS) users.
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
    /// of the user in its [`Gate`](crate::connection::Gate), in one transaction.
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

    /// Removes a member, who is as read, blocks the user in the channel's [`Gate`](crate::connection::Gate) and records
    /// `pending`, in one transaction.
    fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> impl Future<Output = Result<MemberChanged, StoreError>> + Send;
}
