//! Records that the agent is asked about, and the names of its outcomes.

use super::ReplyOutcome;
use crate::model::{
    message::{Change, MessageEvent},
    reply_status::ReplyStatus,
};

/// Returns whether the agent may reply to a record of the stream. It replies to new messages only, and never to an edit
/// or a deletion.
#[must_use]
pub fn may_want_reply(event: &MessageEvent) -> bool {
    event.change == Change::Created
}

impl ReplyOutcome {
    /// Returns the name of the outcome in logs and metrics: `replied`, `failed` or `cancelled`. Returns `None` if the
    /// call stored nothing.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        let (message, name) = match self {
            Self::NotWanted | Self::Answered => return None,
            Self::Replied(reply) => (reply, "replied"),
            Self::Failed(notice) => (notice, "failed"),
        };
        let is_cancelled = ReplyStatus::of(message) == Some(ReplyStatus::Cancelled);
        Some(if is_cancelled { "cancelled" } else { name })
    }
}
