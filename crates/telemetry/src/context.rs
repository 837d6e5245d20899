//! Trace contexts by W3C Trace Context (`traceparent` and `tracestate`), read from requests, messages and payloads, and
//! written to them.

use std::{cell::Cell, str::FromStr};

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Registry, registry::LookupSpan};

/// Maximum number of characters of a `tracestate` that is passed on (W3C Trace Context, section 3.3.1.5, requires at
/// least 512).
const TRACESTATE_CHARS: usize = 512;

/// The trace context of a message, a payload or a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, the span and the sampling flag.
    pub traceparent: String,
    /// Additional data of tracing systems.
    pub tracestate: Option<String>,
}

/// A trace that began elsewhere, or that begins here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentContext {
    trace_id: TraceId,
    /// The parent span. `None` before the first span of a new trace.
    span_id: Option<SpanId>,
    sampled: bool,
    state: TraceState,
}

impl ParentContext {
    /// Returns the trace of a request: the caller's `traceparent` if it is valid, otherwise API Gateway's trace
    /// (`X-Amzn-Trace-Id`), otherwise a new one.
    #[must_use]
    pub fn of_request(traceparent: Option<&str>, tracestate: Option<&str>, amzn_trace_id: Option<&str>) -> Self {
        Self::of(traceparent, tracestate)
            .or_else(|| amzn_trace_id.and_then(Self::of_xray))
            .unwrap_or_else(|| Self::new(RandomIdGenerator::default().new_trace_id()))
    }

    /// Returns the trace in a valid `traceparent` (W3C Trace Context, section 3.2). An invalid or too long `tracestate`
    /// is left out.
    #[must_use]
    pub fn of(traceparent: Option<&str>, tracestate: Option<&str>) -> Option<Self> {
        let (trace_id, span_id, flags) = parse(traceparent?.trim())?;
        let state = tracestate.filter(|state| state.len() <= TRACESTATE_CHARS);
        let state = state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        Some(Self { trace_id, span_id: Some(span_id), sampled: flags & 1 == 1, state })
    }

    /// Returns the trace in X-Ray's header,
    /// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1` ("Tracing header" in the X-Ray
    /// developer guide). The root contains a W3C trace id in two parts. The parent is used only if the trace is
    /// sampled, because X-Ray stores no spans otherwise.
    #[must_use]
    pub fn of_xray(header: &str) -> Option<Self> {
        let field = |name: &str| header.split(';').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        let root = field("Root")?.strip_prefix("1-")?.replacen('-', "", 1);
        let trace_id = trace_id(&root)?;
        match field("Parent").and_then(span_id) {
            Some(parent) if field("Sampled") == Some("1") => {
                Some(Self { span_id: Some(parent), sampled: true, ..Self::new(trace_id) })
            }
            _ => Some(Self::new(trace_id)),
        }
    }

    fn new(trace_id: TraceId) -> Self {
        Self { trace_id, span_id: None, sampled: false, state: TraceState::default() }
    }

    fn span_context(&self) -> Option<SpanContext> {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        Some(SpanContext::new(self.trace_id, self.span_id?, flags, true, self.state.clone()))
    }

    /// Makes a newly created `span` the next one of this trace.
    pub fn attach_to(&self, span: &Span) {
        attach(span, self);
        if let Some(parent) = self.span_context() {
            // Fails only if nothing is traced.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        } else {
            NEXT_TRACE.set(Some(self.trace_id));
            let _ = span.set_parent(Context::new());
            // A span takes its ids when its context is requested.
            let _ = span.context();
            NEXT_TRACE.set(None);
        }
    }

    /// Links `span` to this context.
    pub fn link(&self, span: &Span) {
        if let Some(context) = self.span_context() {
            span.add_link(context);
        }
    }

    /// Returns the context as text.
    #[must_use]
    pub fn to_trace_context(&self) -> TraceContext {
        // Without tracing there is no span, but a `traceparent` requires a span id.
        let span_id = self.span_id.unwrap_or_else(|| RandomIdGenerator::default().new_span_id());
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        text(&SpanContext::new(self.trace_id, span_id, flags, true, self.state.clone()))
    }

    /// Returns the trace id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.trace_id.to_string()
    }
}

/// Returns the context of the current span, to be passed on. Without tracing, it is the received context.
#[must_use]
pub fn current() -> Option<TraceContext> {
    let span = Span::current();
    let context = span.context();
    let active = context.span().span_context().clone();
    if active.is_valid() { Some(text(&active)) } else { attached_to(&span).map(|remote| remote.to_trace_context()) }
}

/// Returns the context of `span`, to link another span to it.
pub(crate) fn of_span(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

/// Links `span` to `other`, which may be of another trace.
pub fn link(span: &Span, other: &Span) {
    span.add_link(of_span(other));
}

fn text(context: &SpanContext) -> TraceContext {
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    let state = context.trace_state().header();
    TraceContext {
        traceparent: format!("00-{trace}-{span}-{flags:02x}"),
        tracestate: (!state.is_empty()).then_some(state),
    }
}

/// Reads the ids and flags of a `traceparent`. A later version may append fields, but has the same beginning.
fn parse(text: &str) -> Option<(TraceId, SpanId, u8)> {
    let (known, rest) = text.split_at_checked(55)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = version == "00" && rest.is_empty();
    let is_later = is_hex(version, 2) && !matches!(version, "00" | "ff") && (rest.is_empty() || rest.starts_with('-'));
    if !(is_known || is_later) || !is_hex(flags, 2) {
        return None;
    }
    Some((trace_id(trace)?, span_id(span)?, u8::from_str_radix(flags, 16).ok()?))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn trace_id(text: &str) -> Option<TraceId> {
    let id = TraceId::from_hex(text).ok().filter(|_| is_hex(text, 32))?;
    (id != TraceId::INVALID).then_some(id)
}

fn span_id(text: &str) -> Option<SpanId> {
    let id = SpanId::from_hex(text).ok().filter(|_| is_hex(text, 16))?;
    (id != SpanId::INVALID).then_some(id)
}

thread_local! {
    static NEXT_TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Random ids, except for a trace whose id was received.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT_TRACE.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Stores the parent context with a span, for the logs, and for passing it on if nothing is traced.
fn attach(span: &Span, remote: &ParentContext) {
    span.with_subscriber(|(id, subscriber)| {
        if let Some(span) = subscriber.downcast_ref::<Registry>().and_then(|registry| registry.span(id)) {
            span.extensions_mut().replace(remote.clone());
        }
    });
}

/// Returns the parent context of the nearest enclosing span that has one.
fn attached_to(span: &Span) -> Option<ParentContext> {
    span.with_subscriber(|(id, subscriber)| {
        let span = subscriber.downcast_ref::<Registry>()?.span(id)?;
        span.scope().find_map(|span| span.extensions().get::<ParentContext>().cloned())
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn out(remote: &ParentContext) -> String {
        remote.to_trace_context().traceparent
    }

    #[test]
    fn a_valid_context_is_kept_and_any_other_replaced_by_a_valid_one() {
        assert_eq!(out(&ParentContext::of_request(Some(GIVEN), None, None)), GIVEN);
        let bad = [
            "",
            "00-0-0-00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-é1",
            &GIVEN.to_uppercase(),
        ];
        for bad in bad {
            let made = ParentContext::of_request(Some(bad), Some("a=b"), None).to_trace_context();
            assert_ne!(made.traceparent, bad);
            assert!(parse(&made.traceparent).is_some(), "{made:?}");
            assert_eq!(made.tracestate, None, "a state belongs to its parent");
        }
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        let later = GIVEN.replacen("00", "01", 1) + "-more";
        assert_eq!(out(&ParentContext::of(Some(&later), None).unwrap()), GIVEN);
    }

    #[test]
    fn the_state_travels_with_its_parent() {
        let state = |text: &str| ParentContext::of(Some(GIVEN), Some(text)).unwrap().to_trace_context().tracestate;
        assert_eq!(state("congo=t61rcWkgMzE,rojo=1").as_deref(), Some("congo=t61rcWkgMzE,rojo=1"));
        assert_eq!(state(&format!("a={}", "x".repeat(600))), None);
        assert_eq!(state("no pairs"), None);
    }

    #[test]
    fn the_trace_id_of_api_gateway_is_kept() {
        let root = "Self=1-2-3;Root=1-5759e988-bd862e3fe1be46a994272793";
        let made = ParentContext::of_request(None, None, Some(root));
        assert_eq!((made.trace_id(), made.span_id), ("5759e988bd862e3fe1be46a994272793".to_owned(), None));
        assert!(parse(&out(&ParentContext::of_request(None, None, Some("Root=1-nonsense")))).is_some());
    }

    #[test]
    fn only_a_parent_that_xray_records_is_a_parent() {
        let header =
            |sampled: u8| format!("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={sampled}");
        let recorded = ParentContext::of_xray(&header(1)).unwrap();
        assert_eq!(out(&recorded), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
        assert_eq!(ParentContext::of_xray(&header(0)).unwrap().span_id, None);
    }
}
