//! Parts of messages that lists of channels need: previews for display, and outlines for counts.

use serde::{Deserialize, Serialize};

use crate::model::{
    id::UserId,
    limits::PREVIEW_CHARS,
    message::{ContentType, Message, Role},
    seq::Seq,
    time::Timestamp,
};

/// Preview of a message, as clients see it beside the channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePreview {
    /// Number in the channel.
    pub seq: Seq,
    /// Version of the message.
    pub version: u64,
    /// Id of the sender.
    pub sender_id: UserId,
    /// Role of the author.
    pub role: Role,
    /// Content. Stores return all of it, and clients see it [`shortened`](Self::shortened).
    pub content: String,
    /// Content type.
    pub content_type: ContentType,
    /// Time at which the message was accepted.
    pub created_at: Timestamp,
    /// `seq` of the root, if the message is in a thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_seq: Option<Seq>,
    /// Time of the deletion. A deleted message has no content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl MessagePreview {
    /// Returns the preview with at most [`PREVIEW_CHARS`] characters of the content. An ellipsis follows content that
    /// is cut.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        if let Some((end, _)) = self.content.char_indices().nth(PREVIEW_CHARS) {
            self.content.truncate(end);
            self.content.push('…');
        }
        self
    }
}

impl From<&Message> for MessagePreview {
    fn from(message: &Message) -> Self {
        Self {
            seq: message.seq,
            version: message.version,
            sender_id: message.sender_id.clone(),
            role: message.role,
            content: message.content.clone(),
            content_type: message.content_type,
            created_at: message.created_at,
            thread_seq: message.thread_seq,
            deleted_at: message.deleted_at,
        }
    }
}

/// Outline of a message: the values that decide whether it is unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOutline {
    /// Number in the channel.
    pub seq: Seq,
    /// Id of the sender.
    pub sender_id: UserId,
    /// Time of the deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl From<&Message> for MessageOutline {
    fn from(message: &Message) -> Self {
        Self { seq: message.seq, sender_id: message.sender_id.clone(), deleted_at: message.deleted_at }
    }
}

impl From<&MessagePreview> for MessageOutline {
    fn from(preview: &MessagePreview) -> Self {
        Self { seq: preview.seq, sender_id: preview.sender_id.clone(), deleted_at: preview.deleted_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stored_message;

    #[test]
    fn a_preview_has_a_limited_number_of_characters() {
        let shown = |content: &str| MessagePreview::from(&stored_message("c", 1, content).message).shortened().content;
        let longest = "é".repeat(PREVIEW_CHARS);
        assert_eq!(shown("hi"), "hi");
        assert_eq!(shown(&longest), longest);
        assert_eq!(shown(&format!("{longest}x")), format!("{longest}…"));
        assert_eq!(shown(""), "");
    }

    #[test]
    fn a_preview_shows_neither_absent_fields_nor_metadata() {
        let mut message = stored_message("c", 7, "hi").message;
        message.metadata = serde_json::json!({ "secret": 1 }).as_object().cloned();
        let shown = serde_json::to_value(MessagePreview::from(&message)).unwrap();
        let names: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["content", "content_type", "created_at", "role", "sender_id", "seq", "version"]);
    }
}
