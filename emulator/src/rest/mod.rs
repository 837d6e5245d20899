//! The REST API (v1): routes requests to functions and mocks as API Gateway does.
//!
//! This gateway is stricter than public emulators: an invalid response is a 502, a late one a 504, and a payload over
//! 10 MB a 413. A request without a route gets the API's own gateway response.

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, header};

use crate::{
    lambda::{Invoke, InvokeError},
    quotas::{Quotas, Source},
    stack::{Integration, RestApi},
};

use self::{context::Context, gateway_response::Failure};

mod context;
mod gateway_response;
pub(crate) mod identifiers;
mod mock;
pub(crate) mod proxy;
mod routes;
pub(crate) mod wire;

/// Maximum payload in bytes ("Quotas for configuring and running a REST API in API Gateway": 10 MB).
pub const PAYLOAD_LIMIT: usize = 10 * 1024 * 1024;

/// Stage of a REST API that is ready to be served.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    api: RestApi,
    region: String,
    account_id: String,
    invoke: Arc<dyn Invoke>,
    quotas: Quotas,
}

impl Gateway {
    /// Creates a gateway for `api` that runs functions through `invoke`.
    pub fn new(
        api: RestApi,
        region: impl Into<String>,
        account_id: impl Into<String>,
        invoke: Arc<dyn Invoke>,
    ) -> Self {
        Self::with_quotas(api, region, account_id, invoke, Quotas::default())
    }

    /// Creates a gateway whose requests count against the account's rate.
    pub fn with_quotas(
        api: RestApi,
        region: impl Into<String>,
        account_id: impl Into<String>,
        invoke: Arc<dyn Invoke>,
        quotas: Quotas,
    ) -> Self {
        let (region, account_id) = (region.into(), account_id.into());
        Self { inner: Arc::new(Inner { api, region, account_id, invoke, quotas }) }
    }

    /// Returns the API as a service. Paths may start with `/{stage}`, as in AWS's URLs, or omit it, as behind a custom
    /// domain.
    pub fn router(&self) -> Router {
        let inner = Arc::clone(&self.inner);
        Router::new().fallback(move |request: Request| {
            let inner = Arc::clone(&inner);
            async move { inner.answer(request).await }
        })
    }
}

impl Inner {
    async fn answer(&self, request: Request) -> Response<Body> {
        let valid_host = wire::has_valid_host(&request);
        let (parts, body) = request.into_parts();
        let whole = routes::one_slash(if parts.uri.path().is_empty() { "/" } else { parts.uri.path() });
        let method = parts.method.as_str();
        // A resource may have the name of the stage. The prefix is removed only if the rest of the path has a method.
        let behind_stage = routes::without_stage(whole, &self.api.stage);
        let found = behind_stage
            .and_then(|path| Some((path, routes::find(&self.api.methods, path, method)?)))
            .or_else(|| Some((whole, routes::find(&self.api.methods, whole, method)?)));
        let path = found.as_ref().map_or(behind_stage.unwrap_or(whole), |(path, _)| *path).to_owned();
        let api = (self.api.id.as_str(), self.api.stage.as_str());
        let mut context = Context::new(&parts, (&path, whole), api, &self.region, &self.account_id);
        let accept = text(&parts.headers, &header::ACCEPT).map(str::to_owned);

        let is_admitted = !valid_host || self.quotas.admits_request(Source::Rest);
        let outcome = match (found, wire::read_body(body, PAYLOAD_LIMIT).await) {
            _ if !valid_host => Err(Failure::BadRequest),
            _ if !is_admitted => Err(Failure::Throttled),
            (_, Err(wire::BodyError::TooLarge)) => Err(Failure::RequestTooLarge),
            (_, Err(wire::BodyError::Broken)) => Err(Failure::BadRequest),
            (None, Ok(_)) => Err(Failure::MissingAuthenticationToken),
            (Some((_, matched)), Ok(body)) => {
                context.resource_id.clone_from(&matched.method.resource_id);
                context.resource_path.clone_from(&matched.method.path);
                match &matched.method.integration {
                    Integration::LambdaProxy { function, timeout } => {
                        let event = proxy::event(&parts, &body, &matched.parameters, &context);
                        let invoked = self.invoke(function, *timeout, Bytes::from(event.to_string())).await;
                        invoked.map(|response| proxy::traced(response, &event))
                    }
                    Integration::Mock { request_templates, responses } => mock::respond(
                        request_templates,
                        responses,
                        &context,
                        text(&parts.headers, &header::CONTENT_TYPE),
                        accept.as_deref(),
                    ),
                }
            }
        };
        let mut response = outcome.unwrap_or_else(|failure| {
            tracing::debug!(?failure, request_id = context.request_id, path, "the gateway sent its own response");
            failure.answer(&self.api.gateway_responses, &context, accept.as_deref())
        });
        context.sign(&mut response);
        response
    }

    async fn invoke(
        &self,
        function: &str,
        timeout: std::time::Duration,
        event: Bytes,
    ) -> Result<Response<Body>, Failure> {
        // Runs as its own task, because a function runs to its end even if its client has disconnected or the
        // integration has timed out.
        let invocation = tokio::spawn(self.invoke.invoke(function, event));
        let Ok(ended) = tokio::time::timeout(timeout, invocation).await else {
            tracing::warn!(function, ?timeout, "the function did not respond within the integration's timeout");
            return Err(Failure::IntegrationTimeout);
        };
        match ended {
            Ok(Ok(invocation)) => match invocation.outcome {
                Ok(answer) => proxy::response(&answer).ok_or_else(|| {
                    tracing::warn!(function, "the function's response was not a proxy response");
                    Failure::MalformedProxyResponse
                }),
                Err(error) => {
                    tracing::warn!(function, %error, "the function failed");
                    Err(Failure::FailedFunction)
                }
            },
            Ok(Err(InvokeError::PayloadTooLarge { .. })) => Err(Failure::RequestTooLarge),
            Ok(Err(error)) => {
                tracing::warn!(function, %error, "the function could not be started");
                Err(Failure::Internal)
            }
            Err(error) => {
                tracing::error!(function, %error, "the invocation was aborted");
                Err(Failure::Internal)
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
