//! Names: every character, and examples of each kind.

use proptest::prelude::*;

use super::*;

/// Returns whether a character is refused in every name.
fn is_never_in_a_name(c: char) -> bool {
    matches!(
        category(c),
        GeneralCategory::Control
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    ) || has::<BidiControl>(c)
        || matches!(c, '\u{fff9}'..='\u{fffb}')
}

#[test]
fn every_character_alone_is_a_name_if_it_is_visible() {
    for c in scalars() {
        let text = c.to_string();
        let expected = (is_visible(c) && !is_never_in_a_name(c)).then(|| nfc(&text));
        // Some letters are composed of a mark alone in Normalization Form C, which begins no name.
        let expected = expected.filter(|name| !name.starts_with(is_mark));
        assert_eq!(name(&text), expected, "U+{:04X}", u32::from(c));
    }
}

#[test]
fn every_character_inside_a_name_is_kept_or_refused_and_never_removed() {
    for c in scalars() {
        let text = format!("a{c}b");
        let is_invisible = has::<DefaultIgnorableCodePoint>(c);
        match name(&text) {
            Some(stored) => {
                assert_eq!(stored, nfc(&text), "U+{:04X}", u32::from(c));
                assert!(!is_never_in_a_name(c) && !is_invisible, "U+{:04X}", u32::from(c));
            }
            None => assert!(is_never_in_a_name(c) || is_invisible, "U+{:04X}", u32::from(c)),
        }
    }
}

#[test]
fn a_stored_name_is_stored_again_unchanged_whatever_its_characters() {
    for c in assigned() {
        // Each character alone, and in one of the surroundings that decide what is kept.
        let surrounded = match u32::from(c) % 4 {
            0 => format!("a{c}"),
            1 => format!(" {c} ज्{c}x"),
            2 => format!("❤{c}"),
            _ => format!("葛{c}"),
        };
        for text in [format!("{c}"), surrounded] {
            let Some(stored) = name(&text) else { continue };
            assert_eq!(name(&stored).as_ref(), Some(&stored), "U+{:04X}", u32::from(c));
            assert_eq!(stored, nfc(&stored));
        }
    }
}

#[test]
fn a_name_is_stored_composed_and_without_spaces_at_its_ends() {
    for (sent, stored) in [
        ("General", "General"),
        ("  General ", "General"),
        ("\u{a0}\u{3000}General\u{2003}", "General"),
        ("two  words", "two  words"),
        ("Cafe\u{301}", "Café"),
        ("\u{212b}ngstro\u{308}m", "Ångström"),
        ("\u{1112}\u{1161}\u{11ab}", "한"),
        ("\u{f900}", "豈"),
        ("Ærzte & Co. #1 – „ja“", "Ærzte & Co. #1 – „ja“"),
    ] {
        assert_eq!(name(sent).as_deref(), Some(stored), "{sent:?}");
    }
}

#[test]
fn a_name_has_something_visible() {
    for text in [
        "",
        " ",
        "   ",
        "\u{a0}",
        "\u{3000}",
        "\u{200b}",
        "\u{200d}",
        "\u{2060}",
        "\u{feff}",
        "\u{ad}",
        "\u{34f}",
        "\u{115f}",
        "\u{3164}",
        "\u{ffa0}",
        "\u{2800}",
        " \u{2800} ",
        "\u{180e}",
        "\u{fe0f}",
        "\u{e0041}",
        "\u{1d159}",
        "\u{301}",
        " \u{301}",
        "\u{20e3}",
        "\u{13441}",
    ] {
        assert_eq!(name(text), None, "{text:?}");
    }
}

#[test]
fn a_name_does_not_change_the_text_around_it() {
    for text in [
        "a\u{202e}b",
        "a\u{202a}b",
        "a\u{2066}b\u{2069}",
        "a\u{200e}b",
        "a\u{61c}b",
        "a\nb",
        "a\tb",
        "General\n",
        "\tGeneral",
        "a\u{7f}b",
        "a\u{85}b",
        "a\u{9b}b",
        "a\u{0}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{fff9}b",
        "a\u{e000}b",
        "a\u{f8ff}",
        "a\u{10fffd}",
        "a\u{fdd0}b",
        "a\u{ffff}b",
        "a\u{10ffff}",
        "a\u{378}b",
        "\u{301}a",
    ] {
        assert_eq!(name(text), None, "{text:?}");
    }
}

#[test]
fn an_invisible_character_is_kept_where_it_has_an_effect() {
    for text in [
        // Persian, Hindi, Bengali, Malayalam, Sinhala, and the abbreviated Hijri date.
        "می\u{200c}خواهم",
        "क्\u{200d}ष",
        "क्\u{200c}ष",
        "র\u{200d}\u{9cd}যাব",
        "ന്\u{200d}",
        "ශ්\u{200d}රී",
        "١٤٤٥ ه\u{200d}",
        // Emoji, a variant of an ideograph, and Mongolian.
        "Family 👩\u{200d}👩\u{200d}👧",
        "❤\u{fe0f}\u{200d}🔥",
        "👩🏽\u{200d}🚀",
        "❤\u{fe0f} and ❤\u{fe0e}",
        "1\u{fe0f}\u{20e3}",
        "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f} team",
        "葛\u{e0100}飾区",
        "ᠠ\u{180b}",
    ] {
        assert_eq!(name(text).as_deref(), Some(text), "{text:?}");
    }
    for text in [
        "Gen\u{200d}eral",
        "Gen\u{200c}eral",
        "General\u{200d}",
        "\u{200d}General",
        "می\u{200c}\u{200c}خواهم",
        "می\u{200c}",
        "ന്\u{200d}\u{200d}",
        "👩\u{200d}",
        "👩\u{200d}\u{200d}👩",
        "a\u{fe0f}",
        "1\u{fe0f}",
        "❤\u{fe0f}\u{fe0f}",
        "葛\u{e0100}\u{e0100}",
        "a\u{e0100}",
        "a\u{180b}",
        "🏴\u{e0067}",
        "🏴\u{e0067}\u{e007f}",
        "a\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}\u{e007f}",
    ] {
        assert_eq!(name(text), None, "{text:?}");
    }
}

#[test]
fn every_listed_emoji_is_a_name() {
    for listed in emojis::iter().map(emojis::Emoji::as_str) {
        assert_eq!(name(listed).as_deref(), Some(listed));
        let inside = format!("a {listed} b");
        assert_eq!(name(&inside), Some(inside));
    }
}

#[test]
fn a_name_is_measured_in_characters_as_sent_and_as_stored() {
    assert!(name(&"𝐓".repeat(CHANNEL_NAME_CHARS)).is_some());
    assert_eq!(name(&"𝐓".repeat(CHANNEL_NAME_CHARS + 1)), None);
    assert_eq!(name(&format!("{}a", " ".repeat(CHANNEL_NAME_CHARS))), None, "as sent");
    // U+0958 becomes two characters.
    assert!(name(&"\u{958}".repeat(CHANNEL_NAME_CHARS / 2)).is_some());
    assert_eq!(name(&"\u{958}".repeat(CHANNEL_NAME_CHARS / 2 + 1)), None, "as stored");
}

#[test]
fn marks_do_not_pile_up() {
    let piled = |marks: usize| format!("a{}b", "\u{20dd}".repeat(marks));
    assert!(name(&piled(MARKS_IN_A_ROW)).is_some());
    assert_eq!(name(&piled(MARKS_IN_A_ROW + 1)), None);
    assert!(name("שָׁ֥לֹום").is_some() && name("བསྒྲུབས").is_some() && name("กี่น้ำ").is_some());
}

#[test]
fn a_refusal_names_the_code_point() {
    let message = |text: &str| normalized(text).unwrap_err().message;
    assert_eq!(message("a\u{202e}b"), "must not contain U+202E, a control of the text direction");
    assert_eq!(message("a\u{7f}b"), "must not contain U+007F, a control character");
    assert_eq!(message("\u{200b}"), "must not contain U+200B, an invisible character without an effect here");
    assert_eq!(message("  "), "must have a visible character");
}

proptest! {
    #[test]
    fn canonically_equivalent_names_are_stored_equal(text in "\\PC{1,60}") {
        let decomposed = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(&text).into_owned();
        prop_assume!(decomposed.chars().count() <= CHANNEL_NAME_CHARS);
        prop_assert_eq!(name(&decomposed), name(&text));
    }

    #[test]
    fn a_stored_name_is_a_name(text in any::<String>()) {
        if let Some(stored) = name(&text) {
            prop_assert_eq!(name(&stored), Some(stored.clone()));
            prop_assert!(stored.chars().any(is_visible) && !stored.chars().any(char::is_control));
            prop_assert!((1..=CHANNEL_NAME_CHARS).contains(&stored.chars().count()));
        }
    }
}
