//! The trace that a message belongs to.

use serde::{Deserialize, Serialize};

/// W3C Trace Context, as text: who sends a message says in it what the message is a part of, and whoever handles the
/// message later goes on from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// Trace, span, and whether they are recorded.
    pub traceparent: String,
    /// What tracing systems add to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

/// A number as an attribute of a span holds it: of an unsigned one, the layer that makes spans makes text.
#[must_use]
pub fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
