//! Lone surrogates in JSON: escapes of half a character, such as `"\ud800"`.
//!
//! The grammar of JSON allows them (RFC 8259, section 8.2), but no Unicode text contains them, and I-JSON forbids them
//! (RFC 7493, section 2.1). The JSON library refuses a body with one and does not name the field. So each one is
//! replaced by a mark before the body is read, and the reader finds the mark in the field.

/// Mark of a lone surrogate: a noncharacter, and a digit.
const LONE: &str = "\u{fdd0}1";

/// Mark of U+FDD0 in the body itself. With it, different texts stay different.
const ITSELF: &str = "\u{fdd0}0";

/// Returns the body with a mark in the place of each lone surrogate. Returns `None` if the body has no lone surrogate
/// or is not UTF-8.
pub(crate) fn marked(json: &[u8]) -> Option<String> {
    let (mut rest, mut marked, mut has_lone) = (std::str::from_utf8(json).ok()?, String::new(), false);
    while let Some(at) = rest.find(['\\', '\u{fdd0}']) {
        marked.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, mark) = next(rest);
        has_lone |= mark == Some(LONE);
        marked.push_str(mark.unwrap_or(&rest[..length]));
        rest = &rest[length..];
    }
    marked.push_str(rest);
    has_lone.then_some(marked)
}

/// Returns whether a text of a marked body has a lone surrogate.
pub(crate) fn has_lone(text: &str) -> bool {
    text.contains(LONE)
}

/// Returns a text of a marked body with U+FFFD in the place of each lone surrogate.
pub(crate) fn shown(text: &str) -> String {
    text.replace(LONE, "\u{fffd}").replace(ITSELF, "\u{fdd0}")
}

/// Returns the length of the escape or of U+FDD0 at the beginning of `rest`, and the mark that replaces it.
fn next(rest: &str) -> (usize, Option<&'static str>) {
    match escaped(rest) {
        Some(0xd800..=0xdbff) if matches!(escaped(&rest[6..]), Some(0xdc00..=0xdfff)) => (12, None),
        Some(0xd800..=0xdfff) => (6, Some(LONE)),
        Some(0xfdd0) => (6, Some(ITSELF)),
        Some(_) => (6, None),
        None if rest.starts_with('\\') => (rest.chars().take(2).map(char::len_utf8).sum(), None),
        None => ('\u{fdd0}'.len_utf8(), Some(ITSELF)),
    }
}

/// Returns the code unit of the escape `\uXXXX` at the beginning of a text.
fn escaped(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_lone_surrogate_is_marked_and_no_pair() {
        for (json, expected) in [
            (r#""\ud800""#, Some("\"\u{fdd0}1\"")),
            (r#""\uDFFF""#, Some("\"\u{fdd0}1\"")),
            (r#""a\ud800\u0041""#, Some("\"a\u{fdd0}1\\u0041\"")),
            (r#""\ude00\ud83d""#, Some("\"\u{fdd0}1\u{fdd0}1\"")),
            (r#""\ud83d\ud83d\ude00""#, Some("\"\u{fdd0}1\\ud83d\\ude00\"")),
            (r#""\ud83d\ude00\ude00""#, Some("\"\\ud83d\\ude00\u{fdd0}1\"")),
            ("\"\u{fdd0}1 \\ufdd0 \\ud800\"", Some("\"\u{fdd0}01 \u{fdd0}0 \u{fdd0}1\"")),
            (r#""\\\ud800""#, Some("\"\\\\\u{fdd0}1\"")),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud800""#, None),
            (r#""\ud80""#, None),
            (r#""\ud8"#, None),
            ("\"\u{fdd0}1\"", None),
            ("\\", None),
            ("\\é", None),
        ] {
            assert_eq!(marked(json.as_bytes()).as_deref(), expected, "{json}");
        }
        assert_eq!(marked(b"\"\\ud800\xff\""), None);
    }

    #[test]
    fn a_marked_text_is_shown_as_it_was_sent() {
        let read: String = serde_json::from_str(&marked("\"a\\ud800\u{fdd0}1\"".as_bytes()).unwrap()).unwrap();
        assert!(has_lone(&read));
        assert_eq!(shown(&read), "a\u{fffd}\u{fdd0}1");
    }

    proptest! {
        /// Code units are a text of Unicode if, and only if, no lone surrogate is marked in their escapes.
        #[test]
        fn what_is_no_utf_16_is_marked(units in prop::collection::vec(
            prop_oneof![0xd7fe_u16..0xe002, Just(0xfdd0), 0x40..0x50_u16], 0..8,
        )) {
            let escapes = units.iter().fold(String::new(), |escapes, unit| format!("{escapes}\\u{unit:04x}"));
            let json = format!("\"{escapes}\"");
            match (String::from_utf16(&units), marked(json.as_bytes())) {
                (Ok(text), None) => prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text),
                (Err(_), Some(marked)) => {
                    let read: String = serde_json::from_str(&marked).unwrap();
                    prop_assert!(has_lone(&read));
                    prop_assert_eq!(shown(&read), String::from_utf16_lossy(&units));
                }
                (text, marked) => prop_assert!(false, "{text:?} {marked:?}"),
            }
        }
    }
}
