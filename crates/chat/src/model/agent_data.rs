//! The agent's own data of its messages. No user writes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::MessageId;

/// Data of a reply or a notice: its status, and of a reply also the model's call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentData {
    /// Status.
    pub status: ReplyStatus,
    /// Id of the draft that became the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_id: Option<MessageId>,
    /// Name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Duration of the model's call, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl AgentData {
    /// Returns the data of a message for which no call of a model counts.
    #[must_use]
    pub fn of_status(status: ReplyStatus) -> Self {
        Self { status, draft_id: None, model: None, input_tokens: None, output_tokens: None, duration_ms: None }
    }
}

/// Whether a question has a complete reply, an incomplete one, or a notice instead of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyStatus {
    /// The reply is complete.
    Complete,
    /// The reply was too long, or the invocation ended.
    Truncated,
    /// A user cancelled the reply.
    Cancelled,
    /// A budget is used up.
    OverBudget,
    /// The model gave no reply after all attempts.
    Failed,
}

impl fmt::Display for ReplyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_status_has_its_name() {
        for (status, name) in [
            (ReplyStatus::Complete, "complete"),
            (ReplyStatus::Truncated, "truncated"),
            (ReplyStatus::Cancelled, "cancelled"),
            (ReplyStatus::OverBudget, "over_budget"),
            (ReplyStatus::Failed, "failed"),
        ] {
            assert_eq!(status.to_string(), name);
            let data = AgentData::of_status(status);
            assert_eq!(serde_json::to_value(&data).unwrap(), json!({ "status": name }));
            assert_eq!(serde_json::from_value::<AgentData>(json!({ "status": name })).unwrap(), data);
        }
    }
}
