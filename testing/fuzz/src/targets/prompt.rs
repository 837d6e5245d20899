//! A conversation as a model reads it: author and text of each message can be read back for every text.

use chat::ports::language_model::{Prompt, Turn};
use models::{Continuation, OpenAi};
use serde::Deserialize;
use serde_json::Value;

/// Separator of two turns of an input.
const TURN: char = '\u{1f}';
/// Separator of author and text. A turn without one is the agent's.
const SPEAKER: char = '\u{1e}';

/// A message of a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    from: String,
    text: String,
}

pub fn run(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (instructions, turns) = input.split_once(TURN).unwrap_or(("", input));
    let turns: Vec<Turn> = turns.split(TURN).map(turn).collect();
    let prompt =
        Prompt { instructions: Some(instructions.to_owned()), turns: turns.clone(), model: None, prefix: None };
    let request = serde_json::to_vec(&OpenAi::request("m", &prompt, Continuation::None)).expect("JSON");

    let request: Value = serde_json::from_slice(&request).expect("JSON");
    let mut heard = Vec::new();
    for (number, message) in request["messages"].as_array().expect("messages").iter().enumerate() {
        let (role, content) = (message["role"].as_str().expect("a role"), message["content"].as_str().expect("a text"));
        let side = if number == 0 { "system" } else { ["assistant", "user"][number % 2] };
        assert_eq!(role, side, "sides take turns");
        if role == "user" {
            assert!(!content.contains(['<', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']), "{content:?}");
            for line in content.split('\n') {
                let Line { from, text } = serde_json::from_str(line).expect("a message on a line");
                heard.push((Some(from), text));
            }
        } else {
            assert!(!content.contains("<|") && !content.contains("[INST]") && !content.contains("</s>"), "{content:?}");
            if role == "assistant" {
                heard.push((None, content.to_owned()));
            }
        }
    }
    let mut said: Vec<(Option<String>, String)> = Vec::new();
    for turn in turns {
        match (said.last_mut(), &turn.speaker) {
            (None, None) => {}
            (Some((None, last)), None) => *last = format!("{last}\n\n{}", turn.framed()),
            (_, None) => said.push((None, turn.framed())),
            _ => said.push((turn.speaker, turn.text)),
        }
    }
    assert_eq!(heard, said);
}

fn turn(text: &str) -> Turn {
    match text.split_once(SPEAKER) {
        Some((speaker, text)) => Turn { speaker: Some(speaker.to_owned()), text: text.to_owned() },
        None => Turn { speaker: None, text: text.to_owned() },
    }
}
