//! Rules of text: names, contents, emoji and search keys. An accepted text is accepted again unchanged. The rules agree
//! with each other and with the reader of JSON.

use chat::model::{
    limits::{CHANNEL_NAME_CHARS, SEARCH_KEY_BYTES},
    text::{Flaw, content, emoji::Emoji, name, search_key::SearchKey},
};
use http_api::Fields;
use serde_json::json;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    json(text);
    name_of(text);
    emoji(text);
    let key = SearchKey::of(text);
    assert!(key.as_str().len() <= SEARCH_KEY_BYTES);
    assert_eq!(SearchKey::of(key.as_str()), key, "a key is folded already");
    let flaws = content::flaws(text);
    flaws.iter().for_each(explained);
    let has_control = text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    assert_eq!(flaws.iter().any(|flaw| flaw.code == "control_character"), has_control);
    let with_letter = format!("{text}a");
    assert!(!content::flaws(&with_letter).iter().any(|flaw| flaw.code == "invisible"));
}

/// Checks that a body has the text, with and without escapes.
fn json(text: &str) {
    let plain = json!({ "name": text }).to_string();
    let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    for body in [plain, format!(r#"{{"name":"{escaped}"}}"#)] {
        let mut fields = Fields::parse(body.as_bytes()).expect("JSON of Unicode text");
        assert_eq!(fields.required::<String>("name", "a string"), text);
        assert!(fields.finish().is_empty());
    }
}

fn name_of(text: &str) {
    match name::normalized(text) {
        Ok(stored) => {
            assert_eq!(name::normalized(&stored), Ok(stored.clone()), "{text:?}");
            assert!((1..=CHANNEL_NAME_CHARS).contains(&stored.chars().count()));
            assert!(content::flaws(&stored).is_empty(), "a name is a content: {text:?}");
            // The whitespace of a name is its spaces.
            assert_eq!(SearchKey::of(&stored), SearchKey::of(text.trim()), "{text:?}");
        }
        Err(flaw) => explained(&flaw),
    }
}

fn emoji(text: &str) {
    match text.parse::<Emoji>() {
        Ok(emoji) => {
            let stored = emoji.as_str();
            assert_eq!(stored.parse(), Ok(emoji.clone()), "{text:?}");
            assert_eq!(text.replace('\u{fe0f}', "").parse(), Ok(emoji.clone()), "{text:?}");
            assert_eq!(name::normalized(stored).as_deref(), Ok(stored), "an emoji is a name: {text:?}");
            let written = serde_json::to_string(&emoji).expect("JSON");
            assert_eq!(serde_json::from_str::<Emoji>(&written).expect("an emoji"), emoji);
        }
        Err(flaw) => explained(&flaw),
    }
}

/// Checks that an explanation repeats no character of the text.
fn explained(flaw: &Flaw) {
    assert!(flaw.message.is_ascii() && !flaw.message.contains(char::is_control), "{flaw:?}");
}
