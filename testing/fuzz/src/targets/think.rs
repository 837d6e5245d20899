//! Reasoning within the text of a model: the reply does not depend on where the text is cut, and is its end.

use std::convert::Infallible;

use bytes::Bytes;
use chat::ports::language_model::Piece;
use futures::StreamExt;
use models::OpenAi;
use serde_json::json;

use crate::functions::block_on;

pub fn run(data: &[u8]) {
    // The first bytes tell where to cut the rest.
    let Some((first, rest)) = data.split_first() else { return };
    let (cuts, text) = rest.split_at(usize::from(*first % 16).min(rest.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let whole = reply([text]);
    let (mut parts, mut left) = (Vec::new(), text);
    for cut in cuts {
        let (part, tail) = left.split_at(left.floor_char_boundary(usize::from(*cut)));
        parts.push(part);
        left = tail;
    }
    parts.push(left);
    assert_eq!(reply(parts), whole, "{text:?}");
    let characters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
    assert_eq!(reply(characters), whole, "{text:?} character by character");
    assert!(text.trim_end().ends_with(whole.trim_end()), "{whole:?} is the end of {text:?}");
    if !text.contains(['<', '[', '◁']) && !text.trim().is_empty() {
        assert_eq!(whole, text, "there is no tag");
    }
}

/// Returns the reply in a text whose parts arrive in an event each.
fn reply<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut body = String::new();
    for part in parts {
        body.push_str(&format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": part } }] })));
    }
    body.push_str("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    let mut pieces = OpenAi::pieces(futures::stream::iter([Ok::<_, Infallible>(Bytes::from(body))]));
    let mut reply = String::new();
    block_on(async {
        while let Some(piece) = pieces.next().await {
            match piece.expect("a complete reply") {
                Piece::Text(text) => reply.push_str(&text),
                Piece::Retracted => reply.clear(),
                Piece::Usage(_) | Piece::Truncated | Piece::Alive => {}
            }
        }
    });
    reply
}
