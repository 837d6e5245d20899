//! Channels and their members.

use serde::{Deserialize, Serialize, Serializer, ser::Error};

use crate::model::{
    id::{ChannelId, UserId},
    incarnation::{ChannelKey, Incarnation},
    preview::MessagePreview,
    seq::Seq,
    time::Timestamp,
};

/// Visibility of a channel: the users who may find, read, send to and subscribe to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Every authenticated user.
    Public,
    /// Members only. For other users the channel does not exist.
    Private,
}

/// Messages that the agent replies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// Every message of a user. The default.
    #[default]
    Always,
    /// Messages that mention `@agent`.
    Mention,
    /// No messages.
    Off,
}

/// Instructions for the agent in a channel. They are stored beside the channel, so that a send does not pay for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Option<String>")]
pub enum Instructions {
    /// No instructions.
    #[default]
    None,
    /// Instructions that were not read with the channel. They cannot be shown.
    Unread,
    /// Instructions.
    Text(String),
}

impl Instructions {
    /// Returns whether there are none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns whether there are some that were not read.
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        matches!(self, Self::Unread)
    }

    /// Returns the text, if it was read.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::None | Self::Unread => None,
        }
    }

    /// Returns the same instructions, as they are without their text.
    #[must_use]
    pub const fn unread(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Unread | Self::Text(_) => Self::Unread,
        }
    }
}

impl From<Option<String>> for Instructions {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::None, Self::Text)
    }
}

impl Serialize for Instructions {
    /// Fails for instructions that were not read: left out, they would look removed.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Unread => Err(S::Error::custom("the instructions of the agent were not read")),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Agent settings of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Messages that the agent replies to.
    pub mode: AgentMode,
    /// Instructions for the agent in this channel.
    #[serde(default, skip_serializing_if = "Instructions::is_none")]
    pub instructions: Instructions,
    /// Model. `None`: the deployment's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Channel, as it is stored. Clients see it with the caller's part: [`ChannelView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Id.
    pub channel_id: ChannelId,
    /// Incarnation: distinguishes the channel from others that had the id. Not shown to clients.
    #[serde(skip_serializing)]
    pub incarnation: Incarnation,
    /// Display name.
    pub name: String,
    /// Visibility.
    pub visibility: Visibility,
    /// Agent settings.
    #[serde(default)]
    pub agent: AgentSettings,
    /// Whether members see how far the others have read. Default: `false`.
    #[serde(default)]
    pub read_receipts: bool,
    /// `seq` of the newest message; 0 if there is none.
    pub last_seq: Seq,
    /// Time at which the newest message was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<Timestamp>,
    /// Creator.
    pub created_by: UserId,
    /// Time of the creation.
    pub created_at: Timestamp,
    /// Time of the archival. An archived channel accepts no messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// Days after which new messages expire. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Number of changes of the fields above, except messages. It is the channel's entity tag.
    #[serde(default)]
    pub version: u64,
}

impl Channel {
    /// Returns the key under which everything that belongs to the channel is stored.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        ChannelKey { channel_id: self.channel_id.clone(), incarnation: self.incarnation }
    }

    /// Returns the channel without the text of its agent's instructions.
    #[must_use]
    pub fn without_instructions(mut self) -> Self {
        self.agent.instructions = self.agent.instructions.unread();
        self
    }
}

/// Role of a member. Each role includes the permissions of the roles before it.
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

/// Membership of a user in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Id of the channel.
    pub channel_id: ChannelId,
    /// Id of the user.
    pub user_id: UserId,
    /// Incarnation: distinguishes the membership from earlier ones of the same user. Not shown to clients.
    #[serde(skip_serializing)]
    pub incarnation: Incarnation,
    /// Role.
    pub role: MemberRole,
    /// Time at which the membership began.
    pub joined_at: Timestamp,
    /// User who added the member without an invitation. `None`: the user chose it, by creating, joining or accepting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<UserId>,
}

/// Channels of a user, up to the maximum of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memberships {
    /// Keys of the channels.
    pub channels: Vec<ChannelKey>,
    /// Number of further memberships.
    pub left_out: usize,
}

/// Member, as the users who may see the channel see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// The membership.
    #[serde(flatten)]
    pub member: Member,
    /// `seq` up to which the member has read the channel, if the channel has read receipts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_seq: Option<Seq>,
}

/// Membership of the caller, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnMembership {
    /// Role.
    pub role: MemberRole,
    /// Time at which the membership began.
    pub joined_at: Timestamp,
    /// See [`Member::added_by`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_by: Option<UserId>,
    /// `seq` up to which the caller has read the channel.
    pub read_seq: Seq,
    /// Number of unread messages, up to [`UNREAD_COUNTED`](crate::model::limits::UNREAD_COUNTED).
    pub unread_count: usize,
}

/// Channel, as one caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelView {
    /// The channel.
    #[serde(flatten)]
    pub channel: Channel,
    /// Membership of the caller, who may be no member of a public channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membership: Option<OwnMembership>,
    /// Newest message, unless it has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<MessagePreview>,
}

impl ChannelView {
    /// Returns a channel as a user who is no member sees it, without its last message.
    #[must_use]
    pub fn bare(channel: Channel) -> Self {
        Self { channel, membership: None, last_message: None }
    }

    /// Returns a channel without messages, as its creator `owner` sees it.
    #[must_use]
    pub fn created(channel: Channel, owner: &Member) -> Self {
        Self { membership: Some(OwnMembership::new(owner.clone(), Seq::ZERO, 0)), ..Self::bare(channel) }
    }
}

impl OwnMembership {
    /// Returns the caller's part of a membership.
    #[must_use]
    pub fn new(member: Member, read_seq: Seq, unread_count: usize) -> Self {
        let Member { role, joined_at, added_by, .. } = member;
        Self { role, joined_at, added_by, read_seq, unread_count }
    }
}

/// Channel head: the values that decide whether a message may be appended, and with which `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelHead {
    /// The channel.
    pub channel_id: ChannelId,
    /// Incarnation of the channel.
    pub incarnation: Incarnation,
    /// `seq` of the newest message.
    pub last_seq: Seq,
    /// Version of the settings below.
    pub version: u64,
    /// Visibility.
    pub visibility: Visibility,
    /// Whether the channel is archived.
    pub archived: bool,
    /// Days after which a message expires. `None`: never.
    pub retention_days: Option<u32>,
    /// Messages that the agent replies to.
    pub agent: AgentMode,
}

impl ChannelHead {
    /// Returns the key of the channel.
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

/// Result of adding a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberAdded {
    /// The user has become a member.
    Added,
    /// The user already was this member.
    Already(Member),
    /// The authority has changed since it was read.
    Stale,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn instructions_that_were_not_read_are_never_shown() {
        let with = |instructions| AgentSettings { instructions, ..AgentSettings::default() };
        let shown = |settings: &AgentSettings| serde_json::to_value(settings).map_err(|_| ());
        let text = with(Instructions::Text("rhyme".to_owned()));
        assert_eq!(shown(&text), Ok(json!({ "mode": "always", "instructions": "rhyme" })));
        assert_eq!(shown(&with(Instructions::None)), Ok(json!({ "mode": "always" })));
        assert_eq!(shown(&with(Instructions::Unread)), Err(()));
        let read = |value: Value| serde_json::from_value::<AgentSettings>(value).unwrap();
        assert_eq!(read(json!({ "mode": "always", "instructions": "rhyme" })), text);
        assert_eq!(read(json!({ "mode": "always" })), AgentSettings::default());
        assert_eq!(read(json!({ "mode": "always", "instructions": null })), AgentSettings::default());
        assert_eq!(text.instructions.unread(), Instructions::Unread);
        assert_eq!(Instructions::None.unread(), Instructions::None);
    }
}
