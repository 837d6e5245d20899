//! Names that users give, such as the name of a channel.
//!
//! A name is shown inside other text: in lists, notices and headings. So it must not change the text around it, and
//! must have something visible.
//!
//! - It is stored in Normalization Form C (UAX 15), so names that are canonically equivalent are stored equal.
//! - Spaces (`Zs`) at its ends are removed.
//! - It has 1 to [`CHANNEL_NAME_CHARS`] characters, both as sent and as stored.
//! - It has a visible character, and does not begin with a combining mark.
//! - It has no controls (`Cc`), line and paragraph separators, controls of the text direction (`Bidi_Control`, UAX 9)
//!   and interlinear annotations.
//! - It has no unassigned code points, since their normal form is not known yet, and no noncharacters.
//! - It has no private-use characters, since each reader sees something else.
//! - It has default-ignorable characters only where they have an effect: joiners, variation selectors and the tags of
//!   a flag (UTS 39, section 3.1).
//! - It has at most [`MARKS_IN_A_ROW`] nonspacing marks in a row.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, Emoji, EmojiComponent, GeneralCategory, UnifiedIdeograph,
};

use crate::model::{
    limits::CHANNEL_NAME_CHARS,
    text::{
        Flaw,
        characters::{category, has, is_mark, is_visible},
        code_point,
        emoji::is_listed,
        joiner,
    },
};

/// Maximum number of nonspacing and enclosing marks in a row in a name. More would cover the lines around the name.
/// UTS 39, section 5.4, suspects more than four; pointed Hebrew and Tibetan stacks have a few more.
pub const MARKS_IN_A_ROW: usize = 8;

/// Returns a name as it is stored.
///
/// # Errors
/// Fails with the code `malformed`, and a message that tells the broken rule.
pub fn normalized(name: &str) -> Result<String, Flaw> {
    checked(name).map_err(|broken| Flaw::new("malformed", broken))
}

fn checked(name: &str) -> Result<String, String> {
    require_length(name)?;
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(name);
    let trimmed = composed.trim_matches(|c| category(c) == GeneralCategory::SpaceSeparator);
    let places = trimmed.char_indices().map(|(at, c)| (c, &trimmed[..at], &trimmed[at + c.len_utf8()..]));
    for (c, before, after) in places {
        if let Some(kind) = refused(c, before, after) {
            return Err(format!("must not contain {}, {kind}", code_point(c)));
        }
    }
    if !trimmed.chars().any(is_visible) {
        return Err("must have a visible character".to_owned());
    }
    if let Some(first) = trimmed.chars().next().filter(|first| is_mark(*first)) {
        return Err(format!("must not begin with {}, a combining mark", code_point(first)));
    }
    if marks_in_a_row(trimmed) > MARKS_IN_A_ROW {
        return Err(format!("must have at most {MARKS_IN_A_ROW} combining marks in a row"));
    }
    require_length(trimmed)?;
    Ok(trimmed.to_owned())
}

fn require_length(name: &str) -> Result<(), String> {
    let chars = name.chars().count();
    if (1..=CHANNEL_NAME_CHARS).contains(&chars) {
        return Ok(());
    }
    Err(format!("must be 1 to {CHANNEL_NAME_CHARS} characters, is {chars}"))
}

/// Returns the kind of a character, if it is refused between `before` and `after`.
fn refused(c: char, before: &str, after: &str) -> Option<&'static str> {
    match category(c) {
        GeneralCategory::Control => Some("a control character"),
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => Some("a line or paragraph separator"),
        GeneralCategory::PrivateUse => Some("a private-use character"),
        GeneralCategory::Unassigned => Some("which is no character of Unicode 18.0"),
        _ if has::<BidiControl>(c) => Some("a control of the text direction"),
        _ if matches!(c, '\u{fff9}'..='\u{fffb}') => Some("an interlinear annotation"),
        _ if has::<DefaultIgnorableCodePoint>(c) && !is_in_place(c, before, after) => {
            Some("an invisible character without an effect here")
        }
        _ => None,
    }
}

/// Returns whether a default-ignorable character has an effect between `before` and `after`.
fn is_in_place(c: char, before: &str, after: &str) -> bool {
    let last = before.chars().next_back();
    match c {
        '\u{200c}' | '\u{200d}' => joiner::has_effect(c, before, after),
        // A digit is an emoji only as a keycap.
        '\u{fe0e}' | '\u{fe0f}' => last
            .is_some_and(|last| has::<Emoji>(last) && (!has::<EmojiComponent>(last) || after.starts_with('\u{20e3}'))),
        // Variants of ideographs, and the dotted letters of the Myanmar script.
        '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => {
            last.is_some_and(|last| has::<UnifiedIdeograph>(last) || matches!(last, '\u{1000}'..='\u{109f}'))
        }
        // Mongolian free variation selectors.
        '\u{180b}'..='\u{180d}' | '\u{180f}' => last.is_some_and(|last| matches!(last, '\u{1820}'..='\u{18aa}')),
        '\u{e0020}'..='\u{e007f}' => is_tag_of_a_flag(c, before, after),
        _ => false,
    }
}

/// Returns whether a tag character belongs to an emoji tag sequence (UTS 51, ED-14a), such as the flag of Scotland.
fn is_tag_of_a_flag(c: char, before: &str, after: &str) -> bool {
    const BLACK_FLAG: char = '\u{1f3f4}';
    const CANCEL_TAG: char = '\u{e007f}';
    let Some(begin) = before.rfind(BLACK_FLAG) else { return false };
    let end = if c == CANCEL_TAG { 0 } else { after.find(CANCEL_TAG).map_or(0, |at| at + CANCEL_TAG.len_utf8()) };
    is_listed(&format!("{}{c}{}", &before[begin..], &after[..end]))
}

fn marks_in_a_row(name: &str) -> usize {
    let is_stacked = |c: char| matches!(category(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark);
    let (mut longest, mut current) = (0, 0);
    for c in name.chars() {
        current = if is_stacked(c) { current + 1 } else { 0 };
        longest = longest.max(current);
    }
    longest
}
