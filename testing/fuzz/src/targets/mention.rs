//! Mentions in the text of a message: names begin where words begin, and end where names end.

use chat::model::mention::{mentioned, mentions, without_address};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for name in mentioned(text) {
        let at = name.as_ptr().addr() - text.as_ptr().addr();
        let before = text[..at].strip_suffix('@').expect("a name follows an @");
        let after = &text[at + name.len()..];
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@');
        assert!(!before.ends_with(|c| is_word(c) || c == '/'), "{name:?} in {text:?}");
        assert!(!after.starts_with(is_word), "{name:?} in {text:?}");
        assert!(!name.is_empty() && !name.ends_with(['.', ':']), "{name:?} in {text:?}");
        assert!(!name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '`'), "{name:?} in {text:?}");
        assert!(mentions(text, name) && mentions(text, &name.to_ascii_uppercase()));
    }
    if !text.contains('`') {
        assert_eq!(mentioned(&format!("```\n{text}\n```")).count(), 0, "{text:?} in a code block");
        assert_eq!(mentioned(&format!("{text} @probe")).last(), Some("probe"), "after {text:?}");
        let quoted = format!("`{}`", text.replace(['\n', '\r'], " "));
        assert_eq!(mentioned(&quoted).count(), 0, "{text:?} in a code span");
    }
    assert!(text.ends_with(without_address(text)));
}
