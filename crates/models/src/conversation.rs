//! A conversation as models take it: two sides in turn.

use chat::agent::{Prompt, Turn};

const TASK: &str = "You are the assistant of a chat channel in which several people may talk. Each of their messages \
begins with the name of who wrote it. Answer the last one, in Markdown, without your own name in front.";

/// What a model is told before the conversation.
pub(crate) fn instructions(prompt: &Prompt) -> String {
    match &prompt.instructions {
        Some(own) => format!("{TASK}\n\n{own}"),
        None => TASK.to_owned(),
    }
}

/// What one side says in one go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) is_user: bool,
    pub(crate) text: String,
}

/// The turns, those of one side that follow one another in one part; a user begins.
pub(crate) fn parts(turns: Vec<Turn>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for Turn { speaker, text } in turns {
        let is_user = speaker.is_some();
        let text = speaker.map_or_else(|| text.clone(), |speaker| format!("{speaker}: {text}"));
        match parts.last_mut() {
            Some(last) if last.is_user == is_user => {
                last.text.push_str("\n\n");
                last.text.push_str(&text);
            }
            None if !is_user => {}
            _ => parts.push(Part { is_user, text }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_and_a_user_begins() {
        let turn = |speaker: Option<&str>, text: &str| Turn { speaker: speaker.map(str::to_owned), text: text.into() };
        let turns = vec![
            turn(None, "left over"),
            turn(Some("alice"), "hi"),
            turn(Some("bob"), "hello"),
            turn(None, "hello both"),
            turn(Some("alice"), "and now?"),
        ];
        let expected = [(true, "alice: hi\n\nbob: hello"), (false, "hello both"), (true, "alice: and now?")];
        let found = parts(turns);
        let found: Vec<_> = found.iter().map(|part| (part.is_user, part.text.as_str())).collect();
        assert_eq!(found, expected);
    }
}
