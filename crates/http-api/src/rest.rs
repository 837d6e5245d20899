//! The common part of every REST handler: the caller, problems, CORS, and one log line per request.

use std::future::Future;

use auth::{Identity, Scope, Verifier};
use chat::{
    model::{access::Caller, id::ChannelId},
    ports::clock::{Clock, SystemClock},
};
use http::{HeaderValue, Response, header};
use lambda_http::{Body, Request};
use telemetry::{AFTER_RESPONSE, OpenTelemetrySpanExt, Status, context::ParentContext, invocation};
use tracing::{Instrument, Span};

use crate::{problem::Problem, request::ApiRequest, response, routes};

/// Response headers that a page of another origin may read. API Gateway renames `WWW-Authenticate`, and adds `Date` and
/// the request id ("Amazon API Gateway important notes"). The gateway responses of the template have the same list.
pub const EXPOSED_HEADERS: &str = "Allow, Date, ETag, Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, \
                                   Retry-After, WWW-Authenticate, x-amzn-remapped-www-authenticate, x-amzn-requestid";

/// The state that all requests of a function share. Created once per cold start.
#[derive(Debug)]
pub struct Rest {
    allowed_origin: HeaderValue,
}

impl Rest {
    /// Reads `ALLOWED_ORIGIN`, the origin whose pages may call the API. Default: `*`.
    #[must_use]
    pub fn from_env() -> Self {
        let origin = std::env::var("ALLOWED_ORIGIN").ok().and_then(|origin| HeaderValue::try_from(origin).ok());
        Self { allowed_origin: origin.unwrap_or(HeaderValue::from_static("*")) }
    }

    /// Runs `handler` on a request and converts its result to a response.
    pub async fn answer<F>(&self, request: Request, handler: impl FnOnce(ApiRequest) -> F) -> Response<Body>
    where
        F: Future<Output = Result<Response<Body>, Problem>>,
    {
        let request = ApiRequest::new(request);
        let span = span(&request);
        let mut answer = self.answer_in_span(request, handler).instrument(span).await;
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.allowed_origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    async fn answer_in_span<F>(&self, request: ApiRequest, handler: impl FnOnce(ApiRequest) -> F) -> Response<Body>
    where
        F: Future<Output = Result<Response<Body>, Problem>>,
    {
        let (request_id, method, resource) = (request.request_id(), request.method().clone(), request.resource());
        let quota = request.quota();
        let outcome = match (routes::answer(&method, &resource), request.require_clear_headers()) {
            (Some(outcome), _) => outcome,
            (None, Err(unclear)) => Err(unclear),
            // `HEAD` is answered as `GET` is. The gateway sends the length of the body, and not the body.
            (None, Ok(())) => handler(request).await,
        };
        let (mut answer, exhausted) = match outcome {
            Ok(answer) => (answer, None),
            Err(mut problem) => {
                problem.instance.clone_from(&request_id);
                (response::problem(&problem), problem.quota)
            }
        };
        if let Some(quota) = exhausted.as_ref().or_else(|| quota.get()) {
            response::add_quota(answer.headers_mut(), quota);
        }
        let status = answer.status().as_u16();
        let span = Span::current();
        span.set_attribute("http.response.status_code", i64::from(status));
        // An error of the caller is not an error of the server ("Semantic conventions for HTTP spans", status).
        if status >= 500 {
            span.set_attribute("error.type", status.to_string());
            span.set_status(Status::error(String::new()));
        }
        tracing::info!(name: AFTER_RESPONSE, request_id, %method, resource, status, "answered");
        answer
    }
}

/// Creates the span of a request, in the caller's trace ("Semantic conventions for HTTP spans", server). The path
/// contains ids and is left out. The channel has its own attribute.
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
        switchboard.tenant = tracing::field::Empty,
    );
    let lambda = invocation::xray_trace_id();
    ParentContext::of_request(
        request.header("traceparent"),
        request.header_list("tracestate").as_deref(),
        request.header("x-amzn-trace-id").or(lambda.as_deref()),
    )
    .attach_to(&span);
    invocation::mark(&span, "http");
    span
}

/// Returns the caller of a request, whatever the token's scopes are.
///
/// # Errors
/// Fails with a 401 problem, or 503 if the issuer's keys are unavailable.
pub async fn identify(request: &ApiRequest, verifier: &Verifier) -> Result<Identity, Problem> {
    let identity = verifier.verify(request.bearer_token(), SystemClock.now()).await?;
    if let Some(tenant) = &identity.caller.tenant {
        Span::current().record("switchboard.tenant", tenant.as_str());
    }
    Ok(identity)
}

/// Returns the caller of a request, if the token allows `scope`.
///
/// # Errors
/// Fails with a 401 problem, 403 without the scope, or 503 if the issuer's keys are unavailable.
pub async fn authenticate(request: &ApiRequest, verifier: &Verifier, scope: Scope) -> Result<Identity, Problem> {
    let identity = identify(request, verifier).await?;
    if identity.permits(scope) { Ok(identity) } else { Err(Problem::insufficient_scope(scope)) }
}

/// Returns the channel of the path. A channel outside the caller's token is reported as not found.
///
/// # Errors
/// Fails with a 400 or 404 problem.
pub fn path_channel(request: &ApiRequest, caller: &Caller) -> Result<ChannelId, Problem> {
    let channel = request.path_id("channel_id")?;
    caller.require_reach(&channel)?;
    Ok(channel)
}
