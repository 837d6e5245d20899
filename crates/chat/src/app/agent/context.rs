//! Context of a model: the messages of a channel, framed so that no user's text can pass for another's.
//!
//! Models take text. If the separator of turns were text that a message can hold, a user could forge other turns.
//! Examples are a name with a colon on its own line, a closing tag, or a control token of the model's chat template.
//!
//! So a user's turn is one line of JSON, in which line ends, quotes and the first character of every control token are
//! escaped. No part of a message is outside its own string. The agent's turns have another role in the models'
//! protocols. In them, and in the channel's instructions, control tokens are broken.

use std::fmt::Write;

use serde_json::json;

use crate::{
    model::message::{Message, Role},
    ports::language_model::{Prompt, Turn, Usage},
};

/// Names of control tokens in chat templates of open models, in addition to tokens with a bar next to a bracket.
/// Servers that run such models also read control tokens in user text, and end the turn there. Sources: "Eval bug:
/// Special Token Injection", issue 24382 of ggml-org/llama.cpp; issue 29279 of huggingface/transformers. The list
/// follows `src/llama-chat.cpp` of ggml-org/llama.cpp.
const ANGLE_NAMES: &str = "s /s bos eos start_of_turn end_of_turn <SYS> </SYS> role /role seed:bos seed:eos AI 用户";

/// Names of control tokens in square brackets, from the same source.
const SQUARE_NAMES: &str = "INST /INST SYSTEM_PROMPT /SYSTEM_PROMPT AVAILABLE_TOOLS /AVAILABLE_TOOLS TOOL_CALLS TOOL_RESULTS \
/TOOL_RESULTS TOOL_CONTENT MODEL_SETTINGS THINK /THINK";

impl Turn {
    /// Returns the turn as a model reads it.
    ///
    /// A user's turn is one line of JSON, `{"from":"alice","text":"hi"}`. It also escapes `<`, and `[` if a control
    /// token could begin there. It escapes characters that some readers take for a line end: U+0085, U+2028, U+2029 and
    /// the other C1 controls. So a line feed always separates turns. The agent's turn is its own text, with
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
                // Escapes more than for the agent's text, since only a model reads this.
                '[' => {
                    let rest = rest.as_str();
                    completes_control_token(c, rest)
                        || rest.trim_start_matches('/').starts_with(|c: char| c.is_ascii_uppercase())
                }
                _ => false,
            };
            if is_escaped {
                // Writing to a `String` does not fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            } else {
                line.push(c);
            }
        }
        line
    }
}

impl Prompt {
    /// Returns the channel's instructions as a model reads them. Each control token gets a backslash after its first
    /// character, or one more if it already has some. So the original text can be recovered.
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

/// Whether `rest` completes a control token that begins with `bracket`.
fn completes_control_token(bracket: char, rest: &str) -> bool {
    let is_bar = |c: char| matches!(c, '|' | '\u{ff5c}');
    let (closing, names) = if bracket == '<' { ('>', ANGLE_NAMES) } else { (']', SQUARE_NAMES) };
    let closes = |name: &str| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(closing));
    if rest.starts_with(is_bar) || names.split(' ').any(closes) {
        return true;
    }
    // `<turn|>`: the text between has no brackets and no spaces, so each part of a text is scanned once.
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '[' | ']'));
    bracket == '<' && end.is_some_and(|end| rest[end..].starts_with('>') && rest[..end].ends_with(is_bar))
}

/// Returns the estimated tokens of a text: one for each four bytes, and four for the frame. English text takes fewer,
/// so the estimate tends to be too high. If it is too low, the model fails with
/// [`TooLong`](crate::ports::language_model::ModelError::TooLong).
#[must_use]
pub fn estimated_tokens(text: &str) -> usize {
    text.len().div_ceil(4) + 4
}

/// Returns the tokens of a reply with this text. A number that the model has not `reported` is estimated.
pub(crate) fn counted_usage(reported: Option<Usage>, prompt: &Prompt, text: &str) -> Usage {
    let count = |text: &str| u64::try_from(estimated_tokens(text)).unwrap_or(u64::MAX);
    let mut usage = reported.unwrap_or_default();
    if usage.input_tokens == 0 {
        let texts = prompt.turns.iter().map(|turn| turn.text.as_str());
        let texts = texts.chain(prompt.instructions.as_deref()).chain(prompt.prefix.as_deref());
        usage.input_tokens = texts.map(count).sum();
    }
    if usage.output_tokens == 0 && !text.is_empty() {
        usage.output_tokens = count(text);
    }
    usage
}

/// Returns the turns of a conversation: the question and the messages before it, as far back as `budget` tokens allow.
/// The question is always included. Deleted messages and notices are left out.
///
/// `earlier` are the messages before the question, newest first.
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
            message(5, Role::System, "the agent could not answer"),
            message(4, Role::Agent, "hello alice"),
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
