//! API Gateway's REST API (v1): routing, proxy integration, mock integration and gateway responses.
//!
//! | behaviour | source |
//! | --- | --- |
//! | event and answer of a proxy integration | "Lambda proxy integrations in API Gateway" |
//! | a failing function or a malformed answer is a 502, a refused invocation a 500 | "Handling Lambda errors with an API Gateway API" |
//! | gateway responses, their types and their fallbacks | "Gateway response types for API Gateway" |
//! | 10 MB of payload, 29 s | "Quotas for configuring and running a REST API" |
//!
//! The stage is optional in a path here, as behind a custom domain.

mod event;
mod gateway_response;
mod mock;
mod routing;
mod variables;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    lambda::{Invoke, InvokeError},
    stack::{Integration, RestApi},
};

use gateway_response::ResponseType;
use routing::Routes;
use variables::Context;

/// Largest payload ("Quotas for configuring and running a REST API").
pub const PAYLOAD_BYTES: usize = 10 * 1024 * 1024;

/// A REST API.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    api: RestApi,
    routes: Routes,
    account_id: String,
    domain_name: String,
    invoke: Arc<dyn Invoke>,
}

/// What becomes of a request: an integration's answer, or a gateway response.
type Outcome = Result<Response, (ResponseType, String)>;

impl Gateway {
    /// A gateway for `api`, whose functions run through `invoke`.
    #[must_use]
    pub fn new(api: RestApi, region: &str, account_id: &str, invoke: Arc<dyn Invoke>) -> Self {
        let domain_name = format!("{}.execute-api.{region}.amazonaws.com", api.id);
        let routes = Routes::new(&api);
        Self(Arc::new(Inner { api, routes, account_id: account_id.to_owned(), domain_name, invoke }))
    }

    /// Every path of the API. Serve it with connect info.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    async fn answer(&self, request: Request, context: &mut Context) -> Outcome {
        let inner = &*self.0;
        let (parts, body) = request.into_parts();
        let Some(route) = inner.routes.find(&inner.api, parts.method.as_str(), parts.uri.path()) else {
            return Err((ResponseType::MissingAuthenticationToken, "Missing Authentication Token".to_owned()));
        };
        context.resource_path.clone_from(&route.method.path);
        let Ok(payload) = to_bytes(body, PAYLOAD_BYTES).await else {
            return Err((ResponseType::RequestTooLarge, "Request Too Long".to_owned()));
        };
        match &route.method.integration {
            Integration::Mock { request_templates, responses } => mock::answer(request_templates, responses, context),
            Integration::LambdaProxy { function, timeout } => {
                let event = event::request(inner, &route, &parts, &payload, context);
                self.run(function, *timeout, Bytes::from(event.to_string())).await
            }
        }
    }

    async fn run(&self, function: &str, timeout: Duration, payload: Bytes) -> Outcome {
        let broken = || (ResponseType::Default5xx(StatusCode::BAD_GATEWAY), "Internal server error".to_owned());
        let invoked = tokio::time::timeout(timeout, self.0.invoke.invoke(function, payload)).await;
        match invoked {
            Err(_) => {
                tracing::warn!(function, "a function took longer than its integration allows");
                Err((ResponseType::IntegrationTimeout, "Endpoint request timed out".to_owned()))
            }
            Ok(Err(error)) => {
                tracing::warn!(function, %error, "a function could not be invoked");
                let status = match error {
                    InvokeError::PayloadTooLarge { .. } => {
                        return Err((ResponseType::RequestTooLarge, "Request Too Long".to_owned()));
                    }
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                Err((ResponseType::Default5xx(status), "Internal server error".to_owned()))
            }
            Ok(Ok(invocation)) => match invocation.outcome {
                Ok(answer) => event::response(&answer).map_err(|problem| {
                    tracing::warn!(function, problem, "a function's answer is no proxy response");
                    broken()
                }),
                Err(error) => {
                    tracing::warn!(function, %error, "a function failed");
                    Err(broken())
                }
            },
        }
    }
}

async fn serve(State(gateway): State<Gateway>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let mut context = Context::new(&request, peer);
    let mut response = match gateway.answer(request, &mut context).await {
        Ok(response) => response,
        Err((kind, message)) => gateway_response::make(&gateway.0.api.gateway_responses, kind, &message, &context),
    };
    let headers = response.headers_mut();
    insert(headers, "x-amzn-requestid", &context.request_id);
    insert(headers, "x-amz-apigw-id", &context.extended_request_id);
    response
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A response from what a template made.
fn templated<'a>(
    status: StatusCode,
    headers: impl Iterator<Item = (&'a String, &'a String)>,
    content_type: &str,
    body: String,
) -> Response {
    let mut response = Response::new(if body.is_empty() { Body::empty() } else { Body::from(body) });
    *response.status_mut() = status;
    insert(response.headers_mut(), "content-type", content_type);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
