//! The built-in responder: it needs no network and no key, and returns the same reply to the same text.

use futures::StreamExt;

use crate::model::{error::Result, mention::without_address};
use crate::ports::language_model::{LanguageModel, ModelError, Piece, Pieces, Prompt};

/// Responder without a model. It shows the whole path of a reply if no model is configured.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltInResponder;

/// Maximum number of characters of a message that the reply quotes.
const QUOTED_CHARS: usize = 280;

const HELP: &str = "I am Switchboard's **built-in responder**: I need no model and no network, and the same \
words always get the same answer.\n\n\
| command | what it does |\n| --- | --- |\n\
| `/help` | shows this |\n\
| `/about` | says what just happened to your message |\n\
| `/count TEXT` | counts characters, words and lines |\n\
| `/markdown` | shows what Markdown looks like here |\n\n\
Anything else is quoted and answered.";

const ABOUT: &str = "Your message took this way:\n\n\
1. `POST` accepted it and **one transaction** wrote it, gave it its number and remembered its idempotency key.\n\
2. The table's **stream** carried it to two workers.\n\
3. One pushed it to **every subscribed socket**; the other is me.\n\
4. My reply went the same way, as an ordinary message with `reply_to`.";

const MARKDOWN: &str = "**bold**, *italic*, `code`, [a link](https://www.rfc-editor.org/rfc/rfc6455)\n\n\
- a list\n- of two\n\n> a quotation\n\n```rust\nfn main() {\n    println!(\"hello, channel\");\n}\n```";

impl LanguageModel for BuiltInResponder {
    async fn reply(&self, prompt: Prompt) -> Result<Pieces, ModelError> {
        let question = prompt.turns.last().ok_or(ModelError::TooLong)?;
        let text = respond(&question.text, question.speaker.as_deref().unwrap_or_default());
        let text = following(&text, prompt.prefix.as_deref().unwrap_or_default());
        Ok(futures::stream::iter([Ok(Piece::Text(text))]).boxed())
    }

    fn name(&self, _: Option<&str>) -> String {
        "built-in".to_owned()
    }

    /// The same text gets the same reply, so every reply can be continued.
    fn continues(&self, _: Option<&str>) -> bool {
        true
    }
}

/// Returns the text that follows a prefix of the reply. After an edit of the question, the prefix may be that of another
/// reply. Then the whole reply follows, in a paragraph of its own.
fn following(reply: &str, prefix: &str) -> String {
    reply.strip_prefix(prefix).map_or_else(|| format!("\n\n{reply}"), str::to_owned)
}

fn respond(content: &str, sender: &str) -> String {
    // The name after the `@` is ignored, since a deployment may set another.
    let text = without_address(content.trim()).trim();
    let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match command {
        "/help" => HELP.to_owned(),
        "/about" => ABOUT.to_owned(),
        "/markdown" => MARKDOWN.to_owned(),
        "/count" => count(rest.trim()),
        _ if command.starts_with('/') => {
            format!("I do not know `{}`. Try `/help`.", command.replace('`', "'").chars().take(40).collect::<String>())
        }
        _ => format!("{}\n\n{}", quote(text), remark(text, sender)),
    }
}

fn count(text: &str) -> String {
    let (characters, words, lines) = (text.chars().count(), text.split_whitespace().count(), text.lines().count());
    format!("**{characters}** characters, **{words}** words, **{lines}** lines.")
}

/// Returns the text as a Markdown quotation, cut after [`QUOTED_CHARS`].
fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    // A carriage return ends a line of Markdown too ("Lines" in the CommonMark specification). Text after two unquoted
    // ones would read as the responder's own.
    let short = short.replace("\r\n", "\n");
    let lines: Vec<String> = short.split(['\n', '\r']).map(|line| format!("> {line}")).collect();
    lines.join("\n")
}

fn remark(text: &str, sender: &str) -> String {
    let first = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_lowercase();
    if matches!(first.as_str(), "hi" | "hello" | "hey" | "moin" | "hallo" | "bonjour") {
        format!(
            "Hello **{sender}**! Everyone in this channel sees us at the same moment. Type `/help` for what I can do."
        )
    } else if text.ends_with('?') {
        format!("Good question, **{sender}**. I am only the built-in responder; a deployment with a model answers it.")
    } else {
        format!("Noted, **{sender}**.")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::limits::CONTENT_BYTES;

    #[test]
    fn help_is_offered_and_unknown_commands_say_so() {
        assert_eq!(respond("/help", "alice"), HELP);
        assert_eq!(respond("  @agent /help me ", "alice"), HELP);
        assert!(respond("/fly", "alice").contains("`/fly`"));
        assert_eq!(respond("/count one two\nthree", "a"), "**13** characters, **3** words, **2** lines.");
    }

    #[test]
    fn an_answer_quotes_and_names_the_sender() {
        assert_eq!(respond("ship it", "bob"), "> ship it\n\nNoted, **bob**.");
        assert!(respond("hello there", "bob").contains("Hello **bob**"));
        assert!(respond("why?", "bob").contains("Good question"));
    }

    #[test]
    fn nothing_of_a_message_is_outside_its_quotation() {
        for end in ["\n", "\r", "\r\n", "\r\r", "\n\n", "\r\n\r", "\n\r"] {
            let answer = respond(&format!("hi{end}{end}I am the agent"), "bob");
            let (quoted, own) = answer.rsplit_once("\n\n").unwrap();
            assert!(own.starts_with("Hello **bob**!"), "{end:?}: {own}");
            let mut lines = quoted.split(['\n', '\r']);
            assert!(lines.all(|line| line.starts_with("> ")), "{end:?}: {quoted:?}");
        }
    }

    #[test]
    fn a_reply_is_continued_after_its_prefix() {
        let reply = respond("größer?", "bob");
        for (index, _) in reply.char_indices() {
            let (prefix, rest) = reply.split_at(index);
            assert_eq!(following(&reply, prefix), rest);
        }
        assert_eq!(following(&reply, &reply), "");
        assert_eq!(following("> b\n\nNoted.", "> a"), "\n\n> b\n\nNoted.");
        assert!(BuiltInResponder.continues(None));
    }

    proptest! {
        #[test]
        fn every_answer_is_a_valid_message(content in any::<String>(), repeat in 1..200usize) {
            let answer = respond(&content.repeat(repeat), "alice");
            prop_assert!(!answer.is_empty());
            prop_assert!(answer.len() <= CONTENT_BYTES);
        }
    }
}
