//! Emoji of reactions.

use std::{fmt, str::FromStr};

use icu_properties::props::{Emoji as IsEmoji, EmojiComponent, EmojiModifier, EmojiPresentation, RegionalIndicator};
use serde::{Deserialize, Serialize};

use crate::model::text::{Flaw, characters::has};

/// VARIATION SELECTOR-16, which asks for the emoji presentation.
const EMOJI_PRESENTATION: char = '\u{fe0f}';

/// One emoji that Unicode recommends for general interchange (UTS 51, ED-27), in its fully-qualified form (ED-18).
///
/// - An emoji with and without U+FE0F is the same: `❤` is stored as `❤️`, and `👍️` as `👍`.
/// - A sequence is one emoji only as Unicode lists it: keycaps, flags, skin tones, tag and ZWJ sequences.
/// - A skin tone or a hair component alone is an emoji.
/// - A digit, `#`, `*` and a regional indicator alone are none, and a text presentation (U+FE0E) is none.
/// - An emoji that is newer than Unicode 18.0 is refused.
///
/// Deserialization reads a stored emoji and does not check it: a newer version may have stored a newer emoji.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Emoji(String);

impl Emoji {
    /// Returns the emoji as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Emoji {
    type Err = Flaw;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        canonical(text)
            .map(Self)
            .ok_or_else(|| Flaw::new("malformed", "must be one emoji of Unicode 18.0, percent-encoded"))
    }
}

/// Returns whether Unicode lists a text as one emoji, in any qualification.
pub(super) fn is_listed(text: &str) -> bool {
    emojis::get(text).is_some()
}

fn canonical(text: &str) -> Option<String> {
    let bare = without_presentation(text)?;
    let is_same =
        |listed: &&emojis::Emoji| listed.as_str().chars().filter(|c| *c != EMOJI_PRESENTATION).eq(bare.chars());
    if let Some(listed) = emojis::get(&bare) {
        // For two persons without U+FE0F, the table has the first skin tone of the second person.
        let exact = Some(listed).filter(is_same).or_else(|| listed.skin_tones()?.find(is_same));
        return exact.map(|exact| exact.as_str().to_owned());
    }
    let mut chars = bare.chars();
    let is_component = matches!((chars.next(), chars.next()), (Some(c), None) if is_component(c));
    is_component.then_some(bare)
}

/// Removes U+FE0F. Returns `None` if one does not follow an emoji character, as the grammar of UTS 51 (ED-9a)
/// requires.
fn without_presentation(text: &str) -> Option<String> {
    let mut bare = String::with_capacity(text.len());
    let mut before = None;
    for c in text.chars() {
        if c != EMOJI_PRESENTATION {
            bare.push(c);
        } else if !before.is_some_and(takes_presentation) {
            return None;
        }
        before = Some(c);
    }
    Some(bare)
}

fn takes_presentation(c: char) -> bool {
    has::<IsEmoji>(c) && !has::<RegionalIndicator>(c) && !has::<EmojiModifier>(c)
}

/// Returns whether a character is a skin tone or a hair component.
fn is_component(c: char) -> bool {
    has::<EmojiComponent>(c) && has::<EmojiPresentation>(c) && !has::<RegionalIndicator>(c)
}
