//! What a model gets to read of a channel.

use crate::{
    agent::model::Turn,
    message::{Message, Role},
};

/// Tokens that a text takes, estimated: one for each four bytes, and four for the frame around it. English text takes
/// fewer, so that the estimate is rather too high; where it is too low, the model says so ([`super::ModelError::TooLong`]).
#[must_use]
pub fn estimated_tokens(text: &str) -> usize {
    text.len().div_ceil(4) + 4
}

/// The turns of a conversation: the question and what was said before it, as far back as `budget` tokens reach. The
/// question is there whatever it takes. Deleted messages and Switchboard's own are left out.
///
/// `earlier` are messages before the question, the newest first.
#[must_use]
pub fn turns(earlier: &[Message], question: &Message, budget: usize) -> Vec<Turn> {
    let mut turns = vec![turn(question)];
    let mut spent = tokens(&turns[0]);
    for message in earlier.iter().filter(|message| message.deleted_at.is_none() && message.role != Role::System) {
        let turn = turn(message);
        spent += tokens(&turn);
        if spent > budget {
            break;
        }
        turns.push(turn);
    }
    turns.reverse();
    turns
}

fn tokens(turn: &Turn) -> usize {
    estimated_tokens(&turn.text) + turn.speaker.as_deref().map_or(0, estimated_tokens)
}

fn turn(message: &Message) -> Turn {
    let speaker = (message.role == Role::User).then(|| message.sender_id.to_string());
    Turn { speaker, text: message.content.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, testing::stored_message};

    fn message(seq: u64, role: Role, content: &str) -> Message {
        Message { role, ..stored_message("c", seq, content).message }
    }

    #[test]
    fn a_conversation_is_what_fits_before_the_question() {
        let deleted = Message { deleted_at: Some(Timestamp::from_secs(1)), ..message(3, Role::User, "") };
        let earlier = [
            message(6, Role::User, "and now?"),
            message(5, Role::System, "the assistant could not answer"),
            message(4, Role::Assistant, "hello alice"),
            deleted,
            message(2, Role::User, "hello"),
            message(1, Role::User, &"x".repeat(400)),
        ];
        let question = message(7, Role::User, "what?");
        let texts = |budget| -> Vec<String> {
            let turns = turns(&earlier, &question, budget);
            turns.into_iter().map(|turn| format!("{}:{}", turn.speaker.unwrap_or_default(), turn.text)).collect()
        };
        assert_eq!(texts(100), ["alice:hello", ":hello alice", "alice:and now?", "alice:what?"]);
        assert_eq!(texts(1_000).len(), 5);
        assert_eq!(texts(0), ["alice:what?"]);
    }
}
