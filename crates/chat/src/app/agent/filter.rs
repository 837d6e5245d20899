//! Filter that keeps the agent from its own replies, and from edits and deletions.
//!
//! The filter of the mapping `AgentEvents` in `infra/backend.yaml` drops the same records before they reach the worker.

use crate::model::message::{Change, Message, MessageEvent, Role};

/// Returns whether a record of the stream is a new message. The agent replies to no edit and no deletion.
#[must_use]
pub fn is_new_message(event: &MessageEvent) -> bool {
    event.change == Change::Created
}

/// Returns whether a user wrote a message. The agent replies to no reply of its own, and to no notice.
pub(super) fn is_of_user(message: &Message) -> bool {
    message.role == Role::User
}
