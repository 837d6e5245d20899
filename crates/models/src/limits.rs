//! Limits of the responses of a model's server. They are far above the size of a reply. They bound the memory and the
//! time that a faulty or foreign server can take.

use std::time::Duration;

use chat::model::limits::CONTENT_BYTES;

/// Maximum size of an event of a reply, and so of a line or frame, in bytes. A model's events contain a few words.
pub const EVENT_BYTES: usize = 1024 * 1024;

/// Maximum size of a reply on the wire: 32 MiB, which is 1 KiB for each byte of a message. That suffices for a server
/// that sends each byte in an event of its own. It also suffices for a server that sends its reasoning too, since its
/// events contain more than a byte.
pub const REPLY_BYTES: usize = CONTENT_BYTES * 1024;

/// Maximum number of bytes that are read of an error response. Its code takes a few of them.
pub const REFUSAL_BYTES: usize = 64 * 1024;

/// Maximum number of characters of a server's error code that are kept.
pub const CODE_CHARS: usize = 64;

/// Maximum number of tokens of one kind that a reply is counted with. Bedrock's counts have 32 bits (`TokenUsage` in
/// the Amazon Bedrock API reference). A higher number would overflow the sums of a user's tokens.
pub const TOKENS: u64 = i32::MAX as u64;

/// Maximum wait that a server's `Retry-After` is read as: a day. The agent waits for less (`MAX_MODEL_RETRY_AFTER`).
pub const RETRY_AFTER: Duration = Duration::from_hours(24);

/// The limits of a reply on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Maximum number of bytes of one event.
    pub event_bytes: usize,
    /// Maximum number of bytes of the reply, including comments and line ends.
    pub reply_bytes: usize,
}

impl Default for ReplyLimits {
    /// [`EVENT_BYTES`] and [`REPLY_BYTES`].
    fn default() -> Self {
        Self { event_bytes: EVENT_BYTES, reply_bytes: REPLY_BYTES }
    }
}
