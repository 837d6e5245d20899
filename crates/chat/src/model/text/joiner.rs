//! ZERO WIDTH JOINER and ZERO WIDTH NON-JOINER where they change how a text looks.
//!
//! Elsewhere they are invisible, and two names that look equal would differ. Sources: UAX 31, section 2.3.1, and
//! RFC 5892, appendix A. In addition, a joiner is allowed before a virama (Bengali ya-phalaa), and ZERO WIDTH JOINER
//! at an end of a cursive word (the abbreviated Hijri date).

use icu_properties::{
    CodePointMapData,
    props::{
        CanonicalCombiningClass, EmojiModifier, ExtendedPictographic, GeneralCategoryGroup, JoinControl, JoiningType,
    },
};

use crate::model::text::characters::{category, has, is_mark};

const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Returns whether `joiner` has an effect between the texts around it.
pub(super) fn has_effect(joiner: char, before: &str, after: &str) -> bool {
    let Some(last) = before.chars().next_back() else { return false };
    let next = after.chars().next();
    if has::<JoinControl>(last) {
        return false;
    }
    let is_joiner = joiner == ZERO_WIDTH_JOINER;
    if is_joiner && next.is_some_and(has::<ExtendedPictographic>) && ends_with_pictograph(before) {
        return true;
    }
    let is_base = is_mark(last) || GeneralCategoryGroup::Letter.contains(category(last));
    if is_virama(last) || (is_base && next.is_some_and(is_virama)) {
        return true;
    }
    let (joins_onward, joins_back) = (joins_onward(before), joins_back(after));
    if is_joiner { joins_onward || joins_back } else { joins_onward && joins_back }
}

/// Returns whether a text ends with an element of an emoji ZWJ sequence (UTS 51, ED-15a).
fn ends_with_pictograph(before: &str) -> bool {
    let extends = |c: char| c == '\u{fe0f}' || has::<EmojiModifier>(c) || matches!(c, '\u{e0020}'..='\u{e007f}');
    before.chars().rev().find(|c| !extends(*c)).is_some_and(has::<ExtendedPictographic>)
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

fn joining_type(c: char) -> JoiningType {
    CodePointMapData::<JoiningType>::new().get(c)
}

fn joins_onward(before: &str) -> bool {
    let last = before.chars().rev().map(joining_type).find(|kind| *kind != JoiningType::Transparent);
    matches!(last, Some(JoiningType::LeftJoining | JoiningType::DualJoining | JoiningType::JoinCausing))
}

fn joins_back(after: &str) -> bool {
    let first = after.chars().map(joining_type).find(|kind| *kind != JoiningType::Transparent);
    matches!(first, Some(JoiningType::RightJoining | JoiningType::DualJoining | JoiningType::JoinCausing))
}
