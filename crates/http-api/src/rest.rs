//! The frame around every REST handler: the caller, problems, CORS, and one log line per request.

use std::future::Future;

use auth::{Identity, Scope, Verifier};
use chat::{
    model::{error::ChatError, id::ChannelId},
    ports::clock::{Clock, SystemClock},
};
use http::{HeaderValue, Response, header};
use lambda_http::{Body, Request};
use telemetry::{OpenTelemetrySpanExt, Status, context::ParentContext, invocation};
use tracing::{Instrument, Span};

use crate::{problem::Problem, request::ApiRequest, response, routes};

/// What a page of another origin may read of an answer.
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("Allow, ETag, Idempotency-Replayed, Location, Retry-After, WWW-Authenticate");

/// What is the same for every request of a function. Made once per cold start.
#[derive(Debug)]
pub struct Rest {
    allowed_origin: HeaderValue,
}

impl Rest {
    /// From `ALLOWED_ORIGIN`, `*` when unset: the origin whose pages may call.
    #[must_use]
    pub fn from_env() -> Self {
        let origin = std::env::var("ALLOWED_ORIGIN").ok().and_then(|origin| HeaderValue::try_from(origin).ok());
        Self { allowed_origin: origin.unwrap_or(HeaderValue::from_static("*")) }
    }

    /// Runs `handler` on a request and turns whatever comes of it into an answer.
    pub async fn answer<F>(&self, request: Request, handler: impl FnOnce(ApiRequest) -> F) -> Response<Body>
    where
        F: Future<Output = Result<Response<Body>, Problem>>,
    {
        let request = ApiRequest::new(request);
        let span = span(&request);
        let mut answer = self.answer_in_span(request, handler).instrument(span).await;
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.allowed_origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    async fn answer_in_span<F>(&self, request: ApiRequest, handler: impl FnOnce(ApiRequest) -> F) -> Response<Body>
    where
        F: Future<Output = Result<Response<Body>, Problem>>,
    {
        let (request_id, method, resource) = (request.request_id(), request.method().clone(), request.resource());
        let outcome = match routes::answer(&method, &resource) {
            Some(outcome) => outcome,
            None => handler(request).await,
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(mut problem) => {
                problem.instance.clone_from(&request_id);
                response::problem(&problem)
            }
        };
        let status = answer.status().as_u16();
        let span = Span::current();
        span.set_attribute("http.response.status_code", i64::from(status));
        // What the caller got wrong is no error of the server ("Semantic conventions for HTTP spans", status).
        if status >= 500 {
            span.set_attribute("error.type", status.to_string());
            span.set_status(Status::error(String::new()));
        }
        tracing::info!(request_id, %method, resource, status, "answered");
        answer
    }
}

/// The span of a request, in the caller's trace ("Semantic conventions for HTTP spans", server). The path holds ids,
/// and is left out; the channel has an attribute of its own.
fn span(request: &ApiRequest) -> Span {
    let (method, resource) = (request.method().as_str(), request.resource());
    let channel = request.path_id::<ChannelId>("channel_id").ok();
    let span = tracing::info_span!(
        parent: None,
        "request",
        otel.name = format_args!("{method} {resource}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = resource,
        url.scheme = "https",
        switchboard.request_id = request.request_id(),
        switchboard.channel_id = channel.as_ref().map(tracing::field::display),
    );
    let lambda = invocation::xray_trace_id();
    ParentContext::of_request(
        request.header("traceparent"),
        request.header("tracestate"),
        request.header("x-amzn-trace-id").or(lambda.as_deref()),
    )
    .attach_to(&span);
    invocation::mark(&span, "http");
    span
}

/// Who sends a request, if the token allows `scope`.
///
/// # Errors
/// A 401 problem, 403 without the scope, or 503 when the issuer's keys cannot be had.
pub async fn authenticate(request: &ApiRequest, verifier: &Verifier, scope: Scope) -> Result<Identity, Problem> {
    let identity = verifier.verify(request.bearer_token(), SystemClock.now()).await?;
    if identity.has(scope) { Ok(identity) } else { Err(Problem::insufficient_scope(scope)) }
}

/// The channel of the path. One that the caller's token does not reach does not exist for the caller.
///
/// # Errors
/// A 400 or 404 problem.
pub fn path_channel(request: &ApiRequest, caller: &Identity) -> Result<ChannelId, Problem> {
    let channel = request.path_id("channel_id")?;
    if caller.reaches(&channel) { Ok(channel) } else { Err(ChatError::ChannelNotFound.into()) }
}
