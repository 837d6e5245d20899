//! Every character of Unicode, alone and inside text, and examples of each kind.

mod contents;
mod emoji_of_reactions;
mod names;
mod search_keys;

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    EmojiSetData,
    props::{
        BasicEmoji, BidiControl, DefaultIgnorableCodePoint, Emoji as IsEmoji, EmojiComponent, GeneralCategory,
        RegionalIndicator, VariationSelector, WhiteSpace,
    },
};

use super::{
    characters::{category, has, is_mark, is_visible},
    content::{flaws, is_refused},
    emoji::Emoji,
    name::{MARKS_IN_A_ROW, normalized},
    search_key::SearchKey,
};
use crate::model::limits::{CHANNEL_NAME_CHARS, SEARCH_KEY_BYTES};

fn scalars() -> impl Iterator<Item = char> {
    '\0'..=char::MAX
}

/// Returns the characters that Unicode has assigned: a test with much work for each skips the others.
fn assigned() -> impl Iterator<Item = char> {
    scalars().filter(|c| !matches!(category(*c), GeneralCategory::Unassigned | GeneralCategory::PrivateUse))
}

fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

fn name(text: &str) -> Option<String> {
    normalized(text).ok()
}

fn emoji(text: &str) -> Option<String> {
    text.parse().ok().map(|emoji: Emoji| emoji.to_string())
}

fn codes(content: &str) -> Vec<&'static str> {
    flaws(content).into_iter().map(|flaw| flaw.code).collect()
}

fn key(text: &str) -> String {
    SearchKey::of(text).as_str().to_owned()
}

#[test]
fn all_data_is_of_unicode_18() {
    assert_eq!((emojis::UNICODE_VERSION.major(), emojis::UNICODE_VERSION.minor()), (18, 0));
    // Every emoji that `emojis` lists is one of `icu_properties`, and is assigned there.
    for listed in emojis::iter() {
        assert!(listed.as_str().chars().all(|c| category(c) != GeneralCategory::Unassigned), "{listed}");
    }
}

/// Characters that are invisible alone, by properties that the rules do not use.
#[test]
fn spaces_and_variation_selectors_are_invisible() {
    let visible: BTreeSet<char> =
        scalars().filter(|c| is_visible(*c) && (has::<WhiteSpace>(*c) || has::<VariationSelector>(*c))).collect();
    assert!(visible.is_empty(), "{visible:?}");
    let components = scalars().filter(|c| has::<EmojiComponent>(*c) && is_visible(*c)).count();
    assert_eq!(components, 12 + 26 + 5 + 4, "keycap characters, regional indicators, skin tones, hair");
}
