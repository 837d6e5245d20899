//! Rules of text: names, contents, emoji and search keys.
//!
//! | text | rule | stored |
//! | --- | --- | --- |
//! | [`name`] | shown inside other text: no controls, nothing invisible, something visible | in NFC, without spaces at its ends |
//! | [`content`] | any text with something visible; of the controls only tabs and line ends | unchanged |
//! | [`emoji`] | one emoji of Unicode | fully-qualified |
//! | [`search_key`] | a folded name | in indexes only |
//!
//! The properties of characters are those of Unicode 18.0: `icu_properties`, `icu_normalizer`, `icu_casemap` and
//! `emojis` have the same version, as a test verifies.

mod characters;
pub mod content;
pub mod emoji;
mod joiner;
pub mod name;
pub mod search_key;
#[cfg(test)]
mod tests;

pub(super) use self::characters::is_mark;
use crate::model::validation::Violation;

/// Rule that a text breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Stable, machine-readable reason.
    pub code: &'static str,
    /// Explanation for people. It names the code point that is not allowed.
    pub message: String,
}

impl Flaw {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Returns the violation by `field`.
    #[must_use]
    pub fn of(self, field: &str) -> Violation {
        Violation::new(field, self.code, self.message)
    }
}

/// Returns a code point as Unicode writes it, such as `U+200B`.
fn code_point(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}
