//! Search keys: names without differences that a search ignores.

use std::borrow::Cow;

use icu_casemap::CaseMapperBorrowed;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::DefaultIgnorableCodePoint;

use crate::model::{limits::SEARCH_KEY_BYTES, text::characters::has};

/// A name, or the beginning of one, in the form in which searches compare: `toNFKC_Casefold` (The Unicode Standard,
/// section 3.13, D146 and R5), at most [`SEARCH_KEY_BYTES`] long.
///
/// Letters are equal in upper and lower case by the default full folding: `ß` is `ss`, `ς` is `σ`. `İ` is `i` with a
/// dot above, and `ı` stays itself, since the folding of Turkish would separate `I` from `i` in other languages.
/// Compatibility variants are equal (`ﬁ` is `fi`, `Ａ` is `a`), and default-ignorable characters do not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchKey(String);

impl SearchKey {
    /// Returns the key of a name, or of the beginning of one.
    #[must_use]
    pub fn of(name: &str) -> Self {
        // The second pass folds what the normalization of the first has brought out (D146).
        let mut key = folded(&folded(&DecomposingNormalizerBorrowed::new_nfd().normalize(name)));
        key.truncate(key.floor_char_boundary(SEARCH_KEY_BYTES));
        Self(key)
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name of this key begins with the text of `prefix`.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

fn folded(text: &str) -> String {
    let folded: Cow<'_, str> = CaseMapperBorrowed::new().fold_string(text);
    let shown: String = folded.chars().filter(|c| !has::<DefaultIgnorableCodePoint>(*c)).collect();
    ComposingNormalizerBorrowed::new_nfkc().normalize(&shown).into_owned()
}
