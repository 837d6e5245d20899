//! Names of the agent's outcomes.

use super::ReplyOutcome;
use crate::model::agent_data::ReplyStatus;

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
        let is_cancelled = message.agent.as_ref().is_some_and(|data| data.status == ReplyStatus::Cancelled);
        Some(if is_cancelled { "cancelled" } else { name })
    }
}
