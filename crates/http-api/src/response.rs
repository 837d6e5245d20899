//! Responses.

use std::time::Duration;

use chat::model::token_bucket::Quota;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
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
        Problem::internal()
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
        if let Some(Ok(value)) = value.as_deref().map(HeaderValue::try_from) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Adds the state of a bucket as `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
///
/// The window of the policy is the time in which an empty bucket becomes full.
pub(crate) fn add_quota(headers: &mut HeaderMap, quota: &Quota) {
    let Quota { action, bucket, left, reset } = quota;
    let window = whole_seconds(bucket.every.saturating_mul(bucket.burst));
    for (name, value) in [
        ("ratelimit-policy", format!(r#""{action}";q={};w={window}"#, bucket.burst)),
        ("ratelimit", format!(r#""{action}";r={left};t={}"#, whole_seconds(*reset))),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Returns the wait in whole seconds, rounded up, because a client that retries too early must wait again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX).max(1)
}

/// Creates a response with a body.
fn with_type(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use chat::model::token_bucket::Bucket;

    use super::*;
    use crate::problem_code::ProblemCode;

    #[test]
    fn a_bucket_is_shown_in_whole_seconds() {
        let bucket = Bucket { every: Duration::from_millis(200), burst: 8 };
        for (quota, policy, limit) in [
            (bucket.exhausted("send", Duration::from_millis(50)), r#""send";q=8;w=2"#, r#""send";r=0;t=1"#),
            (
                Quota { action: "add-member", bucket, left: 7, reset: Duration::from_millis(1_001) },
                r#""add-member";q=8;w=2"#,
                r#""add-member";r=7;t=2"#,
            ),
        ] {
            let mut headers = HeaderMap::new();
            add_quota(&mut headers, &quota);
            assert_eq!(headers["ratelimit-policy"], policy);
            assert_eq!(headers["ratelimit"], limit);
        }
    }

    #[test]
    fn an_answer_without_a_body_has_no_type() {
        for (answer, status) in
            [(no_content(), 204), (accepted(), 202), (not_modified(HeaderValue::from_static("\"1\"")), 304)]
        {
            assert_eq!(answer.status(), status);
            assert!(matches!(answer.body(), Body::Empty));
            assert!(!answer.headers().contains_key(header::CONTENT_TYPE));
        }
    }

    #[test]
    fn a_problem_says_when_to_come_back() {
        let busy = Problem { retry_after: Some(Duration::from_millis(1_200)), ..Problem::internal() };
        assert_eq!(problem(&busy).headers()[header::RETRY_AFTER], "2");
        let other = problem(&Problem::new(ProblemCode::LastOwner, "x"));
        assert_eq!((other.status().as_u16(), other.headers().get(header::RETRY_AFTER)), (409, None));
    }
}
