//! What a model gets to read of a channel, and how it is written so that no words can pass for another's.
//!
//! Models take text. Whoever writes the text of a turn could write other turns into it, if what separates turns were text
//! that a message can hold: a name with a colon on a line of its own, a closing tag, a control token of the model's chat
//! template. So a user's turn is one line of JSON, in which a line end, a quote and the first character of every control
//! token are escaped: nothing that a message holds is outside its own string. The assistant's turns are messages of another
//! role in the models' protocols; in them, and in the channel's instructions, control tokens are broken.

use std::fmt::Write;

use serde_json::json;

use crate::{
    model::message::{Message, Role},
    ports::language_model::{Prompt, Turn},
};

/// Names of control tokens that the chat templates of open models have beside those with a bar next to a bracket. Servers
/// that run such models read them in what users write too, and end the turn there ("Eval bug: Special Token Injection",
/// issue 24382 of ggml-org/llama.cpp; issue 29279 of huggingface/transformers). The list follows `src/llama-chat.cpp` of
/// ggml-org/llama.cpp.
const ANGLE_NAMES: &str = "s /s bos eos start_of_turn end_of_turn <SYS> </SYS> role /role seed:bos seed:eos AI 用户";

/// The same in square brackets.
const SQUARE_NAMES: &str = "INST /INST SYSTEM_PROMPT /SYSTEM_PROMPT AVAILABLE_TOOLS /AVAILABLE_TOOLS TOOL_CALLS TOOL_RESULTS \
/TOOL_RESULTS TOOL_CONTENT MODEL_SETTINGS THINK /THINK";

impl Turn {
    /// The turn as a model reads it.
    ///
    /// A user's is one line, `{"from":"alice","text":"hi"}`: JSON in which `<`, and `[` where a control token could begin,
    /// are escaped too, and what some readers take for a line end (U+0085, U+2028, U+2029 and the other C1 controls). Lines
    /// that follow one another are told apart at each line feed. The assistant's is its own words, with
    /// [control tokens broken](Prompt::framed_instructions).
    #[must_use]
    pub fn framed(&self) -> String {
        let Some(speaker) = &self.speaker else { return without_control_tokens(&self.text) };
        let json = json!({ "from": speaker, "text": self.text }).to_string();
        let mut line = String::with_capacity(json.len());
        let mut rest = json.chars();
        while let Some(c) = rest.next() {
            let is_escaped = match c {
                '<' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => true,
                // Wider than for the assistant's words, since nobody has to read this but a model.
                '[' => {
                    let rest = rest.as_str();
                    completes_control_token(c, rest)
                        || rest.trim_start_matches('/').starts_with(|c: char| c.is_ascii_uppercase())
                }
                _ => false,
            };
            if is_escaped {
                // A `String` takes all that is written.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            } else {
                line.push(c);
            }
        }
        line
    }
}

impl Prompt {
    /// The channel's instructions as a model reads them: each control token has a backslash after its first character, and
    /// one more where it has some already, so that the text before can be told from the text after.
    #[must_use]
    pub fn framed_instructions(&self) -> Option<String> {
        self.instructions.as_deref().map(without_control_tokens)
    }
}

fn without_control_tokens(text: &str) -> String {
    let mut broken = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        broken.push(c);
        if matches!(c, '<' | '[') && completes_control_token(c, rest.as_str().trim_start_matches('\\')) {
            broken.push('\\');
        }
    }
    broken
}

/// Whether `rest` makes a control token of the bracket before it.
fn completes_control_token(bracket: char, rest: &str) -> bool {
    let is_bar = |c: char| matches!(c, '|' | '\u{ff5c}');
    let (closing, names) = if bracket == '<' { ('>', ANGLE_NAMES) } else { (']', SQUARE_NAMES) };
    let closes = |name: &str| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(closing));
    if rest.starts_with(is_bar) || names.split(' ').any(closes) {
        return true;
    }
    // `<turn|>`: what is within has no brackets and no spaces, so that each part of a text is looked at once.
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '[' | ']'));
    bracket == '<' && end.is_some_and(|end| rest[end..].starts_with('>') && rest[..end].ends_with(is_bar))
}

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
    estimated_tokens(&turn.framed())
}

fn turn(message: &Message) -> Turn {
    let speaker = (message.role == Role::User).then(|| message.sender_id.to_string());
    Turn { speaker, text: message.content.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::time::Timestamp, testing::stored_message};

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
