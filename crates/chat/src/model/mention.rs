//! Mentions: names after an `@` in the text of a message.
//!
//! A mention begins where a word begins: `@agent, hi`, `(@agent)`, `**@agent**`. An `@` after a letter, a
//! digit or another character of an address or a path begins none: `bob@agent.com`, `example.org/@agent`.
//!
//! The name is the longest run of characters that ids may have, and of letters, digits and combining marks of other
//! scripts. So `@agent.smith`, `@agent_2` and `@agentée` are mentions of others. Full stops and colons at
//! the end of the run belong to the sentence: `@agent: hi` and `Ask @agent.` mention the agent. So does
//! `@agent's`, since no id holds an apostrophe.
//!
//! URLs with a scheme and Markdown's code spans and code blocks hold no mentions.

use crate::model::text::is_mark;

/// Minimum number of backticks around a code block.
const FENCE: usize = 3;

/// Returns whether a text mentions `name`, in upper or lower case.
#[must_use]
pub fn mentions(text: &str, name: &str) -> bool {
    mentioned(text).any(|one| one.eq_ignore_ascii_case(name))
}

/// Returns the names that a text mentions, in order.
pub fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    prose(text).into_iter().flat_map(str::split_whitespace).flat_map(mentioned_in_word)
}

/// Returns a text in which `to` takes the place of `name` in each mention of it. Ids of users differ by upper and lower
/// case, so this compares both.
#[must_use]
pub fn renamed(text: &str, name: &str, to: &str) -> String {
    let (mut renamed, mut from) = (String::with_capacity(text.len()), 0);
    for one in mentioned(text).filter(|one| *one == name) {
        // A mention is a part of the text.
        let at = one.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        renamed.push_str(&text[from..at]);
        renamed.push_str(to);
        from = at + one.len();
    }
    renamed.push_str(&text[from..]);
    renamed
}

/// Returns a text without the mention that it begins with.
#[must_use]
pub fn without_address(text: &str) -> &str {
    text.strip_prefix('@').map_or(text, |called| called.trim_start_matches(is_of_name).trim_start_matches(','))
}

fn mentioned_in_word(word: &str) -> impl Iterator<Item = &str> {
    let word = word.find("://").map_or(word, |scheme_end| &word[..scheme_end]);
    word.match_indices('@').filter_map(move |(at, _)| {
        let begins_word = word[..at].chars().next_back().is_none_or(can_precede);
        let rest = &word[at + 1..];
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches(is_of_sentence);
        let is_address = rest[end..].starts_with('@');
        (begins_word && !is_address && !name.is_empty()).then_some(name)
    })
}

/// Returns whether a mention can begin after this character.
fn can_precede(c: char) -> bool {
    is_of_sentence(c) || !(is_of_name(c) || matches!(c, '@' | '/' | '\\' | '+'))
}

/// Returns whether a name continues with this character.
fn is_of_name(c: char) -> bool {
    is_of_sentence(c) || c.is_alphanumeric() || matches!(c, '_' | '-' | '=') || joins_letters(c)
}

/// Returns whether an id can hold this character, but a name in a text cannot end with it.
fn is_of_sentence(c: char) -> bool {
    matches!(c, '.' | ':')
}

/// Returns whether a character changes or joins letters: a mark, or one of the two joiners.
fn joins_letters(c: char) -> bool {
    is_mark(c) || matches!(c, '\u{200c}' | '\u{200d}')
}

/// Returns the parts of a text that are neither code spans nor code blocks.
fn prose(text: &str) -> Vec<&str> {
    let (mut parts, mut rest, mut from) = (Vec::new(), text, 0);
    while let Some(found) = rest[from..].find('`') {
        let open = from + found;
        let ticks = backticks(&rest[open..]);
        let code = &rest[open + ticks..];
        if let Some(end) = code_end(code, ticks) {
            parts.push(&rest[..open]);
            (rest, from) = (&code[end..], 0);
        } else if ticks >= FENCE && begins_line(&rest[..open]) {
            // A code block without an end lasts until the end of the text.
            parts.push(&rest[..open]);
            return parts;
        } else {
            from = open + ticks;
        }
    }
    parts.push(rest);
    parts
}

/// Returns the end of the code that follows `ticks` backticks: after as many backticks again. A blank line ends the
/// search for the end of a code span.
fn code_end(code: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    loop {
        let start = at + code[at..].find('`')?;
        let between = &code[at..start];
        if ticks < FENCE && (between.contains("\n\n") || between.contains("\r\n\r\n")) {
            return None;
        }
        at = start + backticks(&code[start..]);
        if at - start == ticks {
            return Some(at);
        }
    }
}

fn backticks(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b'`').count()
}

fn begins_line(before: &str) -> bool {
    let before = before.trim_end_matches(' ');
    before.is_empty() || before.ends_with(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_mention_of_the_name_is_replaced_and_the_rest_stays() {
        for (text, expected) in [
            ("", ""),
            ("@ann", "@x"),
            ("é @ann, @ann: (@ann) ann", "é @x, @x: (@x) ann"),
            (
                "@Ann @annie @ann.b bob@ann.com `@ann` https://h/@ann",
                "@Ann @annie @ann.b bob@ann.com `@ann` https://h/@ann",
            ),
        ] {
            assert_eq!(renamed(text, "ann", "x"), expected);
        }
    }

    #[test]
    fn only_the_whole_name_is_a_mention() {
        for text in [
            "@agent",
            "hey @Agent, hi",
            "@AGENT hi",
            "(@agent)",
            "(ask @agent.)",
            "@agents @agent",
            "@agent.",
            "@agent...",
            "@agent: hi",
            "@agent:\nhi",
            "@agent,bob",
            "@agent!",
            "@agent's",
            "**@agent**",
            "\"@agent\"",
            "cc:@agent",
            "wait...@agent",
            "ask\u{3000}@agent\u{3000}now",
            "@agent\u{1f44b}",
            "a stray ` and @agent",
            "a stray `\n\nand @agent `",
            "`code` @agent",
            "see https://example.org @agent",
        ] {
            assert!(mentions(text, "agent"), "{text:?}");
        }
        for text in [
            "",
            "@",
            "@.",
            "agent",
            "@agents",
            "@assist",
            "@agent.smith",
            "@agent:smith",
            "@agent_2",
            "@agent-bot",
            "@agent=40x.y",
            "@agent-2",
            "@agent2",
            "@agentée",
            "@agent\u{301}",
            "@agent\u{200d}x",
            "@ａgent",
            "＠agent",
            "@@agent",
            "@agent@example.org",
            "me@agent",
            "bob@agent.com",
            "bob_@agent",
            "é@agent",
            "https://example.org/@agent",
            "https://example.org?q=(@agent)",
            "example.org/@agent",
            "`@agent`",
            "``a ` @agent``",
            "```\n@agent\n```",
            "```\n\n@agent\n\n```",
            "```\n@agent",
        ] {
            assert!(!mentions(text, "agent"), "{text:?}");
        }
        assert!(mentions("@Jarvis?", "jarvis") && !mentions("@agent", "jarvis"));
        assert_eq!(mentioned("@a, @b.c. and x@d (@e:)").collect::<Vec<_>>(), ["a", "b.c", "e"]);
    }

    #[test]
    fn a_text_is_read_without_the_name_that_it_addresses() {
        for (text, rest) in [("@agent /help", " /help"), ("@agent: hi", " hi"), ("@a, hi", " hi"), ("hi", "hi")] {
            assert_eq!(without_address(text), rest);
        }
    }

    proptest! {
        #[test]
        fn a_name_is_found_if_and_only_if_it_is_delimited(
            (before, begins) in prop_oneof![
                prop::sample::select(vec!["", " ", "a ", "\n", "(", "\"", "*", ",", ".", ":", "`x` "]).prop_map(|text| (text, true)),
                prop::sample::select(vec!["a", "7", "é", "_", "-", "@", "/", "+", "=", "http://"]).prop_map(|text| (text, false)),
            ],
            name in "[A-Za-z0-9_-]{1,20}",
            (after, ends) in prop_oneof![
                prop::sample::select(vec!["", " ", "\n", ".", ":", ",", ". b", ": b", ")", "'s", "!", "*", "\u{3000}"]).prop_map(|text| (text, true)),
                prop::sample::select(vec!["a", "7", "é", "_", "-", ".b", ":b", "\u{301}", "@b"]).prop_map(|text| (text, false)),
            ],
        ) {
            let text = format!("{before}@{name}{after}");
            prop_assert_eq!(mentions(&text, &name), begins && ends, "{:?}", text);
        }

        #[test]
        fn each_name_follows_an_at_sign(text in "[@a.:_` \\n/é-]{0,60}") {
            for name in mentioned(&text) {
                let at = name.as_ptr().addr() - text.as_ptr().addr();
                prop_assert!(text[..at].ends_with('@'));
                prop_assert!(!name.is_empty() && !name.ends_with(['.', ':']));
            }
        }
    }
}
