//! Limits of what a model's server may send, in one place. They are far above what a reply needs: they bound the memory and
//! the time that a server which is broken, or is not a model's, can take.

use chat::model::limits::CONTENT_BYTES;

/// Longest event of a reply, and so the longest line or frame of one: bytes. A model's events hold a word or a few.
pub const EVENT_BYTES: usize = 1024 * 1024;

/// Longest reply as it is sent: 32 MiB, which is 1 KiB for each byte that a message can hold. A server that sends each byte
/// in an event of its own has that much room for the names around it; one that sends its thoughts too has the same again
/// several times over, since its events hold more than a byte.
pub const REPLY_BYTES: usize = CONTENT_BYTES * 1024;

/// Longest answer with an error status that is read: bytes. Its code is a few of them.
pub const REFUSAL_BYTES: usize = 64 * 1024;

/// Characters of a server's error code that are kept.
pub const CODE_CHARS: usize = 64;

/// Most tokens of one kind that a reply is believed to have used: what Bedrock can say (`TokenUsage` in the Amazon Bedrock
/// API reference has 32-bit integers). A server that names more would overflow the sums of a user's tokens.
pub const TOKENS: u64 = i32::MAX as u64;

/// What a reply may take on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Bytes of one event.
    pub event_bytes: usize,
    /// Bytes of all that is sent, comments and line ends included.
    pub reply_bytes: usize,
}

impl Default for ReplyLimits {
    /// [`EVENT_BYTES`] and [`REPLY_BYTES`].
    fn default() -> Self {
        Self { event_bytes: EVENT_BYTES, reply_bytes: REPLY_BYTES }
    }
}
