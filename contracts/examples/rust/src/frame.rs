//! What the socket brings.

use serde::Deserialize;

use crate::Message;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub enum Frame {
    /// What happened to messages of a channel, in their order.
    #[serde(rename = "events")]
    Events {
        /// The channel.
        channel_id: String,
        /// What happened.
        events: Vec<Event>,
    },
    /// The next words of a reply of the agent; not kept.
    #[serde(rename = "message.delta")]
    Draft {
        /// The channel.
        channel_id: String,
        /// Which draft.
        draft_id: String,
        /// The message that is answered.
        reply_to: u64,
        /// How far it is.
        status: DraftStatus,
        /// Characters before `text`.
        position: usize,
        /// The next words.
        text: String,
        /// The message that it became.
        seq: Option<u64>,
    },
    /// A user is there.
    #[serde(rename = "presence.joined")]
    Joined {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
    },
    /// A user has gone.
    #[serde(rename = "presence.left")]
    Left {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
    },
    /// The socket has all the channels that it may; some of the user's are left out.
    #[serde(rename = "channels.left_out")]
    LeftOut {
        /// How many.
        count: usize,
    },
    /// A user is typing.
    #[serde(rename = "typing")]
    Typing {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
    },
    /// The socket lives.
    #[serde(rename = "pong")]
    Pong {
        /// The id of this connection.
        connection_id: String,
    },
    /// What was sent went nowhere.
    #[serde(rename = "error")]
    Error {
        /// Why, for programs.
        code: String,
        /// Why, for people.
        message: String,
    },
    /// Something that a later version of the API sends: to be ignored.
    #[serde(other)]
    Unknown,
}

/// How far a draft is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftStatus {
    /// The model has been asked.
    Thinking,
    /// Words come.
    Writing,
    /// It has become a message.
    Done,
    /// A user stopped it.
    Cancelled,
    /// It will not be completed.
    Failed,
    /// Something new: to be ignored.
    #[serde(other)]
    Unknown,
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// What.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The message's number.
    pub seq: u64,
    /// The message after it; in an event of a kind that is not known it may be missing.
    pub message: Option<Message>,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum EventKind {
    /// It was sent.
    #[serde(rename = "message.created")]
    Created,
    /// It was edited, or somebody reacted.
    #[serde(rename = "message.updated")]
    Updated,
    /// It was deleted.
    #[serde(rename = "message.deleted")]
    Deleted,
    /// Something new: to be ignored.
    #[serde(other)]
    Unknown,
}

impl Frame {
    /// Reads a text frame.
    ///
    /// # Errors
    /// When it is not what the contract says. A client goes on without it.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}
