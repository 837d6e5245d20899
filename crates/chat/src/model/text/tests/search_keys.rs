//! Search keys: every character, and examples of each kind.

use proptest::prelude::*;

use super::*;

#[test]
fn every_character_folds_once_for_all() {
    for c in assigned() {
        // The character at the beginning, between letters, and before marks.
        let folded = key(&format!("{c}a{c}b{c}\u{345}\u{301}"));
        assert_eq!(key(&folded), folded, "U+{:04X}", u32::from(c));
    }
}

/// The table of the standard library is another one: what it calls equal, the key must find.
#[test]
fn every_character_is_found_in_upper_and_lower_case() {
    // The dotless i and the dotted I stay themselves.
    for c in assigned().filter(|c| !matches!(c, 'ı' | 'İ')) {
        let folded = key(&c.to_string());
        let upper: String = c.to_uppercase().collect();
        let lower: String = c.to_lowercase().collect();
        assert_eq!((key(&upper), key(&lower)), (folded.clone(), folded), "U+{:04X}", u32::from(c));
    }
}

#[test]
fn names_fold_as_unicode_says() {
    for (name, same) in [
        ("STRASSE", "Straße"),
        ("STRAẞE", "strasse"),
        ("ΟΔΟΣ", "οδος"),
        ("οδός", "ΟΔΌΣ"),
        ("Café", "CAFE\u{301}"),
        ("ﬁnance", "FINANCE"),
        ("Ｔｅａｍ　Ａ", "team a"),
        ("Å", "\u{212b}"),
        ("Ⅷ", "viii"),
        ("ǆ", "Ǆ"),
        ("ᾳ", "ΑΙ"),
        ("ꭰ", "Ꭰ"),
        ("co\u{ad}op", "coop"),
        ("① ㎏", "1 kg"),
    ] {
        assert_eq!(key(name), key(same), "{name:?} and {same:?}");
    }
    assert_eq!(key("İstanbul"), "i\u{307}stanbul");
    assert_ne!(key("ısı"), key("isi"));
    assert_eq!(key("ISPARTA"), "isparta");
    assert!(SearchKey::of("Größe").starts_with(&SearchKey::of("GRÖSS")));
    assert!(!SearchKey::of("Größe").starts_with(&SearchKey::of("grot")));
    assert!(SearchKey::of("anything").starts_with(&SearchKey::of("")));
}

#[test]
fn a_key_has_a_limit() {
    let long = key(&"\u{fdfa}".repeat(CHANNEL_NAME_CHARS));
    assert!((SEARCH_KEY_BYTES - 3..=SEARCH_KEY_BYTES).contains(&long.len()), "{}", long.len());
    assert!(SearchKey::of(&"\u{fdfa}".repeat(CHANNEL_NAME_CHARS)).starts_with(&SearchKey::of("\u{fdfa}")));
}

proptest! {
    #[test]
    fn a_key_is_folded_again_unchanged(text in any::<String>()) {
        let folded = key(&text);
        prop_assert_eq!(key(&folded), folded.clone());
        prop_assert!(!folded.chars().any(has::<DefaultIgnorableCodePoint>));
    }

    #[test]
    fn equivalent_names_have_one_key(text in "\\PC{0,40}") {
        let decomposed = icu_normalizer::DecomposingNormalizerBorrowed::new_nfkd().normalize(&text).into_owned();
        prop_assert_eq!(key(&decomposed), key(&text));
    }
}
