//! The current invocation. An execution environment has one at a time ("Understanding the Lambda execution environment
//! lifecycle" in the Lambda developer guide).

use std::sync::{Mutex, PoisonError};

use lambda_runtime::Context;
use opentelemetry::trace::Status;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{context::ParentContext, is_traced, variable};

/// Properties of an invocation, for its span.
#[derive(Debug, Clone)]
struct Invocation {
    request_id: String,
    arn: String,
    xray: Option<String>,
    cold: bool,
}

#[derive(Debug)]
struct State {
    current: Option<Invocation>,
    is_first: bool,
}

static STATE: Mutex<State> = Mutex::new(State { current: None, is_first: true });

fn with<T>(read: impl FnOnce(&mut State) -> T) -> T {
    read(&mut STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn begin(context: &Context) {
    with(|state| {
        state.current = Some(Invocation {
            request_id: context.request_id.clone(),
            arn: context.invoked_function_arn.clone(),
            xray: context.xray_trace_id.clone(),
            cold: std::mem::replace(&mut state.is_first, false),
        });
    });
}

pub(crate) fn end() {
    with(|state| state.current = None);
}

/// Returns Lambda's id of the invocation.
pub(crate) fn request_id() -> Option<String> {
    with(|state| Some(state.current.as_ref()?.request_id.clone()))
}

/// Returns Lambda's own trace header, if there is one.
#[must_use]
pub fn xray_trace_id() -> Option<String> {
    with(|state| state.current.as_ref()?.xray.clone())
}

/// Creates a span for the invocation, with the name of the function. `kind` is OpenTelemetry's kind in lower case;
/// `trigger` as for [`mark`]. The caller sets its trace with [`ParentContext::attach_to`] or [`begin_trace`].
#[must_use]
pub fn span(kind: &'static str, trigger: &'static str) -> Span {
    let name = variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let span = tracing::info_span!(parent: None, "invocation", otel.name = name, otel.kind = kind);
    mark(&span, trigger);
    span
}

/// Starts a trace with `span`. It is Lambda's own trace, if there is one.
pub fn begin_trace(span: &Span) {
    ParentContext::of_request(None, None, xray_trace_id().as_deref()).attach_to(span);
}

/// Marks the current span as failed.
pub fn failed(error: &impl std::fmt::Display) {
    Span::current().set_status(Status::error(error.to_string()));
}

/// Marks `span` as the span of this invocation, with the attributes that the conventions for functions require
/// ("Semantic conventions for FaaS spans"). `trigger` is `http`, `pubsub`, `datasource`, `timer` or `other`.
pub fn mark(span: &Span, trigger: &'static str) {
    if !is_traced() {
        return;
    }
    span.set_attribute("faas.trigger", trigger);
    let Some(invocation) = with(|state| state.current.clone()) else { return };
    span.set_attribute("faas.invocation_id", invocation.request_id);
    span.set_attribute("faas.coldstart", invocation.cold);
    if let Some(account) = invocation.arn.split(':').nth(4).filter(|account| !account.is_empty()) {
        span.set_attribute("cloud.account.id", account.to_owned());
    }
    span.set_attribute("cloud.resource_id", invocation.arn);
}
