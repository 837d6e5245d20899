//! Language models, as the agent sees them.

use std::{future::Future, time::Duration};

use futures::stream::BoxStream;

use crate::model::error::Result;

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What the channel tells its agent.
    pub instructions: Option<String>,
    /// The conversation up to the question, the oldest first; the question is the last turn.
    pub turns: Vec<Turn>,
    /// The channel's own choice of a model.
    pub model: Option<String>,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The name of a user; `None`: the assistant.
    pub speaker: Option<String>,
    /// The words.
    pub text: String,
}

/// A piece of a reply as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// What the reply cost, as far as the model tells.
    Usage(Usage),
}

/// Tokens that a reply has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
}

/// A reply while it is written. It ends when the model says that it is complete; one that breaks off ends in an error.
pub type Pieces = BoxStream<'static, Result<Piece, ModelError>>;

/// A language model. What a model does beside words (tools, for example) becomes further kinds of [`Piece`].
pub trait LanguageModel: Send + Sync {
    /// Begins a reply.
    fn reply(&self, prompt: Prompt) -> impl Future<Output = Result<Pieces, ModelError>> + Send;

    /// The name of the model that a prompt with this choice goes to.
    fn name(&self, choice: Option<&str>) -> String;
}

/// Why a model gave no reply, or no whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// It is asked too often.
    #[error("the model is busy")]
    Busy {
        /// When to try again, if it says so.
        retry_after: Option<Duration>,
    },
    /// It cannot be reached, failed, took too long, or broke off.
    #[error("the model is not available: {0}")]
    Unavailable(String),
    /// What came is not what its protocol says.
    #[error("the model's answer makes no sense: {0}")]
    Malformed(String),
    /// What came is more than a reply can be. A further call would cost the same and bring the same.
    #[error("the model's answer is too large: {0}")]
    Oversized(String),
    /// It will not say this.
    #[error("the model's content filter stopped the reply")]
    Filtered,
    /// The prompt is longer than it reads.
    #[error("the conversation is too long for the model")]
    TooLong,
    /// It does not take the request: a wrong key, an unknown model.
    #[error("the model refused the request: {0}")]
    Refused(String),
}

impl ModelError {
    /// Whether the same prompt may get a reply later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable(_) | Self::Malformed(_))
    }

    /// The same for the channel, without what is the operator's business.
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
