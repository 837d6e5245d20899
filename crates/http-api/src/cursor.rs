//! Cursors: positions in lists that are not ordered by `seq`.
//!
//! A cursor is opaque to clients. It is the base64url text of `v1:<kind>:<parts>`, in which the parts are a JSON array
//! of texts. The kind names the list, so that no list accepts the cursor of another one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat::model::validation::Violation;

use crate::request::ApiRequest;

/// Maximum length of a cursor, in characters. A position holds at most one sort key of 1,024 bytes and one id.
pub const CURSOR_CHARS: usize = 4_096;

/// Version of the form. Cursors of other versions are refused.
const VERSION: &str = "v1";

/// Writer of cursors. [`ApiRequest::position`] reads them.
#[derive(Debug, Clone, Copy)]
pub struct Cursor;

impl Cursor {
    /// Returns the cursor of a position in a list of the kind `kind`.
    #[must_use]
    pub fn encode(kind: &'static str, parts: &[&str]) -> String {
        // An array of texts has a JSON form, so the default is never used.
        let parts = serde_json::to_string(parts).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(format!("{VERSION}:{kind}:{parts}"))
    }

    /// Returns the parts of a cursor that [`encode`](Self::encode) wrote for the same kind.
    fn decode(kind: &'static str, cursor: &str) -> Option<Vec<String>> {
        if cursor.len() > CURSOR_CHARS {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let parts = text.strip_prefix(VERSION)?.strip_prefix(':')?.strip_prefix(kind)?.strip_prefix(':')?;
        let parts: Vec<String> = serde_json::from_str(parts).ok()?;
        // JSON writes one text in many ways. Only the written way is accepted.
        let borrowed: Vec<&str> = parts.iter().map(String::as_str).collect();
        (Self::encode(kind, &borrowed) == cursor).then_some(parts)
    }
}

impl ApiRequest {
    /// Returns the position that `read` finds in the parts of the query parameter `cursor`. Adds a violation if it is
    /// repeated, if it is no cursor of a list of the kind `kind`, or if `read` finds no position.
    pub fn position<T>(
        &self,
        kind: &'static str,
        violations: &mut Vec<Violation>,
        read: impl FnOnce(&[String]) -> Option<T>,
    ) -> Option<T> {
        let text: String = self.query("cursor", "the cursor of the page before", violations)?;
        let position = Cursor::decode(kind, &text).and_then(|parts| read(&parts));
        if position.is_none() {
            let message = "must be the next.cursor of a page of this list, or be left out for the first page";
            violations.push(Violation::new("cursor", "malformed", message));
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use lambda_http::{Request, RequestExt};
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "members";

    fn with_cursors(values: &[&str]) -> ApiRequest {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        ApiRequest::new(Request::default().with_query_string_parameters(HashMap::from([("cursor".to_owned(), values)])))
    }

    fn parts_of(request: &ApiRequest, violations: &mut Vec<Violation>) -> Option<Vec<String>> {
        request.position(KIND, violations, |parts| Some(parts.to_vec()))
    }

    /// Returns the parts, and the fields and codes of the violations.
    fn read(values: &[&str]) -> (Option<Vec<String>>, Vec<(String, &'static str)>) {
        let mut violations = Vec::new();
        let parts = parts_of(&with_cursors(values), &mut violations);
        (parts, violations.into_iter().map(|violation| (violation.field, violation.code)).collect())
    }

    fn refused() -> (Option<Vec<String>>, Vec<(String, &'static str)>) {
        (None, vec![("cursor".to_owned(), "malformed")])
    }

    fn raw(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn a_page_without_a_cursor_is_the_first() {
        let mut violations = Vec::new();
        assert_eq!(parts_of(&ApiRequest::new(Request::default()), &mut violations), None);
        assert!(violations.is_empty());
    }

    #[test]
    fn the_text_of_a_cursor_is_fixed() {
        assert_eq!(Cursor::encode(KIND, &["bob"]), raw(r#"v1:members:["bob"]"#));
        assert_eq!(read(&[&Cursor::encode(KIND, &["bob"])]), (Some(vec!["bob".to_owned()]), Vec::new()));
    }

    #[test]
    fn another_list_another_version_and_garbage_are_one_violation() {
        for text in [
            Cursor::encode("invitations", &["bob"]),
            Cursor::encode("member", &["bob"]),
            raw(r#"v2:members:["bob"]"#),
            raw(r#"v1:members:["bob"] "#),
            raw(r#"v1:members:["\u0062ob"]"#),
            raw("v1:members:[1]"),
            raw(r#"v1:members:{"a":"bob"}"#),
            raw("v1:members:"),
            raw("members"),
            // With padding, and with a letter of the other alphabet.
            format!("{}=", Cursor::encode(KIND, &["bob"])),
            format!("{}/", Cursor::encode(KIND, &["bob"])),
            URL_SAFE_NO_PAD.encode(b"v1:members:[\"\xff\"]"),
            Cursor::encode(KIND, &[&"a".repeat(CURSOR_CHARS)]),
            String::new(),
            "bob".to_owned(),
            "\u{1f44d}".to_owned(),
        ] {
            assert_eq!(read(&[&text]), refused(), "{text}");
        }
        let good = Cursor::encode(KIND, &["bob"]);
        assert_eq!(read(&[&good, &good]), refused());
    }

    #[test]
    fn a_position_of_another_form_is_a_violation() {
        let mut violations = Vec::new();
        let one = with_cursors(&[&Cursor::encode(KIND, &["a", "b"])]);
        let position = one.position(KIND, &mut violations, |parts| match parts {
            [only] => Some(only.clone()),
            _ => None,
        });
        assert_eq!((position, violations.len()), (None, 1));
        assert_eq!((violations[0].field.as_str(), violations[0].code), ("cursor", "malformed"));
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(parts in prop::collection::vec(".{0,60}", 0..4)) {
            let borrowed: Vec<&str> = parts.iter().map(String::as_str).collect();
            let cursor = Cursor::encode(KIND, &borrowed);
            prop_assert!(cursor.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
            prop_assert_eq!(read(&[&cursor]), (Some(parts), Vec::new()));
        }

        /// No two texts are one position, and no text is a panic.
        #[test]
        fn any_other_text_is_refused(text in ".{0,80}") {
            let (parts, violations) = read(&[&text]);
            match parts {
                None => prop_assert_eq!(violations.len(), 1),
                Some(parts) => {
                    let borrowed: Vec<&str> = parts.iter().map(String::as_str).collect();
                    prop_assert_eq!(Cursor::encode(KIND, &borrowed), text);
                }
            }
        }

        #[test]
        fn a_changed_cursor_is_refused_or_another_position(
            part in "[a-z]{1,20}", at in 0_usize..20, to in "[A-Za-z0-9_-]",
        ) {
            let mut cursor = Cursor::encode(KIND, &[&part]);
            let at = at % cursor.len();
            prop_assume!(cursor[at..=at] != to);
            cursor.replace_range(at..=at, &to);
            prop_assert_ne!(read(&[&cursor]).0, Some(vec![part]));
        }
    }
}
