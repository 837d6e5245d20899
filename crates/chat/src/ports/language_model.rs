//! Port for language models.

use std::{future::Future, time::Duration};

use futures::stream::BoxStream;

use crate::model::error::Result;

/// Prompt of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Instructions of the channel for its agent.
    pub instructions: Option<String>,
    /// Conversation up to the question, oldest first. The question is the last turn.
    pub turns: Vec<Turn>,
    /// Model that the channel chose. `None`: the deployment's default.
    pub model: Option<String>,
    /// Beginning of the reply that is stored already. The model returns only the text that follows. Set only if the model
    /// [continues](LanguageModel::continues) replies.
    pub prefix: Option<String>,
}

/// Turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Name of the user. `None`: the agent.
    pub speaker: Option<String>,
    /// Text of the turn.
    pub text: String,
}

/// Piece of a reply during its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text.
    Text(String),
    /// Tokens that the reply has used so far, if the model reports them. Later numbers replace earlier ones.
    Usage(Usage),
    /// The model sent something without text, for example its reasoning or a keep-alive. It is not silent.
    Alive,
    /// All text so far was reasoning, as its end reveals. It is no part of the reply.
    Retracted,
    /// The reply ends at a limit of the model and is incomplete. Nothing follows.
    Truncated,
}

/// Numbers of tokens that a reply used. Zero: not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the reply.
    pub output_tokens: u64,
}

/// Stream of a reply's pieces. It ends when the model reports that the reply is complete. An interrupted reply ends
/// with an error.
pub type Pieces = BoxStream<'static, Result<Piece, ModelError>>;

/// Language model. Output other than text, for example tool calls, becomes a further kind of [`Piece`].
pub trait LanguageModel: Send + Sync {
    /// Starts the generation of a reply.
    fn reply(&self, prompt: Prompt) -> impl Future<Output = Result<Pieces, ModelError>> + Send;

    /// Returns the name of the model that serves a prompt with this choice.
    fn name(&self, choice: Option<&str>) -> String;

    /// Returns whether the model that serves a prompt with this choice continues a reply from its
    /// [prefix](Prompt::prefix).
    fn continues(&self, choice: Option<&str>) -> bool;
}

/// Reason why a model returned no reply, or an incomplete one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The model refuses the request because of too many requests.
    #[error("the model is busy")]
    Busy {
        /// Time after which to retry, if the model reports it.
        retry_after: Option<Duration>,
    },
    /// The model cannot be reached, failed, timed out, or interrupted the reply.
    #[error("the model is not available: {0}")]
    Unavailable(String),
    /// The response violates the model's protocol.
    #[error("the model's response violates its protocol: {0}")]
    Malformed(String),
    /// The response exceeds the limits of a reply. A retry would cost the same and fail again.
    #[error("the model's response is too large: {0}")]
    Oversized(String),
    /// The model's content filter stopped the reply.
    #[error("the model's content filter stopped the reply")]
    Filtered,
    /// The prompt exceeds the model's context.
    #[error("the conversation is too long for the model")]
    TooLong,
    /// The model refuses the request, for example because of a wrong key or an unknown model.
    #[error("the model refused the request: {0}")]
    Refused(String),
}

impl ModelError {
    /// Returns whether a retry with the same prompt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable(_) | Self::Malformed(_))
    }

    /// Returns the notice for the channel, without details that only concern the operator.
    #[must_use]
    pub fn for_people(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "I am asked too much at the moment, and could not answer. Please try again later.",
            Self::Unavailable(_) | Self::Malformed(_) => "I could not answer: my model is not available.",
            Self::Oversized(_) => "I could not answer: my model sent more than a reply can be.",
            Self::Filtered => "I could not answer: the content filter stopped me.",
            Self::TooLong => "I could not answer: the message is too long for me.",
            Self::Refused(_) => "I could not answer: my model is not set up correctly.",
        }
    }
}
