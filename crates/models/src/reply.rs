//! The pieces of a reply, independent of the protocol that brings them.

use std::{collections::VecDeque, time::Duration};

use chat::ports::language_model::{ModelError, Piece, Pieces, Usage};
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use crate::{
    continuation::{Joint, Prefix},
    reasoning::{Filtered, ReasoningFilter},
};

/// Maximum wait for the token usage after the end of the text. Some servers send none, and leave the connection open.
const USAGE_WAIT: Duration = Duration::from_secs(5);

/// The way in which a model ended a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The reply is complete.
    Complete,
    /// The maximum number of tokens is reached.
    Limit,
    /// The context of the model is full.
    FullContext,
    /// The model calls a tool.
    ToolCall,
}

impl Finish {
    /// Returns the finish of a reason, `None` if the reply goes on, or the error that it stands for.
    ///
    /// Besides the values of OpenAI's protocol ("The chat completion chunk object" in its API reference) and of Bedrock
    /// (`MessageStopEvent` in its API reference), servers send those of the model's own protocol. Sources: Mistral's
    /// `model_length`, "Chat Completion Endpoints" in its API reference; `insufficient_system_resource`, "Create Chat
    /// Completion" in the `DeepSeek` API docs; `abort`, `FinishReason` of vllm-project/vllm and sgl-project/sglang;
    /// Gemini's, `FinishReason` in the Gemini API reference; `network_error` and `sensitive`, "Chat Completion" in the
    /// Z.AI API docs; `refusal`, "Handling stop reasons" in the Claude API docs.
    pub(crate) fn of(reason: &str) -> Result<Option<Self>, ModelError> {
        let reason = reason.trim().to_ascii_lowercase();
        let finish = match reason.as_str() {
            "" | "null" => return Ok(None),
            "length" | "max_tokens" | "max_output_tokens" | "model_length" => Self::Limit,
            "model_context_window_exceeded" => Self::FullContext,
            "tool_calls" | "tool_call" | "tool_use" | "function_call" => Self::ToolCall,
            "content_filtered"
            | "guardrail_intervened"
            | "refusal"
            | "sensitive"
            | "safety"
            | "recitation"
            | "blocklist"
            | "prohibited_content"
            | "spii" => return Err(ModelError::Filtered),
            filtered if filtered.starts_with("content_filter") => return Err(ModelError::Filtered),
            "error"
            | "abort"
            | "network_error"
            | "insufficient_system_resource"
            | "malformed_model_output"
            | "malformed_function_call"
            | "malformed_tool_use" => {
                return Err(ModelError::Unavailable(format!("the reply ended with {reason}")));
            }
            _ => Self::Complete,
        };
        Ok(Some(finish))
    }
}

/// A reply as far as it is received.
pub(crate) struct Reply {
    joint: Joint,
    filter: ReasoningFilter,
    pieces: VecDeque<Piece>,
    /// `true` after text that is not blank. A prefix is text.
    has_text: bool,
    usage: Usage,
    finish: Option<Finish>,
    finished_at: Option<Instant>,
    /// `true` after a report of the usage that came with the end of the text, or later.
    is_whole: bool,
}

impl Reply {
    /// Creates a reply, or the text that follows a prefix of one.
    fn new(prefix: Option<&Prefix<'_>>) -> Self {
        let text = prefix.map(|prefix| prefix.text).unwrap_or_default();
        Self {
            joint: prefix.map(Prefix::joint).unwrap_or_default(),
            filter: ReasoningFilter::after(text),
            pieces: VecDeque::new(),
            has_text: !text.trim_start().is_empty(),
            usage: Usage::default(),
            finish: None,
            finished_at: None,
            is_whole: false,
        }
    }

    /// Adds text of the model.
    pub(crate) fn text(&mut self, text: &str) {
        let text = self.joint.push(text);
        self.filter(&text);
    }

    fn filter(&mut self, text: &str) {
        for part in self.filter.push(text) {
            self.pass(part);
        }
    }

    fn pass(&mut self, part: Filtered) {
        match part {
            Filtered::Text(text) => {
                self.has_text |= !text.trim_start().is_empty();
                self.pieces.push_back(Piece::Text(text));
            }
            Filtered::Retracted => {
                self.has_text = false;
                self.pieces.push_back(Piece::Retracted);
            }
        }
    }

    /// Adds a report of the usage. Reports are cumulative, and some have only one of the numbers: the largest counts.
    pub(crate) fn usage(&mut self, usage: Usage) {
        let known = self.usage;
        self.usage.input_tokens = known.input_tokens.max(usage.input_tokens);
        self.usage.output_tokens = known.output_tokens.max(usage.output_tokens);
        self.is_whole |= self.is_finished() && usage.output_tokens > 0;
        if self.usage != known {
            self.pieces.push_back(Piece::Usage(self.usage));
        }
    }

    /// Ends the text. The first reason counts.
    pub(crate) fn finish(&mut self, finish: Finish) {
        if self.finish.is_none() {
            self.finish = Some(finish);
            self.finished_at = Some(Instant::now());
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether the text and the usage are complete.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Adds the end of the stream.
    fn end(&mut self) -> Result<(), ModelError> {
        let Some(finish) = self.finish else {
            return Err(ModelError::Unavailable("the reply ended early".to_owned()));
        };
        let is_truncated = matches!(finish, Finish::Limit | Finish::FullContext);
        let held = self.joint.finish();
        self.filter(&held);
        if let Some(rest) = self.filter.finish(is_truncated) {
            self.pass(rest);
        }
        match finish {
            Finish::Limit | Finish::FullContext if self.has_text => self.pieces.push_back(Piece::Truncated),
            // Its reasoning took all tokens. Another call would cost the same.
            Finish::Limit => return Err(ModelError::Oversized("the limit of tokens came before the text".to_owned())),
            Finish::FullContext => return Err(ModelError::TooLong),
            // The request offers no tool, so the server or the model is set up to call one.
            Finish::ToolCall if !self.has_text => {
                return Err(ModelError::Refused("a tool call in place of text".to_owned()));
            }
            Finish::ToolCall | Finish::Complete => {}
        }
        Ok(())
    }
}

/// Whether the stream of a server goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    End,
}

/// A stream of a server.
pub(crate) trait Source: Send + 'static {
    /// Waits for the next part of the stream, and adds it to the reply.
    fn advance(&mut self, reply: &mut Reply) -> impl Future<Output = Result<Progress, ModelError>> + Send;
}

struct Reading<S> {
    source: S,
    reply: Reply,
    is_over: bool,
    /// The error that follows the remaining pieces.
    failed: Option<ModelError>,
}

impl<S: Source> Reading<S> {
    async fn advance(&mut self) {
        let ended = match self.reply.finished_at {
            None => self.source.advance(&mut self.reply).await,
            Some(at) => {
                let advance = self.source.advance(&mut self.reply);
                timeout_at(at + USAGE_WAIT, advance).await.unwrap_or(Ok(Progress::End))
            }
        };
        let ended = match ended {
            Ok(Progress::More) => return,
            // The text is complete; only the token usage may be missing.
            Err(_) if self.reply.is_finished() => self.reply.end(),
            Ok(Progress::End) => self.reply.end(),
            Err(error) => Err(error),
        };
        self.is_over = true;
        self.failed = ended.err();
    }
}

/// Returns the pieces of the reply in a stream. If the request has a prefix, they follow it.
pub(crate) fn pieces(source: impl Source, prefix: Option<&Prefix<'_>>) -> Pieces {
    let reading = Reading { source, reply: Reply::new(prefix), is_over: false, failed: None };
    let pieces = stream::try_unfold(reading, async |mut reading| {
        if reading.reply.pieces.is_empty() && !reading.is_over {
            reading.advance().await;
        }
        match (reading.reply.pieces.pop_front(), reading.failed.take()) {
            (Some(piece), failed) => {
                reading.failed = failed;
                Ok(Some((piece, reading)))
            }
            (None, Some(error)) => Err(error),
            (None, None) if reading.is_over => Ok(None),
            (None, None) => Ok(Some((Piece::Alive, reading))),
        }
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_an_end_is_known() {
        for (reason, finish) in [
            ("", None),
            ("null", None),
            ("stop", Some(Finish::Complete)),
            ("end_turn", Some(Finish::Complete)),
            ("eos_token", Some(Finish::Complete)),
            ("STOP", Some(Finish::Complete)),
            ("of tomorrow", Some(Finish::Complete)),
            ("length", Some(Finish::Limit)),
            ("MAX_TOKENS", Some(Finish::Limit)),
            ("model_length", Some(Finish::Limit)),
            ("model_context_window_exceeded", Some(Finish::FullContext)),
            ("tool_calls", Some(Finish::ToolCall)),
        ] {
            assert_eq!(Finish::of(reason), Ok(finish), "{reason}");
        }
        for reason in ["content_filter", "content_filter: SAFETY", "RECITATION", "guardrail_intervened", "refusal"] {
            assert_eq!(Finish::of(reason), Err(ModelError::Filtered), "{reason}");
        }
        for reason in ["error", "abort", "insufficient_system_resource"] {
            assert!(matches!(Finish::of(reason), Err(ModelError::Unavailable(_))), "{reason}");
        }
    }
}
