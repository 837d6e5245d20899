//! Messages as the answers of requests show them.

use serde::Serialize;

use crate::model::{
    id::UserId,
    message::Message,
    reaction::{ReactionSummary, summaries},
};

/// Message as its caller sees it: each reaction says whether the caller is among its users.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageView {
    #[serde(flatten)]
    message: Message,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reactions: Vec<ReactionSummary>,
}

impl MessageView {
    /// Returns the message as `caller` sees it.
    #[must_use]
    pub fn of(mut message: Message, caller: &UserId) -> Self {
        // The message's own list would be a second field of that name.
        let reactions = std::mem::take(&mut message.reactions);
        Self { message, reactions: summaries(&reactions, Some(caller)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{model::reaction::Reactions, testing::stored_message};

    #[test]
    fn a_view_is_the_message_and_the_callers_own_reactions() {
        let mut message = stored_message("c", 1, "hi").message;
        let seen = |message: &Message, by: &str| -> Value {
            serde_json::to_value(MessageView::of(message.clone(), &by.parse().unwrap())).unwrap()
        };
        assert_eq!(seen(&message, "bob"), serde_json::to_value(&message).unwrap());
        message.reactions = Reactions::from([("👍".parse().unwrap(), ["bob".parse().unwrap()].into())]);
        for (caller, reacted) in [("bob", true), ("carol", false)] {
            let mut view = seen(&message, caller);
            let expected = json!([{ "emoji": "👍", "count": 1, "user_ids": ["bob"], "reacted": reacted }]);
            assert_eq!(view["reactions"].take(), expected, "{caller}");
            let mut of_frames = serde_json::to_value(&message).unwrap();
            of_frames["reactions"].take();
            assert_eq!(view, of_frames, "{caller}");
        }
    }
}
