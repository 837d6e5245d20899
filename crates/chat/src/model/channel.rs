//! Channels and their members.

use serde::{Deserialize, Serialize};

use crate::model::{
    id::{ChannelId, UserId},
    incarnation::{ChannelKey, Incarnation},
    time::Timestamp,
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

/// What an append knows of its channel: all that decides whether a message may follow, and as which number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelHead {
    /// The channel.
    pub channel_id: ChannelId,
    /// The life of the channel.
    pub incarnation: Incarnation,
    /// Number of its newest message.
    pub last_seq: u64,
    /// Version of the settings below.
    pub version: u64,
    /// Who may send.
    pub visibility: Visibility,
    /// Whether it takes no messages.
    pub archived: bool,
    /// Days after which a message expires.
    pub retention_days: Option<u32>,
    /// When the agent answers.
    pub agent: AgentMode,
}

impl ChannelHead {
    /// The key of the channel.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        ChannelKey { channel_id: self.channel_id.clone(), incarnation: self.incarnation }
    }
}

impl From<&Channel> for ChannelHead {
    fn from(channel: &Channel) -> Self {
        Self {
            channel_id: channel.channel_id.clone(),
            incarnation: channel.incarnation,
            last_seq: channel.last_seq,
            version: channel.version,
            visibility: channel.visibility,
            archived: channel.archived_at.is_some(),
            retention_days: channel.retention_days,
            agent: channel.agent.mode,
        }
    }
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
