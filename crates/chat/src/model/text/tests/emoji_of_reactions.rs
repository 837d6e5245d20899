//! Emoji: every listed one, every character, and examples of each kind.

use proptest::prelude::*;

use super::*;

#[test]
fn every_listed_emoji_is_accepted_in_each_qualification() {
    let mut listed = 0;
    for one in emojis::iter().flat_map(|one| one.skin_tones().map_or_else(|| vec![one], Iterator::collect)) {
        let full = one.as_str();
        assert_eq!(emoji(full).as_deref(), Some(full));
        assert_eq!(emoji(&full.replace('\u{fe0f}', "")).as_deref(), Some(full), "{full:?} without U+FE0F");
        listed += 1;
    }
    assert!(listed > 3_900, "{listed}");
}

/// Compares two independent tables: the list of emoji and the property of characters.
#[test]
fn a_character_alone_is_an_emoji_if_unicode_says_so() {
    let basic = EmojiSetData::new::<BasicEmoji>();
    for c in scalars() {
        let text = c.to_string();
        let needs_more = c.is_ascii() || has::<RegionalIndicator>(c);
        let expected = has::<IsEmoji>(c) && !needs_more;
        assert_eq!(emoji(&text).is_some(), expected, "U+{:04X}", u32::from(c));
        let presented = format!("{text}\u{fe0f}");
        assert_eq!(expected, basic.contains(c) || basic.contains_str(&presented), "U+{:04X}", u32::from(c));
        if let Some(stored) = emoji(&text) {
            assert!(stored == text || stored == presented, "U+{:04X}", u32::from(c));
        }
    }
}

#[test]
fn a_character_beside_an_emoji_makes_no_other_emoji_of_it() {
    for c in scalars() {
        for text in [format!("a{c}"), format!("👍{c}"), format!("{c}👍")] {
            let stored = emoji(&text);
            let expected = match c {
                '\u{fe0f}' => text.starts_with('👍').then(|| "👍".to_owned()),
                '\u{1f3fb}'..='\u{1f3ff}' => text.starts_with('👍').then(|| text.clone()),
                _ => None,
            };
            assert_eq!(stored, expected, "{text:?}");
        }
    }
}

#[test]
fn one_emoji_has_one_form() {
    for (sent, stored) in [
        ("❤", "❤\u{fe0f}"),
        ("❤\u{fe0f}", "❤\u{fe0f}"),
        ("👍", "👍"),
        ("👍\u{fe0f}", "👍"),
        ("👍🏽", "👍🏽"),
        ("✌🏽", "✌🏽"),
        ("✌\u{fe0f}🏽", "✌🏽"),
        ("1\u{20e3}", "1\u{fe0f}\u{20e3}"),
        ("#\u{fe0f}\u{20e3}", "#\u{fe0f}\u{20e3}"),
        ("🇪🇺", "🇪🇺"),
        ("👩\u{200d}💻", "👩\u{200d}💻"),
        ("❤\u{200d}🔥", "❤\u{fe0f}\u{200d}🔥"),
        ("👁\u{200d}🗨", "👁\u{fe0f}\u{200d}🗨\u{fe0f}"),
        ("👁\u{fe0f}\u{200d}🗨", "👁\u{fe0f}\u{200d}🗨\u{fe0f}"),
        ("🧑\u{200d}⚕", "🧑\u{200d}⚕\u{fe0f}"),
        (
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        ),
        ("©", "©\u{fe0f}"),
        ("🏽", "🏽"),
    ] {
        assert_eq!(emoji(sent).as_deref(), Some(stored), "{sent:?}");
    }
}

#[test]
fn what_is_no_emoji_is_refused() {
    for text in [
        "",
        " ",
        "x",
        "0",
        "#",
        "*",
        "0\u{fe0f}",
        "8\u{fe0f}",
        "*\u{fe0f}",
        "a\u{20e3}",
        "\u{20e3}",
        "\u{fe0f}",
        "\u{200d}",
        "❤\u{fe0e}",
        "☺\u{fe0e}",
        "❤\u{fe0f}\u{fe0f}",
        "\u{fe0f}❤",
        "👍👍",
        "👍 ",
        " 👍",
        ":+1:",
        "+1",
        "thumbsup",
        "🇪",
        "🇪🇺🇪",
        "🇽🇽",
        "🇪\u{fe0f}🇺",
        "👍🏽🏽",
        "👍🏽\u{fe0f}",
        "👩\u{200d}",
        "\u{200d}💻",
        "👩\u{200d}\u{200d}💻",
        "😀\u{200d}😀",
        "🏴\u{e0067}\u{e007f}",
        "🏴\u{e0067}",
        "1\u{20e3}\u{20e3}",
        "♩",
        "☮\u{301}",
    ] {
        assert_eq!(emoji(text), None, "{text:?}");
    }
    assert_eq!(emoji(&"0".repeat(34)), None);
}

#[test]
fn a_stored_emoji_is_read_as_it_is() {
    for text in ["\"👍\"", "\"newer than this version\""] {
        let read: Emoji = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}

proptest! {
    #[test]
    fn no_other_text_is_an_emoji(text in "[0-9#*\u{fe0f}\u{fe0e}\u{200d}\u{20e3}❤👍👩🔥💻🏽🇪🇺a]{0,6}") {
        if let Some(stored) = emoji(&text) {
            prop_assert_eq!(stored.replace('\u{fe0f}', ""), text.replace('\u{fe0f}', ""));
            prop_assert_eq!(emoji(&stored), Some(stored.clone()));
        }
    }
}
