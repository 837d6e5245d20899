//! Contents: every character, and examples of each kind.

use super::*;

#[test]
fn every_character_alone_is_a_content_if_it_is_visible() {
    for c in scalars() {
        let refused = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
        let expected: Vec<&str> = [(refused, "control_character"), (!is_visible(c), "invisible")]
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, code)| *code)
            .collect();
        assert_eq!(codes(&c.to_string()), expected, "U+{:04X}", u32::from(c));
    }
}

#[test]
fn every_character_but_a_control_stands_in_a_content() {
    for c in scalars() {
        assert_eq!(codes(&format!("a{c}b")).is_empty(), !is_refused(c), "U+{:04X}", u32::from(c));
    }
}

#[test]
fn what_nobody_sees_is_no_content() {
    for text in [
        " ",
        "\n",
        "\t\r\n",
        "\u{200b}",
        "\u{2060}\u{feff}",
        "\u{202e}",
        "\u{2800}\n",
        "\u{3164}",
        "\u{301}",
        "\u{fe0f}",
        "\u{ad}",
        "\u{2028}",
        "\u{ffff}",
    ] {
        assert_eq!(codes(text), ["invisible"], "{text:?}");
    }
    for text in
        ["x", " x ", "\u{202e}abc", "שלום\u{200f}!", "\u{2068}a\u{2069}\nb\tc\r\n", "e\u{301}", "\u{e000}", "👍", "."]
    {
        assert_eq!(codes(text), [""; 0], "{text:?}");
    }
}

#[test]
fn a_control_is_named() {
    for (text, named) in [("a\u{0}", "U+0000"), ("a\u{7f}", "U+007F"), ("\u{9b}31m", "U+009B"), ("a\u{85}b", "U+0085")]
    {
        let [flaw] = flaws(text).try_into().unwrap();
        assert_eq!(flaw.code, "control_character");
        assert!(flaw.message.ends_with(named), "{}", flaw.message);
    }
}
