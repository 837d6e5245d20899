//! Contents of messages.
//!
//! A content is any Unicode text with line ends, tabs and at least one visible character. It is stored unchanged, since
//! a quote must be exact. Controls of the text direction are allowed: right-to-left text needs marks and isolates, and
//! their effect ends with the paragraph (UAX 9), which a message does not share. Private-use characters, noncharacters
//! and code points that Unicode has not assigned yet are allowed too.

use crate::model::text::{Flaw, characters::is_visible, code_point};

/// Returns whether contents must not contain a character: a control (`Cc`) other than tab, line feed and carriage
/// return. JSON writes most of them with six bytes, and terminals obey them.
#[must_use]
pub fn is_refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// Returns whether a text has no visible character: only spaces, line ends, default-ignorable characters and marks
/// without a base.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    !text.chars().any(is_visible)
}

/// Returns the rules that a content breaks. Its length is checked elsewhere.
#[must_use]
pub fn flaws(content: &str) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    if let Some(c) = content.chars().find(|c| is_refused(*c)) {
        let message = format!(
            "must hold no control characters other than tab, line feed and carriage return; it holds {}",
            code_point(c)
        );
        flaws.push(Flaw::new("control_character", message));
    }
    if is_blank(content) {
        flaws.push(Flaw::new("invisible", "must have a visible character"));
    }
    flaws
}
