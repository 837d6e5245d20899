//! A small client of Switchboard, as a basis for a mobile app: requests, problems, frames, and a log of each channel
//! that detects gaps.
//!
//! `contracts/openapi.yaml` and `contracts/asyncapi.yaml` describe the API. The consumer tests (`tests/`) turn the
//! parts that this client relies on into pacts. It ignores unknown fields, frame types and event types.

mod api;
mod frame;
mod log;
mod socket;

pub use api::{Api, Error, Problem, Violation};
pub use frame::{DraftStatus, Event, EventKind, Frame};
pub use log::ChannelLog;
pub use socket::{SocketError, listen};

use serde::{Deserialize, Serialize};

/// A message, with the fields that this client uses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// The channel.
    pub channel_id: String,
    /// Its number in the channel: 1, 2, 3 … without a gap.
    pub seq: u64,
    /// Its id.
    pub message_id: String,
    /// The sender's user id.
    pub sender_id: String,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// The text; empty if the message is deleted.
    pub content: String,
    /// `text/plain` or `text/markdown`.
    pub content_type: String,
    /// Time of acceptance: RFC 3339.
    pub created_at: String,
    /// Number of the message that it replies to.
    pub reply_to: Option<u64>,
    /// Time of the last edit.
    pub edited_at: Option<String>,
    /// Time of the deletion.
    pub deleted_at: Option<String>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewMessage {
    /// The text.
    pub content: String,
    /// Number of the message that it replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are more messages.
    pub has_more: bool,
}

/// A channel, with the fields that this client uses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channel {
    /// Its id.
    pub channel_id: String,
    /// Its display name.
    pub name: String,
    /// `public` or `private`.
    pub visibility: String,
    /// Number of its newest message.
    pub last_seq: u64,
    /// Number of unread messages; only in the list of the user's own channels.
    pub unread_count: Option<u64>,
    /// Time of the archiving.
    pub archived_at: Option<String>,
}

/// The channels of a user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channels {
    /// Up to one page of channels.
    pub channels: Vec<Channel>,
    /// Whether there are more channels.
    pub has_more: bool,
}

/// A ticket for one socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ticket {
    /// Value of `?ticket=`.
    pub ticket: String,
    /// Time of its expiry: RFC 3339.
    pub expires_at: String,
}
