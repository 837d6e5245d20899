//! Reasoning within the text of a reply. A server that does not separate it sends it first, between two tags.
//!
//! Some chat templates put the opening tag at the end of the prompt, so that the reply has only the closing one (the
//! template of `DeepSeek-R1`; `DeepSeekR1Detector` in `python/sglang/srt/parser/reasoning_parser.py` of
//! sgl-project/sglang). Then the text before the first closing tag was reasoning. It may already be passed on by then.

/// Tags of reasoning: at the beginning, at the end, and whether a template may have put the first one into the prompt.
#[derive(Debug, Clone, Copy)]
struct Tags {
    open: &'static str,
    close: &'static str,
    is_open_in_prompt: bool,
}

const fn tags(open: &'static str, close: &'static str, is_open_in_prompt: bool) -> Tags {
    Tags { open, close, is_open_in_prompt }
}

/// Tags of known models. ASCII letters match in either case. Sources: `reasoning_parser.py` of sgl-project/sglang,
/// `common/chat.cpp` of ggml-org/llama.cpp, and `backend/open_webui/utils/middleware.py` of open-webui/open-webui. Those
/// with bars are of Cohere's models, of Sky-T1, and of gpt-oss, whose reply is the channel `final`.
const TAGS: [Tags; 12] = [
    tags("<think>", "</think>", true),
    tags("<thinking>", "</thinking>", false),
    tags("<thought>", "</thought>", false),
    tags("<reason>", "</reason>", false),
    tags("<reasoning>", "</reasoning>", false),
    tags("<seed:think>", "</seed:think>", true),
    tags("<mm:think>", "</mm:think>", true),
    tags("◁think▷", "◁/think▷", true),
    tags("[THINK]", "[/THINK]", true),
    tags("<|START_THINKING|>", "<|END_THINKING|>", false),
    tags("<|begin_of_thought|>", "<|end_of_thought|>", false),
    tags("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", false),
];

/// Maximum blank bytes at the beginning of a reply that are kept back until its first word.
const BLANK_BYTES: usize = 1_024;

/// Result of a part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filtered {
    /// Text of the reply. Not empty.
    Text(String),
    /// All text so far was reasoning.
    Retracted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first word of the reply.
    Start,
    /// Within reasoning that ends with this tag.
    Reasoning(&'static str),
    /// Within the reply.
    Text,
}

/// A filter that removes the reasoning from the beginning of a reply. The result does not depend on where the text is
/// cut.
#[derive(Debug)]
pub(crate) struct ReasoningFilter {
    state: State,
    /// Text that may be a part of a tag, or that may have to be dropped.
    pending: String,
    /// `true` when no more reasoning can be found in the text of the reply: some was removed, or a tag was quoted.
    is_settled: bool,
    /// `true` when the next word follows reasoning, so that blanks before it are dropped.
    follows_reasoning: bool,
    /// `true` when text was passed on that reasoning without an opening tag would take back.
    has_passed: bool,
    code: Code,
}

impl ReasoningFilter {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            pending: String::new(),
            is_settled: false,
            follows_reasoning: false,
            has_passed: false,
            code: Code::default(),
        }
    }

    /// Creates a filter for the text that follows a prefix of the reply. That is no beginning, so a tag of reasoning is
    /// removed only if the prefix was reasoning too.
    pub(crate) fn after(text: &str) -> Self {
        let mut filter = Self::new();
        if !text.trim_start().is_empty() {
            filter.state = State::Text;
            filter.has_passed = true;
            for c in text.chars() {
                filter.code.read(c);
            }
            let has_tag = |rest: &str| {
                let known = TAGS.iter().filter(|tags| tags.is_open_in_prompt);
                known.flat_map(|tags| [tags.open, tags.close]).any(|tag| prefix(rest, tag).is_some())
            };
            filter.is_settled = text.char_indices().any(|(at, _)| has_tag(&text[at..]));
        }
        filter
    }

    /// Adds a part of the text. Returns the known part of the reply.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Filtered> {
        let mut found = Vec::new();
        self.pending.push_str(text);
        while self.step(&mut found) {}
        found
    }

    /// Returns the rest at the end of the text. If the text `is_truncated`, a part of a tag at its beginning is one.
    pub(crate) fn finish(&mut self, is_truncated: bool) -> Option<Filtered> {
        let rest = std::mem::take(&mut self.pending);
        let is_reply = match self.state {
            State::Reasoning(_) => false,
            State::Start => !rest.trim_start().is_empty() && !is_truncated,
            State::Text => true,
        };
        self.has_passed |= is_reply;
        (is_reply && !rest.is_empty()).then_some(Filtered::Text(rest))
    }

    /// Reads on. Returns `false` if that takes more text.
    fn step(&mut self, found: &mut Vec<Filtered>) -> bool {
        match self.state {
            State::Start => self.start(),
            State::Reasoning(close) => self.reason(close),
            State::Text => self.read(found),
        }
    }

    fn start(&mut self) -> bool {
        let rest = self.pending.trim_start();
        let blank = self.pending.len() - rest.len();
        if rest.is_empty() && blank <= BLANK_BYTES {
            return false;
        }
        for Tags { open, close, .. } in TAGS {
            if let Some(length) = prefix(rest, open) {
                self.end_of_tag(blank + length, State::Reasoning(close));
                return true;
            }
            if let Some(length) = prefix(rest, close) {
                self.end_of_tag(blank + length, State::Start);
                return true;
            }
        }
        let is_part = |tag| is_proper_prefix(rest, tag);
        if !rest.is_empty() && TAGS.iter().any(|tags| is_part(tags.open) || is_part(tags.close)) {
            return false;
        }
        if self.follows_reasoning {
            self.pending.drain(..blank);
        }
        self.state = State::Text;
        true
    }

    fn end_of_tag(&mut self, length: usize, state: State) {
        self.pending.drain(..length);
        self.state = state;
        self.is_settled = true;
        self.follows_reasoning = true;
    }

    fn reason(&mut self, close: &'static str) -> bool {
        let first = close.chars().next().unwrap_or_default();
        let mut from = 0;
        while let Some(at) = self.pending[from..].find(first).map(|at| from + at) {
            let rest = &self.pending[at..];
            if let Some(length) = prefix(rest, close) {
                self.end_of_tag(at + length, State::Start);
                return true;
            }
            if is_proper_prefix(rest, close) {
                self.pending.drain(..at);
                return false;
            }
            from = at + first.len_utf8();
        }
        self.pending.clear();
        false
    }

    fn read(&mut self, found: &mut Vec<Filtered>) -> bool {
        let mut at = 0;
        while let Some(c) = self.pending[at..].chars().next() {
            let rest = &self.pending[at..];
            if !self.is_settled && matches!(c, '<' | '[' | '◁') {
                let known = TAGS.iter().filter(|tags| tags.is_open_in_prompt);
                let mut tags = known.clone().flat_map(|tags| [tags.open, tags.close]);
                if tags.any(|tag| is_proper_prefix(rest, tag)) {
                    break;
                }
                self.is_settled = known.clone().any(|tags| prefix(rest, tags.open).is_some());
                let length = known.clone().find_map(|tags| prefix(rest, tags.close));
                if let Some(length) = length.filter(|_| !self.code.is_open()) {
                    self.end_of_tag(at + length, State::Start);
                    found.retain(|part| *part == Filtered::Retracted);
                    if std::mem::take(&mut self.has_passed) {
                        found.push(Filtered::Retracted);
                    }
                    return true;
                }
            }
            self.code.read(c);
            at += c.len_utf8();
        }
        if at > 0 {
            found.push(Filtered::Text(self.pending.drain(..at).collect()));
            self.has_passed = true;
        }
        false
    }
}

/// Position in Markdown: within code or not ("Fenced code blocks" and "Code spans" in the `CommonMark` specification). A
/// tag in code is quoted.
#[derive(Debug, Default)]
struct Code {
    is_fenced: bool,
    /// `true` after something else than blanks and backticks in the line.
    has_words: bool,
    /// Number of backticks in the line.
    ticks: usize,
}

impl Code {
    fn read(&mut self, c: char) {
        match c {
            '\n' | '\r' => {
                self.has_words = false;
                self.ticks = 0;
            }
            '`' => {
                self.ticks += 1;
                self.is_fenced ^= self.ticks == 3 && !self.has_words;
            }
            c => self.has_words |= !c.is_whitespace(),
        }
    }

    fn is_open(&self) -> bool {
        self.is_fenced || self.ticks % 2 == 1
    }
}

/// Returns the length of a tag at the beginning of a text.
fn prefix(text: &str, tag: &str) -> Option<usize> {
    let start = text.as_bytes().get(..tag.len())?;
    start.eq_ignore_ascii_case(tag.as_bytes()).then_some(tag.len())
}

/// Whether a text is the beginning of a tag, and not all of it.
fn is_proper_prefix(text: &str, tag: &str) -> bool {
    text.len() < tag.len() && tag.as_bytes()[..text.len()].eq_ignore_ascii_case(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the reply in a text that arrives in these parts.
    fn reply<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
        let mut filter = ReasoningFilter::new();
        let mut text = String::new();
        let mut found: Vec<Filtered> = parts.into_iter().flat_map(|part| filter.push(part)).collect();
        found.extend(filter.finish(false));
        for part in found {
            match part {
                Filtered::Text(part) => text.push_str(&part),
                Filtered::Retracted => text.clear(),
            }
        }
        text
    }

    #[test]
    fn reasoning_is_removed_from_the_beginning_only() {
        for (text, expected) in [
            ("hello", "hello"),
            (" hello\n", " hello\n"),
            ("<think>hm</think>\n\nhello", "hello"),
            ("\n <think>\nhm\n</think>\n\nhello </think>", "hello </think>"),
            ("<think></think><think>a</think>b", "b"),
            ("<think>a <think> b</think>c</think>", "c</think>"),
            ("<think>never closed", ""),
            ("<think>", ""),
            ("<thin", "<thin"),
            ("<thinner>", "<thinner>"),
            ("<Think>hm</THINK>ok", "ok"),
            ("<thinking>hm</think></thinking>ok", "ok"),
            ("[THINK]hm[/THINK]ok", "ok"),
            ("◁think▷hm◁/think▷ok", "ok"),
            ("<seed:think>hm</seed:think>ok", "ok"),
            ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>ok", "ok"),
            ("hm\n</think>\n\nok", "ok"),
            ("hm</think>ok", "ok"),
            ("</think>ok", "ok"),
            ("hm</think>ok </think> stays", "ok </think> stays"),
            ("hm ```x``` \n```\nlet a;\n```\nso</think>ok", "ok"),
            ("Close it with `</think>`.", "Close it with `</think>`."),
            ("```\na\n</think>\n```\n", "```\na\n</think>\n```\n"),
            ("Use <think> and </think>.", "Use <think> and </think>."),
            ("a < b and a </ b", "a < b and a </ b"),
            ("A [THINK] tag", "A [THINK] tag"),
            ("xml: <reasoning>a</reasoning>", "xml: <reasoning>a</reasoning>"),
        ] {
            assert_eq!(reply([text]), expected, "{text}");
        }
    }

    #[test]
    fn a_part_of_a_tag_is_no_reply_if_the_limit_came_there() {
        let mut filter = ReasoningFilter::new();
        assert_eq!(filter.push("<thi"), []);
        assert_eq!(filter.finish(true), None);
    }

    #[test]
    fn text_is_passed_on_at_once_unless_it_may_be_a_tag() {
        let mut filter = ReasoningFilter::new();
        let text = |text: &str| vec![Filtered::Text(text.to_owned())];
        assert_eq!(filter.push("one "), text("one "));
        assert_eq!(filter.push("two <"), text("two "));
        assert_eq!(filter.push("b>"), text("<b>"));
        assert_eq!(filter.push("so</th"), text("so"));
        assert_eq!(filter.push("ink>three"), [Filtered::Retracted, Filtered::Text("three".to_owned())]);
    }

    #[test]
    fn a_continuation_is_no_beginning() {
        for (text, said, expected) in [
            ("", "<think>hm</think>ok", vec![Filtered::Text("ok".to_owned())]),
            (" \n", "<think>hm</think>ok", vec![Filtered::Text("ok".to_owned())]),
            ("The tag", " <think> opens", vec![Filtered::Text(" <think> opens".to_owned())]),
            ("hm, ", "so</think>ok", vec![Filtered::Retracted, Filtered::Text("ok".to_owned())]),
            ("hm", "</think>ok", vec![Filtered::Retracted, Filtered::Text("ok".to_owned())]),
            ("Close it with `", "</think>`.", vec![Filtered::Text("</think>`.".to_owned())]),
            ("```\na\n", "</think>\n```", vec![Filtered::Text("</think>\n```".to_owned())]),
            ("Use <think> and", " </think>.", vec![Filtered::Text(" </think>.".to_owned())]),
            ("one", "\n", vec![Filtered::Text("\n".to_owned())]),
        ] {
            let mut filter = ReasoningFilter::after(text);
            let mut found = filter.push(said);
            found.extend(filter.finish(false));
            assert_eq!(found, expected, "{text:?} {said:?}");
        }
    }

    fn hostile() -> impl Strategy<Value = String> {
        let tags: Vec<String> = TAGS.iter().flat_map(|tags| [tags.open.to_owned(), tags.close.to_owned()]).collect();
        let others = ["<", "</", "`", "```", "\n", " ", "think", ">", "◁", "[", "hm", "é", "</think>", "<think>"];
        let piece = prop_oneof![
            prop::sample::select(tags),
            prop::sample::select(others.map(str::to_owned).to_vec()),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_reply_does_not_depend_on_where_it_is_cut(text in hostile(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let whole = reply([text.as_str()]);
            let letters: Vec<String> = text.chars().map(String::from).collect();
            prop_assert_eq!(&reply(letters.iter().map(String::as_str)), &whole);
            let mut cuts: Vec<usize> =
                cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            prop_assert_eq!(&reply(cuts.windows(2).map(|cut| &text[cut[0]..cut[1]])), &whole);
            prop_assert!(text.trim_end().ends_with(whole.trim_end()) || whole.is_empty(), "the end of the text");
        }

        #[test]
        fn what_stands_between_tags_is_never_a_reply(tags in prop::sample::select(&TAGS[..]), hm in "[a-z <>/`\n]{0,40}", text in "[a-z][a-z <>/`\n]{0,40}") {
            prop_assert_eq!(reply([tags.open, hm.as_str(), tags.close, "\n\n", text.as_str()]), text);
        }
    }
}
