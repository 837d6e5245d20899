//! Continuation of a reply: the prefix in the request, and the joint between the prefix and the text that follows.
//!
//! A server returns only the text that follows the prefix. Two things disturb the joint:
//!
//! - White space at the end of a prefix. Claude refuses it ("Prefill Claude's response" in the Claude docs), and the
//!   tokens of other models begin with white space. So it is not sent, and the same white space is dropped from the
//!   beginning of the continuation.
//! - An echo. Mistral returns the prefix again (vercel/ai, pull request 3256).

use std::{borrow::Cow, collections::VecDeque};

use chat::ports::language_model::{Prompt, Turn};
use serde_json::{Value, json};

use crate::conversation::Part;

/// Way in which a server is asked to continue a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Continuation {
    /// No server is asked: another call begins another reply.
    #[default]
    None,
    /// The prefix is the last message, with the role `assistant`.
    Assistant,
    /// That message also has `"prefix": true`.
    Prefix,
    /// The request also has `"continue_final_message": true` and `"add_generation_prompt": false`.
    ContinueFinalMessage,
}

impl Continuation {
    /// Returns the way with this name in the settings.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "assistant" => Some(Self::Assistant),
            "prefix" => Some(Self::Prefix),
            "continue_final_message" => Some(Self::ContinueFinalMessage),
            _ => None,
        }
    }
}

/// Beginning of a reply that a request asks to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix<'a> {
    continuation: Continuation,
    /// Complete prefix.
    pub(crate) text: &'a str,
    /// Prefix as the request has it: control tokens are broken, and no white space is at its end. Empty if the prefix
    /// is blank. The request then has no prefix, since servers refuse blank messages.
    sent: String,
    /// White space at the end of the prefix.
    gap: &'a str,
}

impl<'a> Prefix<'a> {
    /// Returns the prefix of a prompt, if it has one and the server is asked to continue it.
    pub(crate) fn of(prompt: &'a Prompt, continuation: Continuation) -> Option<Self> {
        let text = prompt.prefix.as_deref().filter(|text| !text.is_empty() && continuation != Continuation::None)?;
        let (said, gap) = text.split_at(text.trim_end().len());
        let sent = Turn { speaker: None, text: said.to_owned() }.framed();
        Some(Self { continuation, text, sent, gap })
    }

    /// Returns the last part of the conversation, unless the prefix is blank.
    pub(crate) fn part(&self) -> Option<Part> {
        (!self.sent.is_empty()).then(|| Part { is_user: false, text: self.sent.clone() })
    }

    /// Adds the prefix to a request of OpenAI's protocol, unless it is blank.
    pub(crate) fn add_to(&self, request: &mut Value) {
        let Some(messages) = request["messages"].as_array_mut().filter(|_| !self.sent.is_empty()) else { return };
        let mut message = json!({ "role": "assistant", "content": self.sent });
        if self.continuation == Continuation::Prefix {
            message["prefix"] = true.into();
        }
        messages.push(message);
        if self.continuation == Continuation::ContinueFinalMessage {
            // vLLM refuses both as true (vllm-project/vllm, pull request 8942).
            request["continue_final_message"] = true.into();
            request["add_generation_prompt"] = false.into();
        }
    }

    /// Returns the joint of the prefix and the text that follows.
    pub(crate) fn joint(&self) -> Joint {
        let echo = if self.continuation == Continuation::Prefix { self.sent.clone() } else { String::new() };
        Joint { echo, held: String::new(), gap: self.gap.chars().collect() }
    }
}

/// Joint of a prefix and the text that follows. The result does not depend on where the text is cut.
#[derive(Debug, Default)]
pub(crate) struct Joint {
    /// Text that the server may repeat. Empty once that is known.
    echo: String,
    /// Text that may be the beginning of an echo.
    held: String,
    /// White space that is still dropped.
    gap: VecDeque<char>,
}

impl Joint {
    /// Adds text of the model. Returns the known part of the text that follows the prefix.
    pub(crate) fn push<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if self.echo.is_empty() {
            return Cow::Borrowed(self.without_gap(text));
        }
        self.held.push_str(text);
        if self.held.len() < self.echo.len() && self.echo.starts_with(self.held.as_str()) {
            return Cow::Borrowed("");
        }
        Cow::Owned(self.finish())
    }

    /// Returns the rest, because no more text decides whether it is an echo.
    pub(crate) fn finish(&mut self) -> String {
        let (echo, held) = (std::mem::take(&mut self.echo), std::mem::take(&mut self.held));
        let text = held.strip_prefix(echo.as_str()).unwrap_or(&held);
        self.without_gap(text).to_owned()
    }

    /// Drops the white space that the prefix has already.
    fn without_gap<'t>(&mut self, text: &'t str) -> &'t str {
        let mut rest = text;
        while let Some(&blank) = self.gap.front() {
            if let Some(after) = rest.strip_prefix(blank) {
                rest = after;
                self.gap.pop_front();
            } else if rest.is_empty() {
                break;
            } else {
                self.gap.clear();
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prompt(prefix: &str) -> Prompt {
        Prompt { instructions: None, turns: Vec::new(), model: None, prefix: Some(prefix.to_owned()) }
    }

    /// Returns the text that follows a prefix, from a server that sends these parts.
    fn follow<'p>(prefix: &str, continuation: Continuation, parts: impl IntoIterator<Item = &'p str>) -> String {
        let prompt = prompt(prefix);
        let mut joint = Prefix::of(&prompt, continuation).map(|prefix| prefix.joint()).unwrap_or_default();
        let mut text: String = parts.into_iter().map(|part| joint.push(part).into_owned()).collect();
        text.push_str(&joint.finish());
        text
    }

    #[test]
    fn white_space_at_the_joint_is_there_once() {
        for (prefix, said, expected) in [
            ("one", " two", " two"),
            ("one ", " two", "two"),
            ("one ", "two", "two"),
            ("one\n", "\n\ntwo", "\ntwo"),
            ("one\n\n", "\ntwo", "two"),
            ("one \n", " \n  two", "  two"),
            ("one ", "\ntwo", "\ntwo"),
            ("one\u{a0}", "\u{a0}two", "two"),
            ("one ", " ", ""),
            ("one ", "", ""),
            (" \n", " \n one", " one"),
            ("", " one", " one"),
        ] {
            for continuation in [Continuation::Assistant, Continuation::Prefix, Continuation::ContinueFinalMessage] {
                assert_eq!(follow(prefix, continuation, [said]), expected, "{prefix:?} {said:?} {continuation:?}");
            }
        }
    }

    #[test]
    fn an_echo_is_dropped_where_a_server_may_repeat_the_prefix() {
        for (prefix, said, expected) in [
            ("one two", "one two three", " three"),
            ("one two ", "one two three", "three"),
            ("one two", "one two", ""),
            ("one two", "one", "one"),
            ("one two", "one three", "one three"),
            ("one", " one", " one"),
            ("a <|b|>", r"a <\|b|> c", " c"),
        ] {
            assert_eq!(follow(prefix, Continuation::Prefix, [said]), expected, "{prefix:?} {said:?}");
        }
        assert_eq!(follow("ha", Continuation::Assistant, ["ha", "ha"]), "haha");
    }

    #[test]
    fn a_request_has_the_prefix_in_the_way_of_the_server() {
        let request = |prefix: &str, continuation| {
            let mut request = json!({ "messages": [] });
            if let Some(prefix) = Prefix::of(&prompt(prefix), continuation) {
                prefix.add_to(&mut request);
            }
            request
        };
        let said = json!({ "role": "assistant", "content": "one" });
        let marked = json!({ "role": "assistant", "content": "one", "prefix": true });
        for (continuation, expected) in [
            (Continuation::None, json!({ "messages": [] })),
            (Continuation::Assistant, json!({ "messages": [said] })),
            (Continuation::Prefix, json!({ "messages": [marked] })),
            (
                Continuation::ContinueFinalMessage,
                json!({ "messages": [said], "continue_final_message": true, "add_generation_prompt": false }),
            ),
        ] {
            assert_eq!(request("one \n", continuation), expected, "{continuation:?}");
            assert_eq!(request(" \n", continuation), json!({ "messages": [] }), "{continuation:?}");
        }
    }

    /// Generates texts with white space of all kinds, repetitions and control tokens.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            prop::sample::select(vec![
                " ", "\n", "\r\n", "\t", "\u{a0}", "\u{2003}", "a", "ab", "aba", "é", "日本", "<|x|>", "`"
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(pieces, 1..12).prop_map(|pieces| pieces.concat())
    }

    fn cut_at(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_reply_is_whole_wherever_it_was_interrupted(
            text in texts(),
            interruption in any::<prop::sample::Index>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let (prefix, _) = text.split_at(text.floor_char_boundary(interruption.index(text.len() + 1)));
            // A model goes on from the sent words, and knows nothing of the white space after them.
            let rest = &text[prefix.trim_end().len()..];
            for continuation in [Continuation::Assistant, Continuation::ContinueFinalMessage] {
                let parts = cut_at(rest, &cuts);
                let following = follow(prefix, continuation, parts.iter().map(String::as_str));
                prop_assert_eq!(format!("{prefix}{following}"), text.as_str(), "{:?}", continuation);
            }
            let prompt = prompt(prefix);
            let sent = Prefix::of(&prompt, Continuation::Prefix).map(|prefix| prefix.sent).unwrap_or_default();
            let mut said = vec![format!("{sent}{rest}")];
            // A server that does not repeat the prefix. Its words are not the prefix again.
            if sent.is_empty() || !rest.starts_with(&sent) {
                said.push(rest.to_owned());
            }
            for said in said {
                let parts = cut_at(&said, &cuts);
                let following = follow(prefix, Continuation::Prefix, parts.iter().map(String::as_str));
                prop_assert_eq!(format!("{prefix}{following}"), text.as_str(), "{:?}", said);
            }
        }

        #[test]
        fn the_text_does_not_depend_on_where_it_is_cut(
            prefix in texts(),
            said in texts(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            for continuation in [Continuation::Assistant, Continuation::Prefix] {
                let whole = follow(&prefix, continuation, [said.as_str()]);
                let letters: Vec<String> = said.chars().map(String::from).collect();
                prop_assert_eq!(&follow(&prefix, continuation, letters.iter().map(String::as_str)), &whole);
                let parts = cut_at(&said, &cuts);
                prop_assert_eq!(&follow(&prefix, continuation, parts.iter().map(String::as_str)), &whole);
            }
        }
    }
}
