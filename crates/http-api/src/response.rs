//! Responses.

use std::time::Duration;

use http::{Response, StatusCode, header};
use lambda_http::Body;
use serde::Serialize;

use crate::problem::Problem;

/// Creates a JSON response.
///
/// # Errors
/// Fails with a 500 problem if `body` cannot be encoded.
pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_string(body).map_err(|error| {
        tracing::error!(%error, "response could not be encoded");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "something failed on our side")
    })?;
    Ok(with_type(status, "application/json", text))
}

/// Creates a response without a body.
#[must_use]
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Creates the response to a reader that has the representation with this entity tag.
#[must_use]
pub fn not_modified(tag: http::HeaderValue) -> Response<Body> {
    let mut response = no_content();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// An answer without a body to a request that was accepted and is carried out later, or has no result.
#[must_use]
pub fn accepted() -> Response<Body> {
    let mut response = no_content();
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// Converts a problem to a response.
#[must_use]
pub fn problem(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = serde_json::to_string(problem).unwrap_or_else(|_| "{}".to_owned());
    let mut response = with_type(status, "application/problem+json", text);
    if let Some(wait) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(wait).into());
    }
    for (name, value) in [(header::ALLOW, &problem.allow), (header::WWW_AUTHENTICATE, &problem.challenge)] {
        if let Some(Ok(value)) = value.as_deref().map(header::HeaderValue::try_from) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns the wait in whole seconds, rounded up, because a client that retries too early must wait again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX).max(1)
}

fn with_type(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
