//! Reasons why a request has no usable response.

use crate::Problem;

/// Reason why a request has no usable response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused the request.
    #[error("{} ({}, {})", .0.detail, .0.status, .0.code)]
    Refused(Problem),
    /// The server did not respond.
    #[error("no answer: {0}")]
    NoAnswer(#[from] reqwest::Error),
    /// The response cannot be parsed.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The response is longer than any of the API.
    #[error("the answer is longer than any of the API")]
    TooLong,
    /// The client was closed, or has no token.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Returns whether the same request may succeed later. A retry must carry the same `Idempotency-Key`.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::Unreadable(_) => true,
            Self::Refused(problem) => problem.is_transient(),
            Self::TooLong | Self::Closed => false,
        }
    }

    /// Returns whether the user has to sign in again.
    #[must_use]
    pub fn needs_another_token(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == 401)
    }

    /// Returns whether the object was changed after it was read, so that it must be read again.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.code == "version_mismatch")
    }

    /// Returns whether the missed changes are no longer stored, so that the history must be read again.
    #[must_use]
    pub fn requires_reload(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.code == "changes_expired")
    }
}
