//! `@connections`: the API Gateway management API, as its SDKs and the AWS CLI speak it
//! ("Use @connections commands in your backend service").
//!
//! Requests must be signed (`SigV4`), though the signature itself is not verified: there are no accounts here.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, header};
use serde_json::json;

use super::{
    Gateway, MESSAGE_BYTES, READ_BYTES,
    connection::{Closed, NotTaken},
};

/// Answers one request for the connection `id`, percent-encoded as it stands in the path.
pub(super) async fn serve(gateway: &Gateway, id: &str, request: Request) -> Response {
    if !is_signed(&request) {
        return failure(StatusCode::FORBIDDEN, "ForbiddenException", "Missing Authentication Token");
    }
    let Ok(id) = percent_encoding::percent_decode_str(id).decode_utf8().map(std::borrow::Cow::into_owned) else {
        return gone();
    };
    match *request.method() {
        Method::POST => post(gateway, &id, request.into_body()).await,
        Method::GET => match gateway.0.registry.get(&id) {
            Some(connection) => {
                let body = json!({
                    "connectedAt": connection.connected_at.to_string(),
                    "lastActiveAt": connection.last_active_at().to_string(),
                    "identity": {
                        "sourceIp": connection.source_ip,
                        "userAgent": connection.user_agent.as_deref().unwrap_or_default(),
                    },
                });
                ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
            }
            None => gone(),
        },
        Method::DELETE => match gateway.0.registry.remove(&id) {
            Some(connection) => {
                connection.close(Closed::by_server(1000, ""));
                StatusCode::NO_CONTENT.into_response()
            }
            None => gone(),
        },
        _ => failure(StatusCode::FORBIDDEN, "ForbiddenException", "Missing Authentication Token"),
    }
}

async fn post(gateway: &Gateway, id: &str, body: Body) -> Response {
    let Some(connection) = gateway.0.registry.get(id) else { return gone() };
    let too_large = || failure(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", "Message too long");
    let Ok(data) = to_bytes(body, READ_BYTES).await else { return too_large() };
    if data.len() > MESSAGE_BYTES {
        return too_large();
    }
    let Ok(text) = axum::extract::ws::Utf8Bytes::try_from(data) else {
        return failure(StatusCode::BAD_REQUEST, "BadRequestException", "Invalid UTF-8");
    };
    match connection.send(text, gateway.0.options.slow_client_timeout).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(NotTaken::Slow) => {
            failure(StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", "The client does not read its messages")
        }
        Err(NotTaken::Gone) => gone(),
    }
}

fn is_signed(request: &Request) -> bool {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 "))
        || request.uri().query().is_some_and(|query| query.contains("X-Amz-Signature="))
}

fn gone() -> Response {
    failure(StatusCode::GONE, "GoneException", "Gone")
}

fn failure(status: StatusCode, kind: &'static str, message: &str) -> Response {
    let headers = [(header::CONTENT_TYPE.as_str(), "application/json"), ("x-amzn-errortype", kind)];
    (status, headers, json!({ "message": message }).to_string()).into_response()
}
