//! The routes of the REST API, for responses that all functions share: `OPTIONS`, and methods that a resource does not
//! have.

use http::{HeaderValue, Response, StatusCode, header};
use lambda_http::Body;

use crate::{problem::Problem, response};

/// Each resource with its methods. The template routes each to a function.
pub const ROUTES: [(&str, &str); 15] = [
    ("/health", "GET"),
    ("/channels", "GET, POST"),
    ("/channels/{channel_id}", "GET, PATCH, DELETE"),
    ("/channels/{channel_id}/members", "GET"),
    ("/channels/{channel_id}/members/{user_id}", "PUT, DELETE"),
    ("/channels/{channel_id}/messages", "GET, POST"),
    ("/channels/{channel_id}/messages/{seq}", "GET, PATCH, DELETE"),
    ("/channels/{channel_id}/messages/{seq}/replies", "GET"),
    ("/channels/{channel_id}/messages/{seq}/reactions/{emoji}", "PUT, DELETE"),
    ("/channels/{channel_id}/messages/{seq}/reply/cancel", "POST"),
    ("/channels/{channel_id}/presence", "GET"),
    ("/channels/{channel_id}/read", "PUT"),
    ("/channels/{channel_id}/typing", "POST"),
    ("/connections/tickets", "POST"),
    ("/connections/{connection_id}/token", "POST"),
];

const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization,content-type,idempotency-key,if-match,traceparent,tracestate");

/// Time in seconds for which a browser caches a response to `OPTIONS`: Chromium's maximum.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Returns the response to a request that needs no handler, if it is one.
pub(crate) fn answer(method: &http::Method, resource: &str) -> Option<Result<Response<Body>, Problem>> {
    let (_, methods) = ROUTES.iter().find(|(route, _)| *route == resource)?;
    let allow = format!("{methods}, OPTIONS");
    if method == http::Method::OPTIONS {
        let mut response = response::no_content();
        let headers = response.headers_mut();
        if let Ok(allow) = HeaderValue::try_from(&allow) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        return Some(Ok(response));
    }
    if methods.split(", ").any(|allowed| allowed == method.as_str()) {
        return None;
    }
    let detail = format!("This resource allows {allow}.");
    Some(Err(Problem { allow: Some(allow), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) }))
}
