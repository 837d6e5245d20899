//! Error responses.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde::Deserialize;

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Violation {
    /// The field.
    pub field: String,
    /// Code for programs.
    pub code: String,
    /// Text for people.
    pub message: String,
}

/// An error response (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Code for programs, such as `channel_archived`. New codes may be added; then the status decides.
    pub code: String,
    /// Description for people.
    pub detail: String,
    /// Id by which an operator finds the request.
    pub instance: String,
    /// Invalid fields.
    pub errors: Vec<Violation>,
    /// Time to wait before the same request.
    pub retry_after: Option<Duration>,
}

/// Reason why a request has no usable response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused the request.
    #[error("{} ({}, {})", .0.detail, .0.status, .0.code)]
    Refused(Problem),
    /// The server did not respond, or its response cannot be parsed.
    #[error("no answer: {0}")]
    NoAnswer(#[from] reqwest::Error),
}

impl Error {
    /// Returns whether the same request may succeed later. A retry must carry the same `Idempotency-Key`.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 429 | 500..),
        }
    }

    /// Returns whether the user has to sign in again.
    #[must_use]
    pub fn needs_another_token(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16())
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

/// Body of a problem. Every field may be missing in a response of a proxy.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    code: String,
    detail: String,
    instance: String,
    errors: Vec<Violation>,
}

/// Returns the error of a response that is not successful.
pub(crate) async fn refusal(response: reqwest::Response) -> Error {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let ProblemBody { code, detail, instance, errors } = response.json().await.unwrap_or_default();
    let retry_after = retry_after.map(Duration::from_secs);
    Error::Refused(Problem { status, code, detail, instance, errors, retry_after })
}
