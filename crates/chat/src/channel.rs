//! Channels and their members.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::StoreError,
    id::{ChannelId, UserId},
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
}

/// What a member may do in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Adds and removes members.
    Owner,
    /// Reads and sends.
    Member,
}

/// A user's membership of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The channel.
    pub channel_id: ChannelId,
    /// The user.
    pub user_id: UserId,
    /// What the user may do.
    pub role: MemberRole,
    /// Since when.
    pub joined_at: Timestamp,
}

/// A page of a user's channels, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPage {
    /// The channels.
    pub channels: Vec<Channel>,
    /// The id to go on after, when there is more.
    pub next_after: Option<ChannelId>,
}

/// What came of adding a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberAdded {
    /// The user is a member now.
    Added,
    /// The user was one already, as given.
    Already(Member),
    /// The channel has gone, was archived, or is no longer of the visibility that allowed this.
    ChannelChanged,
}

/// Where channels and members are kept.
pub trait ChannelStore: Send + Sync {
    /// Creates `channel` with `owner`, in one transaction. `false`: the id is taken, nothing was written.
    fn create(&self, channel: &Channel, owner: &Member) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The channel as it is now (strongly consistent).
    fn channel(&self, id: &ChannelId) -> impl Future<Output = Result<Option<Channel>, StoreError>> + Send;

    /// The membership of a user as it is now (strongly consistent).
    fn member(
        &self,
        channel: &ChannelId,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<Member>, StoreError>> + Send;

    /// Up to `limit` channels that `user` is a member of, after the id `after`. Through an index, so a
    /// membership of the last moment may be missing.
    fn channels_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
    ) -> impl Future<Output = Result<ChannelPage, StoreError>> + Send;

    /// Adds a member, on condition that the channel exists with `visibility` and is not archived.
    fn add_member(
        &self,
        member: &Member,
        visibility: Visibility,
    ) -> impl Future<Output = Result<MemberAdded, StoreError>> + Send;

    /// Whether the channel has an owner other than `user` (strongly consistent).
    fn has_other_owner(
        &self,
        channel: &ChannelId,
        user: &UserId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes a member. `false`: there was none.
    fn remove_member(
        &self,
        channel: &ChannelId,
        user: &UserId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
