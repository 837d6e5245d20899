//! A small client of Switchboard, as a mobile app could begin with: requests, problems, frames, and a log of each
//! channel that heals itself.
//!
//! What it relies on is written down in `contracts/openapi.yaml` and `contracts/asyncapi.yaml`, and its consumer tests
//! (`tests/`) turn that into pacts. Fields, frame types and event types that it does not know it ignores.

mod api;
mod frame;
mod log;
mod socket;

pub use api::{Api, Error, Problem, Violation};
pub use frame::{DraftStatus, Event, EventKind, Frame};
pub use log::ChannelLog;
pub use socket::{SocketError, listen};

use serde::{Deserialize, Serialize};

/// A message, as far as this client uses it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// The channel.
    pub channel_id: String,
    /// Its number there: 1, 2, 3 … without a gap.
    pub seq: u64,
    /// Its id.
    pub message_id: String,
    /// Who sent it.
    pub sender_id: String,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// The words; empty when it was deleted.
    pub content: String,
    /// `text/plain` or `text/markdown`.
    pub content_type: String,
    /// When it was accepted: RFC 3339.
    pub created_at: String,
    /// Number of the message that it answers.
    pub reply_to: Option<u64>,
    /// When it was last edited.
    pub edited_at: Option<String>,
    /// When it was deleted.
    pub deleted_at: Option<String>,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewMessage {
    /// The words.
    pub content: String,
    /// Number of the message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
}

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A channel, as far as this client uses it.
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
    /// Messages that the user has not read; only in the list of the user's own channels.
    pub unread_count: Option<u64>,
    /// When it was archived.
    pub archived_at: Option<String>,
}

/// The channels of a user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Channels {
    /// Up to a page of them.
    pub channels: Vec<Channel>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A ticket for one socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ticket {
    /// What stands in `?ticket=`.
    pub ticket: String,
    /// When it is worth nothing any more: RFC 3339.
    pub expires_at: String,
}
