//! Frames of the socket.

use serde::Deserialize;

use crate::{Channel, Member, Message};

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub enum Frame {
    /// The greeting of a socket.
    #[serde(rename = "hello")]
    Hello {
        /// The id of this connection, for renewals.
        connection_id: String,
        /// The user.
        user_id: String,
        /// End of the socket: RFC 3339.
        expires_at: String,
        /// Time of the server: RFC 3339.
        server_time: String,
        /// Number of the user's channels that this socket does not receive.
        channels_left_out: usize,
    },
    /// The server is about to close the socket.
    #[serde(rename = "closing")]
    Closing {
        /// Reason.
        reason: ClosingReason,
        /// Whether the client may connect again.
        reconnect: bool,
    },
    /// Events of a channel's messages, in order.
    #[serde(rename = "events")]
    Events {
        /// The channel.
        channel_id: String,
        /// The events.
        events: Vec<Event>,
    },
    /// The next part of a reply of the agent. It is stored already.
    #[serde(rename = "message.delta")]
    Draft {
        /// The channel.
        channel_id: String,
        /// Id of the draft.
        draft_id: String,
        /// Number of the message that the draft replies to.
        reply_to: u64,
        /// State of the draft.
        status: DraftStatus,
        /// Number of characters before `text`.
        position: usize,
        /// The text after `position`.
        text: String,
        /// Number of the stored reply.
        seq: Option<u64>,
    },
    /// The user created a channel, on another device.
    #[serde(rename = "channel.created")]
    ChannelCreated {
        /// The channel's id.
        channel_id: String,
        /// The channel.
        channel: Box<Channel>,
    },
    /// A channel's settings changed.
    #[serde(rename = "channel.updated")]
    ChannelUpdated {
        /// The channel's id.
        channel_id: String,
        /// The channel.
        channel: Box<Channel>,
    },
    /// A channel was deleted.
    #[serde(rename = "channel.deleted")]
    ChannelDeleted {
        /// The channel's id.
        channel_id: String,
    },
    /// A user became a member.
    #[serde(rename = "member.joined")]
    MemberJoined {
        /// The channel.
        channel_id: String,
        /// The member.
        member: Member,
    },
    /// A member's role changed.
    #[serde(rename = "member.updated")]
    MemberUpdated {
        /// The channel.
        channel_id: String,
        /// The member.
        member: Member,
    },
    /// A membership ended.
    #[serde(rename = "member.removed")]
    MemberRemoved {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
    },
    /// A read mark moved.
    #[serde(rename = "read.updated")]
    Read {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
        /// Position of the mark.
        read_seq: u64,
    },
    /// A user came online.
    #[serde(rename = "presence.joined")]
    Joined {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
    },
    /// A user went offline.
    #[serde(rename = "presence.left")]
    Left {
        /// The channel.
        channel_id: String,
        /// The user.
        user_id: String,
    },
    /// The socket has the maximum number of channels; some of the user's channels are left out.
    #[serde(rename = "channels.left_out")]
    LeftOut {
        /// Number of left out channels.
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
    /// Response to a ping.
    #[serde(rename = "pong")]
    Pong {
        /// The id of this connection.
        connection_id: String,
    },
    /// The server did not accept a frame of the client.
    #[serde(rename = "error")]
    Error {
        /// Code for programs.
        code: String,
        /// Text for people.
        message: String,
    },
    /// A frame type of a later API version, to be ignored.
    #[serde(other)]
    Unknown,
}

/// Reason why the server closes a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosingReason {
    /// The token has ended.
    TokenExpired,
    /// The user was removed from a channel.
    Removed,
    /// The client sent too many frames.
    TooManyFrames,
    /// A reason of a later API version.
    #[serde(other)]
    Unknown,
}

impl ClosingReason {
    /// Returns the name in frames.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::Removed => "removed",
            Self::TooManyFrames => "too_many_frames",
            Self::Unknown => "unknown",
        }
    }
}

/// State of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftStatus {
    /// The model has received the request.
    Thinking,
    /// The model sends text.
    Writing,
    /// The draft is stored as a message.
    Done,
    /// The reply is cancelled. Without a `seq`, there is no message.
    Cancelled,
    /// The reply failed.
    Failed,
    /// A state of a later API version, to be ignored.
    #[serde(other)]
    Unknown,
}

impl DraftStatus {
    /// Returns whether a draft in this state, without the number of a message, never becomes one.
    #[must_use]
    pub fn is_without_message(self) -> bool {
        matches!(self, Self::Cancelled | Self::Failed)
    }
}

/// An event of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Kind of the event.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The message's number.
    pub seq: u64,
    /// The message's version after the event; 0 if an event of an unknown kind has none.
    #[serde(default)]
    pub version: u64,
    /// Number of the change; absent if a message was sent.
    pub rev: Option<u64>,
    /// First number that the event covers; absent if it covers one change.
    pub rev_from: Option<u64>,
    /// The message after the event; absent in events of reactions.
    pub message: Option<Message>,
    /// Emoji of a reaction.
    pub emoji: Option<String>,
    /// User of a reaction.
    pub user_id: Option<String>,
    /// Number of users with this reaction after the event.
    pub count: Option<u64>,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum EventKind {
    /// The message was sent.
    #[serde(rename = "message.created")]
    Created,
    /// The message was edited.
    #[serde(rename = "message.updated")]
    Updated,
    /// The message was deleted.
    #[serde(rename = "message.deleted")]
    Deleted,
    /// A user reacted to the message.
    #[serde(rename = "reaction.added")]
    ReactionAdded,
    /// A user removed a reaction from the message.
    #[serde(rename = "reaction.removed")]
    ReactionRemoved,
    /// A kind of a later API version, to be ignored.
    #[serde(other)]
    Unknown,
}

impl Frame {
    /// Returns the channel of the frame; `None` if it is about the socket.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        match self {
            Self::Events { channel_id, .. }
            | Self::Draft { channel_id, .. }
            | Self::ChannelCreated { channel_id, .. }
            | Self::ChannelUpdated { channel_id, .. }
            | Self::ChannelDeleted { channel_id }
            | Self::MemberJoined { channel_id, .. }
            | Self::MemberUpdated { channel_id, .. }
            | Self::MemberRemoved { channel_id, .. }
            | Self::Read { channel_id, .. }
            | Self::Joined { channel_id, .. }
            | Self::Left { channel_id, .. }
            | Self::Typing { channel_id, .. } => Some(channel_id),
            Self::Hello { .. }
            | Self::Closing { .. }
            | Self::LeftOut { .. }
            | Self::Pong { .. }
            | Self::Error { .. }
            | Self::Unknown => None,
        }
    }

    /// Parses a text frame.
    ///
    /// # Errors
    /// Fails if the frame does not follow the contract. A client skips such a frame.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}
