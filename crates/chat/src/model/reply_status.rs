//! Status of the agent's messages that are no complete reply.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::message::{Message, Role};

/// Name of the status in the metadata of a message.
const NAME: &str = "status";

/// Reason for which a question has an incomplete reply, or a notice instead of a reply. Complete replies have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyStatus {
    /// The reply was too long, or the invocation ended.
    Truncated,
    /// A user cancelled the reply.
    Cancelled,
    /// A budget is used up.
    OverBudget,
    /// The model gave no reply after all attempts.
    Failed,
}

impl ReplyStatus {
    /// Returns the status of one of the agent's messages. A user's message has none: its sender chose the metadata.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        if message.role == Role::User {
            return None;
        }
        let status = message.metadata.as_ref()?.get(NAME)?;
        Self::deserialize(status).ok()
    }

    /// Writes the status into the metadata of a message.
    pub fn write(self, metadata: &mut Map<String, Value>) {
        metadata.insert(NAME.to_owned(), Value::from(self.to_string()));
    }
}

impl fmt::Display for ReplyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let mut message = crate::testing::stored_message("c", 1, "hi").message;
        message.role = Role::Assistant;
        assert_eq!(ReplyStatus::of(&message), None);
        for (status, name) in [
            (ReplyStatus::Truncated, "truncated"),
            (ReplyStatus::Cancelled, "cancelled"),
            (ReplyStatus::OverBudget, "over_budget"),
            (ReplyStatus::Failed, "failed"),
        ] {
            let mut metadata = Map::new();
            status.write(&mut metadata);
            assert_eq!(metadata["status"], name);
            message.metadata = Some(metadata);
            assert_eq!(ReplyStatus::of(&message), Some(status));
            let of_a_user = Message { role: Role::User, ..message.clone() };
            assert_eq!(ReplyStatus::of(&of_a_user), None);
        }
        message.metadata = serde_json::json!({ "status": "another" }).as_object().cloned();
        assert_eq!(ReplyStatus::of(&message), None);
    }
}
