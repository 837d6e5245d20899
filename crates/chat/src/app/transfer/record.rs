//! Records of an export. Each is one line of JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{
    agent_data::AgentData,
    channel::{AgentSettings, Channel, Member, MemberRole, Visibility},
    id::{ChannelId, MessageId, TenantId, UserId},
    incarnation::{ChannelKey, Incarnation},
    message::{ContentType, Message, Role, StoredMessage},
    reaction::Reactions,
    rev::Rev,
    seq::Seq,
    text::emoji::Emoji,
    thread::ThreadSummary,
    time::Timestamp,
};

/// Version of the format that this code writes and reads.
pub const VERSION: u32 = 1;

/// Name of the format.
const FORMAT: &str = "switchboard";

/// Record that cannot be read, or that is out of place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub String);

/// Record of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// First record.
    Export(Header),
    /// Beginning of a channel. Its members follow, then its messages.
    Channel(ChannelRecord),
    /// Member of the last channel.
    Member(MemberRecord),
    /// Message of the last channel.
    Message(Box<MessageRecord>),
    /// Last record.
    End(Counts),
}

impl Record {
    /// Reads a line.
    ///
    /// # Errors
    /// Fails if the line is no record of this version. A field that this version does not know would be lost, so it is an
    /// error too.
    pub fn read(line: &str) -> Result<Self, RecordError> {
        serde_json::from_str(line).map_err(|error| RecordError(error.to_string()))
    }

    /// Returns the record as a line, with its line end.
    ///
    /// # Errors
    /// Fails if JSON cannot represent a value.
    pub fn line(&self) -> Result<String, RecordError> {
        let json = serde_json::to_string(self).map_err(|error| RecordError(error.to_string()))?;
        Ok(json + "\n")
    }
}

/// Format of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Name of the format.
    pub format: String,
    /// Version of the format.
    pub version: u32,
}

impl Default for Header {
    fn default() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION }
    }
}

impl Header {
    /// Checks that this code can read the export.
    ///
    /// # Errors
    /// Fails for another format or version.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.format != FORMAT {
            return Err(RecordError(format!("the format is {:?}, not {FORMAT:?}", self.format)));
        }
        if self.version != VERSION {
            return Err(RecordError(format!("the version is {}; this program reads version {VERSION}", self.version)));
        }
        Ok(())
    }
}

/// Numbers of records of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Channels.
    pub channels: u64,
    /// Members.
    pub members: u64,
    /// Messages.
    pub messages: u64,
}

impl Counts {
    /// Counts a record.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Channel(_) => self.channels += 1,
            Record::Member(_) => self.members += 1,
            Record::Message(_) => self.messages += 1,
            Record::Export(_) | Record::End(_) => {}
        }
    }
}

/// Channel in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelRecord {
    /// Tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Id.
    pub channel_id: ChannelId,
    /// Display name.
    pub name: String,
    /// Visibility.
    pub visibility: Visibility,
    /// Agent settings.
    #[serde(default)]
    pub agent: AgentSettings,
    /// See [`Channel::read_receipts`].
    #[serde(default)]
    pub read_receipts: bool,
    /// Creator.
    pub created_by: UserId,
    /// Time of the creation.
    pub created_at: Timestamp,
    /// Time of the archival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// See [`Channel::retention_days`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Version of the settings.
    pub version: u64,
    /// `seq` of the newest message, which may have expired.
    pub last_seq: Seq,
    /// Time of the newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<Timestamp>,
    /// Number of the last change.
    pub last_rev: Rev,
}

impl ChannelRecord {
    /// Returns the record of a channel.
    #[must_use]
    pub fn new(tenant: Option<&TenantId>, channel: &Channel, last_rev: Rev) -> Self {
        let Channel { channel_id, name, visibility, agent, created_by, .. } = channel.clone();
        Self {
            tenant: tenant.cloned(),
            channel_id,
            name,
            visibility,
            agent,
            read_receipts: channel.read_receipts,
            created_by,
            created_at: channel.created_at,
            archived_at: channel.archived_at,
            retention_days: channel.retention_days,
            version: channel.version,
            last_seq: channel.last_seq,
            last_message_at: channel.last_message_at,
            last_rev,
        }
    }

    /// Returns the channel of the record.
    #[must_use]
    pub fn channel(&self, incarnation: Incarnation) -> Channel {
        let Self { channel_id, name, visibility, agent, created_by, .. } = self.clone();
        Channel {
            channel_id,
            incarnation,
            name,
            visibility,
            agent,
            read_receipts: self.read_receipts,
            last_seq: self.last_seq,
            last_message_at: self.last_message_at,
            created_by,
            created_at: self.created_at,
            archived_at: self.archived_at,
            retention_days: self.retention_days,
            version: self.version,
        }
    }
}

/// Member in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRecord {
    /// User.
    pub user_id: UserId,
    /// Role.
    pub role: MemberRole,
    /// Time at which the membership began.
    pub joined_at: Timestamp,
    /// See [`Member::added_by`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<UserId>,
    /// `seq` up to which the member has read the channel.
    #[serde(default)]
    pub read_seq: Seq,
}

impl MemberRecord {
    /// Returns the record of a member.
    #[must_use]
    pub fn new(member: Member, read_seq: Seq) -> Self {
        let Member { user_id, role, joined_at, added_by, .. } = member;
        Self { user_id, role, joined_at, added_by, read_seq }
    }

    /// Returns the member of the record, with its read mark.
    #[must_use]
    pub fn member(self, channel_id: ChannelId, incarnation: Incarnation) -> (Member, Seq) {
        let Self { user_id, role, joined_at, added_by, read_seq } = self;
        (Member { channel_id, user_id, incarnation, role, joined_at, added_by }, read_seq)
    }
}

/// Reactions with one emoji, in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReactionRecord {
    /// The emoji.
    pub emoji: Emoji,
    /// All users, in the order of their ids.
    pub user_ids: Vec<UserId>,
}

/// Message in an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageRecord {
    /// Number in the channel.
    pub seq: Seq,
    /// Id.
    pub message_id: MessageId,
    /// See [`Message::version`].
    pub version: u64,
    /// Number of the last change, if there is one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rev: Rev,
    /// Sender.
    pub sender_id: UserId,
    /// Role of the author.
    pub role: Role,
    /// Content. That of a deleted message is empty.
    pub content: String,
    /// Content type.
    pub content_type: ContentType,
    /// Time at which the message was accepted.
    pub created_at: Timestamp,
    /// Data of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// See [`Message::reply_to`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
    /// See [`Message::agent`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentData>,
    /// See [`Message::thread_seq`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_seq: Option<Seq>,
    /// See [`Message::thread`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadSummary>,
    /// See [`Message::edited_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// See [`Message::deleted_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Reactions, in the order of emoji.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<ReactionRecord>,
    /// Time from which the message counts as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(rev: &Rev) -> bool {
    *rev == Rev::ZERO
}

impl MessageRecord {
    /// Returns the record of a message.
    #[must_use]
    pub fn new(stored: StoredMessage) -> Self {
        let StoredMessage { message, rev, expires_at, .. } = stored;
        let listed = |(emoji, users): (Emoji, std::collections::BTreeSet<UserId>)| ReactionRecord {
            emoji,
            user_ids: users.into_iter().collect(),
        };
        Self {
            seq: message.seq,
            message_id: message.message_id,
            version: message.version,
            rev,
            sender_id: message.sender_id,
            role: message.role,
            content: message.content,
            content_type: message.content_type,
            created_at: message.created_at,
            metadata: message.metadata,
            reply_to: message.reply_to,
            agent: message.agent,
            thread_seq: message.thread_seq,
            thread: message.thread,
            edited_at: message.edited_at,
            deleted_at: message.deleted_at,
            reactions: message.reactions.into_iter().map(listed).collect(),
            expires_at,
        }
    }

    /// Returns the message of the record.
    #[must_use]
    pub fn stored(self, key: &ChannelKey) -> StoredMessage {
        let reactions: Reactions = self
            .reactions
            .into_iter()
            .map(|reaction| (reaction.emoji, reaction.user_ids.into_iter().collect()))
            .collect();
        let message = Message {
            channel_id: key.channel_id.clone(),
            seq: self.seq,
            message_id: self.message_id,
            version: self.version,
            sender_id: self.sender_id,
            role: self.role,
            content: self.content,
            content_type: self.content_type,
            created_at: self.created_at,
            metadata: self.metadata,
            reply_to: self.reply_to,
            agent: self.agent,
            thread_seq: self.thread_seq,
            thread: self.thread,
            edited_at: self.edited_at,
            reactions,
            deleted_at: self.deleted_at,
        };
        let (incarnation, rev, expires_at) = (key.incarnation, self.rev, self.expires_at);
        StoredMessage { message, incarnation, rev, trace: None, expires_at }
    }
}
