//! The browser client: a page of plain HTML, CSS and ES modules, embedded in this binary.
//!
//! `POST /token` issues tokens for any name. Serve it behind [`Door::own_page`](emulator::doors::Door::own_page), so that
//! no other site in the same browser gets one. Only the two APIs return the content of channels. The traces of this
//! server contain no content.

mod assets;
mod headers;
mod traces;

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{otlp::Collector, secret::Secret, token};

/// Addresses of the stack for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageConfig {
    /// Base URL of the REST API, for example `http://127.0.0.1:3000`.
    pub rest_url: String,
    /// URL of the WebSocket API, for example `ws://127.0.0.1:3001`.
    pub websocket_url: String,
    /// Secret that signs the page's tokens.
    pub secret: Secret,
}

/// Response to `GET /config.json`.
#[derive(Debug, Serialize)]
struct Endpoints {
    rest: String,
    websocket: String,
}

/// Body of `POST /token`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    user: String,
}

/// Response to `POST /token`.
#[derive(Debug, Serialize)]
struct TokenResponse {
    token: String,
    expires_at: Timestamp,
}

/// Serves the page, its assets, `GET /config.json` and `POST /token`, and the traces of `collector`: `GET
/// /traces/{trace_id}` and, for one message, `GET /traces?channel_id=…&seq=…`.
pub fn router(config: PageConfig, collector: Collector) -> Router {
    let policy = headers::ContentSecurityPolicy::new(&config);
    let mut router = Router::new()
        .route("/config.json", get(endpoints))
        .route("/token", post(mint_token))
        .with_state(config)
        .merge(traces::router(collector));
    for asset in assets::ALL {
        router = router.route(asset.path, get(move || async { asset.response() }));
    }
    router
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "There is nothing at this address; the page is at /.") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "This address does not take that method.")
        })
        .layer(middleware::from_fn_with_state(policy, headers::secure_headers))
}

async fn endpoints(State(config): State<PageConfig>) -> Response {
    Json(Endpoints { rest: config.rest_url, websocket: config.websocket_url }).into_response()
}

async fn mint_token(State(config): State<PageConfig>, request: Result<Json<TokenRequest>, JsonRejection>) -> Response {
    let Json(TokenRequest { user }) = match request {
        Ok(request) => request,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let now = Timestamp::now();
    let minted = token::sign(&config.secret, &user, token::DEFAULT_TTL, now)
        .and_then(|token| Ok(TokenResponse { token, expires_at: token::end(token::DEFAULT_TTL, now)? }));
    match minted {
        Ok(response) => Json(response).into_response(),
        Err(error @ token::TokenError::Signing(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

/// Returns an RFC 9457 problem.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
