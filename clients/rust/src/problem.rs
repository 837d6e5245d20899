//! Error responses.

use std::time::Duration;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

impl Problem {
    /// Reads an error response. A proxy's response may have another body, of which only the status counts.
    #[must_use]
    pub fn of(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let ProblemBody { code, detail, instance, errors } = serde_json::from_slice(body).unwrap_or_default();
        Self { status, code, detail, instance, errors, retry_after }
    }

    /// Returns whether the same request may succeed later. A retry must carry the same `Idempotency-Key`.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..)
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
