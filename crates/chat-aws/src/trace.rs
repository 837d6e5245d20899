//! Conversion of traces between the domain and telemetry.

use chat::model::trace::TraceContext;
use telemetry::context::{self, ParentContext};

/// Returns the current trace context, to be stored with a message or sent in a payload.
#[must_use]
pub fn current() -> Option<TraceContext> {
    let context::TraceContext { traceparent, tracestate } = context::current()?;
    Some(TraceContext { traceparent, tracestate })
}

/// Returns the parent context of a message or a payload, if it is valid.
#[must_use]
pub fn parent(trace: Option<&TraceContext>) -> Option<ParentContext> {
    let TraceContext { traceparent, tracestate } = trace?;
    ParentContext::of(Some(traceparent), tracestate.as_deref())
}
