//! `@connections`: the API Gateway Management API, by its service model.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::ws::{Message, Utf8Bytes, close_code},
};
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::json;
use tokio::sync::mpsc::error::SendTimeoutError;

use crate::{
    doors,
    quotas::Source,
    rest::{
        identifiers,
        wire::{self, BodyError},
    },
};

use super::{Inner, MESSAGE_LIMIT, connection::Connection};

/// Errors of the service model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The operation is unknown, or the request is not signed.
    Forbidden,
    /// The connection does not exist, or has ended.
    Gone,
    /// The client does not read its messages.
    LimitExceeded,
    /// The account's rate is used up. The service model has one error for both.
    Throttled,
    /// The data exceeds [`MESSAGE_LIMIT`].
    PayloadTooLarge,
    /// The request is incomplete.
    BadRequest,
}

impl Refusal {
    /// Returns the response to the error. The SDKs distinguish errors by `x-amzn-ErrorType`.
    fn answer(self) -> Response<Body> {
        let (status, error_type, message) = match self {
            Self::Forbidden => (StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden"),
            Self::Gone => (StatusCode::GONE, "GoneException", "The connection is gone"),
            Self::LimitExceeded => {
                (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", "The client does not read its messages")
            }
            Self::Throttled => (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", "Too Many Requests"),
            Self::PayloadTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", "The data is larger than 131072 bytes")
            }
            Self::BadRequest => (StatusCode::BAD_REQUEST, "BadRequestException", "The body cannot be read"),
        };
        let mut response = Response::new(Body::from(json!({"message": message}).to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(error_type));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// Returns the connection id in `/@connections/{id}` or `/{stage}/@connections/{id}`.
pub(super) fn connection_id(path: &str, stage: &str) -> Option<String> {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).map(wire::decode).collect();
    match segments.iter().map(AsRef::as_ref).collect::<Vec<_>>()[..] {
        ["@connections", id] => Some(id.to_owned()),
        [first, "@connections", id] if first == stage => Some(id.to_owned()),
        _ => None,
    }
}

/// Executes one request. It must be signed, but the signature is not verified: the local run has no accounts.
pub(super) async fn answer(inner: &Inner, id: &str, parts: Parts, body: Body) -> Response<Body> {
    // Pages may open sockets on this port, but may not use this API.
    let is_allowed = is_signed(&parts) && !doors::is_from_browser(&parts.headers);
    let outcome = if !is_allowed {
        Err(Refusal::Forbidden)
    } else if inner.quotas.admits_request(Source::Management) {
        act(inner, id, &parts.method, body).await
    } else {
        // Reads the body before responding: a client that is still sending would lose the response.
        let _ = wire::read_body(body, MESSAGE_LIMIT).await;
        Err(Refusal::Throttled)
    };
    let mut response = outcome.unwrap_or_else(Refusal::answer);
    if let Ok(request_id) = HeaderValue::from_str(&identifiers::request_id()) {
        response.headers_mut().insert("x-amzn-requestid", request_id);
    }
    response
}

/// Returns `true` if the request has a Signature Version 4, in a header or in its query string.
fn is_signed(parts: &Parts) -> bool {
    let in_header = parts
        .headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256 "));
    in_header || wire::query_parameters(parts.uri.query()).iter().any(|(name, _)| name == "X-Amz-Signature")
}

async fn act(inner: &Inner, id: &str, method: &Method, body: Body) -> Result<Response<Body>, Refusal> {
    match *method {
        Method::POST => {
            let data = wire::read_body(body, MESSAGE_LIMIT).await.map_err(|error| match error {
                BodyError::TooLarge => Refusal::PayloadTooLarge,
                BodyError::Broken => Refusal::BadRequest,
            })?;
            let connection = inner.connections.get(id).ok_or(Refusal::Gone)?;
            // A text frame requires valid UTF-8.
            let message = Utf8Bytes::try_from(data.clone()).map_or(Message::Binary(data), Message::Text);
            post(&connection, message, inner.options.post_timeout).await?;
            Ok(Response::new(Body::empty()))
        }
        Method::GET => {
            let connection = inner.connections.get(id).ok_or(Refusal::Gone)?;
            let body = json!({
                "connectedAt": format!("{:.3}", connection.connected_at),
                "identity": {"sourceIp": connection.source_ip, "userAgent": connection.user_agent},
                "lastActiveAt": format!("{:.3}", connection.last_active_at()),
            });
            let mut response = Response::new(Body::from(body.to_string()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
        Method::DELETE => {
            // Removed from the registry first, so that a post after this response fails.
            let connection = inner.connections.remove(id).ok_or(Refusal::Gone)?;
            connection.close(close_code::NORMAL, "");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Err(Refusal::Forbidden),
    }
}

async fn post(
    connection: &Arc<Connection>,
    message: Message,
    post_timeout: std::time::Duration,
) -> Result<(), Refusal> {
    let queued = tokio::select! {
        biased;
        () = connection.closed() => return Err(Refusal::Gone),
        queued = connection.outbound.send_timeout(message, post_timeout) => queued,
    };
    queued.map_err(|error| match error {
        SendTimeoutError::Closed(_) => Refusal::Gone,
        SendTimeoutError::Timeout(_) => Refusal::LimitExceeded,
    })?;
    connection.touch();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::connection_id;

    #[test]
    fn ids_are_decoded() {
        for (path, expected) in [
            ("/@connections/L0SM9cOFvHcCIhw%3D", Some("L0SM9cOFvHcCIhw=")),
            ("/dev/%40connections/abc=", Some("abc=")),
            ("/prod/@connections/abc", None),
            ("/@connections", None),
            ("/@connections/a/b", None),
            ("/", None),
        ] {
            assert_eq!(connection_id(path, "dev").as_deref(), expected, "{path}");
        }
    }
}
