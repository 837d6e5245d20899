//! Bodies of requests and responses, with the fields that this client uses.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::DraftStatus;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// The channel.
    pub channel_id: String,
    /// Its number in the channel: 1, 2, 3 … without a gap.
    pub seq: u64,
    /// Its id.
    pub message_id: String,
    /// Number of its state: 1, and one more after each edit, deletion and reaction.
    pub version: u64,
    /// The sender's user id.
    pub sender_id: String,
    /// `user`, `agent` or `system`.
    pub role: String,
    /// The text; empty if the message is deleted.
    pub content: String,
    /// `text/plain` or `text/markdown`.
    pub content_type: String,
    /// Time of acceptance: RFC 3339.
    pub created_at: String,
    /// Number of the message that it quotes.
    pub reply_to: Option<u64>,
    /// Number of the first message of its thread, if it is a reply in one.
    pub thread_seq: Option<u64>,
    /// Its replies, if a thread began with it.
    pub thread: Option<Thread>,
    /// Data about a reply of the agent.
    pub agent: Option<AgentData>,
    /// Reactions, by emoji.
    #[serde(default)]
    pub reactions: Vec<Reaction>,
    /// Data of the sender's program.
    pub metadata: Option<Value>,
    /// Time of the last edit.
    pub edited_at: Option<String>,
    /// Time of the deletion.
    pub deleted_at: Option<String>,
}

/// A message that was sent, and the channel's change number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// Number of the channel's newest change, from before the message was stored.
    pub rev: u64,
}

/// Summary of a thread, on its first message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Thread {
    /// Number of replies.
    pub reply_count: u64,
    /// Number of the newest reply.
    pub last_reply_seq: u64,
    /// Time of the newest reply.
    pub last_reply_at: String,
}

/// Data that the agent adds to its messages. No user can write it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentData {
    /// `complete`, `truncated`, `cancelled`, `over_budget` or `failed`.
    pub status: String,
    /// Id of the draft that became the message.
    pub draft_id: Option<String>,
    /// The model.
    pub model: Option<String>,
}

/// Reactions of a message with one emoji.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// Number of users.
    pub count: u64,
    /// Ids of the first users.
    pub user_ids: Vec<String>,
    /// Whether the caller reacted; absent in frames.
    pub reacted: Option<bool>,
}

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewMessage {
    /// The text.
    pub content: String,
    /// Number of the message that it quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Number of the first message of the thread that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_seq: Option<u64>,
    /// Data of the sender's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// Creates a message from its text alone.
impl<T: Into<String>> From<T> for NewMessage {
    fn from(content: T) -> Self {
        Self { content: content.into(), ..Self::default() }
    }
}

/// Query parameter of the next or previous page of a list. Exactly one field is present.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NextPage {
    /// Position in a list that is not in the order of `seq`.
    pub cursor: Option<String>,
    /// The page has messages before this number.
    pub before: Option<u64>,
    /// The page has messages or changes after this number.
    pub after: Option<u64>,
}

/// A page of history or of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are more messages in the direction of the page.
    pub has_more: bool,
    /// The next page.
    pub next: Option<NextPage>,
    /// The page before a page around a message.
    pub previous: Option<NextPage>,
    /// Numbers of the messages that the agent is replying to.
    #[serde(default)]
    pub replying_to: Vec<u64>,
    /// Number of the channel's newest change, from before the page was read.
    pub rev: u64,
}

/// A changed message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageChange {
    /// Number of its last change.
    pub rev: u64,
    /// The message after the change.
    pub message: Message,
}

/// A page of changed messages, each at its last change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Changes {
    /// The messages, by the numbers of their changes.
    pub changes: Vec<MessageChange>,
    /// Whether there are more changes.
    pub has_more: bool,
    /// The next page.
    pub next: Option<NextPage>,
    /// Number of the channel's newest change.
    pub rev: u64,
}

/// A reply of the agent, as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reply {
    /// Progress of the reply.
    pub status: DraftStatus,
    /// Id of the draft.
    pub draft_id: Option<String>,
    /// Number of characters of `text`.
    pub position: usize,
    /// The text so far.
    pub text: String,
    /// Number of the stored message.
    pub seq: Option<u64>,
}

/// A page of the first messages of threads, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Threads {
    /// The first messages, with their summaries.
    pub threads: Vec<Message>,
    /// Whether there are more threads.
    pub has_more: bool,
    /// The next page.
    pub next: Option<NextPage>,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channel {
    /// Its id.
    pub channel_id: String,
    /// Its display name.
    pub name: String,
    /// `public` or `private`.
    pub visibility: String,
    /// The agent's settings.
    pub agent: AgentSettings,
    /// Whether members see how far others have read.
    pub read_receipts: bool,
    /// Number of its newest message.
    pub last_seq: u64,
    /// Number of its changes, messages aside.
    pub version: u64,
    /// Time of the archiving.
    pub archived_at: Option<String>,
    /// The caller's membership; absent for other users, and in frames.
    pub membership: Option<Membership>,
    /// The beginning of the newest message; absent in frames.
    pub last_message: Option<LastMessage>,
}

/// Settings of a channel's agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentSettings {
    /// `always`, `mention` or `off`.
    pub mode: String,
    /// Its task in the channel.
    pub instructions: Option<String>,
}

/// The caller's membership of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Membership {
    /// `member`, `moderator` or `owner`.
    pub role: String,
    /// Position of the read mark.
    pub read_seq: u64,
    /// Number of unread messages; 100 means 100 or more.
    pub unread_count: u64,
}

/// The newest message of a channel, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LastMessage {
    /// Its number.
    pub seq: u64,
    /// The sender's user id.
    pub sender_id: String,
    /// Up to 200 characters of its text.
    pub content: String,
}

/// A page of channels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channels {
    /// The channels.
    pub channels: Vec<Channel>,
    /// Whether there are more channels.
    pub has_more: bool,
    /// The next page.
    pub next: Option<NextPage>,
}

/// A member of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// The channel.
    pub channel_id: String,
    /// The user.
    pub user_id: String,
    /// `member`, `moderator` or `owner`.
    pub role: String,
    /// Position of the read mark, if the channel has read receipts.
    pub read_seq: Option<u64>,
}

/// The user of a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Me {
    /// The user's id.
    pub user_id: String,
    /// Scopes of the token; absent if the issuer gives none.
    pub scopes: Option<Vec<String>>,
    /// End of the token: RFC 3339.
    pub expires_at: String,
    /// Time of the server: RFC 3339.
    pub server_time: String,
}

/// A ticket for one socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ticket {
    /// Value of `?ticket=`.
    pub ticket: String,
    /// Time of its expiry: RFC 3339.
    pub expires_at: String,
}
