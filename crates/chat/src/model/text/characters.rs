//! Properties of characters.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        BinaryProperty, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, NoncharacterCodePoint,
        PrependedConcatenationMark,
    },
};

/// Letters and symbols with an empty glyph: BRAILLE PATTERN BLANK, MUSICAL SYMBOL NULL NOTEHEAD, EGYPTIAN HIEROGLYPH
/// FULL BLANK and HALF BLANK. No property of Unicode says so.
const BLANKS: [char; 4] = ['\u{2800}', '\u{1d159}', '\u{13441}', '\u{13442}'];

/// Categories without a glyph of their own. A mark needs a base.
const WITHOUT_GLYPH: [GeneralCategoryGroup; 4] = [
    GeneralCategoryGroup::Control,
    GeneralCategoryGroup::Format,
    GeneralCategoryGroup::Separator,
    GeneralCategoryGroup::Mark,
];

/// Returns whether a character has a binary property.
pub(super) fn has<P: BinaryProperty>(c: char) -> bool {
    CodePointSetData::new::<P>().contains(c)
}

/// Returns the general category of a character.
pub(super) fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Returns whether a character is a mark, which combines with the character before it.
pub(in crate::model) fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(c))
}

/// Returns whether a reader sees a character that stands alone. A code point that Unicode has not assigned yet counts
/// as visible, since most characters are.
pub(super) fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_graphic();
    }
    let is_blank = has::<DefaultIgnorableCodePoint>(c) || has::<NoncharacterCodePoint>(c) || BLANKS.contains(&c);
    let has_glyph = || !WITHOUT_GLYPH.iter().any(|group| group.contains(category(c)));
    !is_blank && (has_glyph() || has::<PrependedConcatenationMark>(c))
}
