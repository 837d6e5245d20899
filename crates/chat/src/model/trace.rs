//! Trace context of a message.

use serde::{Deserialize, Serialize};

/// W3C Trace Context, as text. The sender's request provides it, and every function that processes the message later
/// continues that trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// Trace id, span id, and the sampled flag.
    pub traceparent: String,
    /// Additions of tracing systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
}

/// Converts a number to a span attribute. The layer that makes spans would turn an unsigned number into text.
#[must_use]
pub fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
