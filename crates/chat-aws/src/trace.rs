//! Traces, from and to what carries them.

use chat::model::trace::TraceContext;
use telemetry::context::{self, ParentContext};

/// Where the current trace stands, to be kept with a message or handed on in a payload.
#[must_use]
pub fn current() -> Option<TraceContext> {
    let context::TraceContext { traceparent, tracestate } = context::current()?;
    Some(TraceContext { traceparent, tracestate })
}

/// The trace that came with a message or a payload, if it is a valid one.
#[must_use]
pub fn parent(trace: Option<&TraceContext>) -> Option<ParentContext> {
    let TraceContext { traceparent, tracestate } = trace?;
    ParentContext::of(Some(traceparent), tracestate.as_deref())
}
