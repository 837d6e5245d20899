//! Services that the functions call, with a clock: real tables, and gateways that accept every request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use emulator::{
    dynamodb::{Engine, Options, Storage},
    stack::Table,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Result, serve::listen_anywhere};

/// Maximum size of a request, in bytes: DynamoDB's own limit.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The services. They end when this value is dropped.
pub(crate) struct Aws {
    pub(crate) engine: Engine,
    /// URL of all services for functions: calls are timed.
    pub(crate) url: String,
    /// URL of the tables for callers that are not measured.
    pub(crate) dynamodb: String,
    watch: Watch,
    _stop: DropGuard,
}

/// Calls of functions, timed from their arrival to their response.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    under_way: usize,
    since: Option<Instant>,
    waited: Waited,
}

/// Time during which at least one call was in progress, the number of calls, and of round trips.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waited {
    pub(crate) time: Duration,
    pub(crate) calls: usize,
    /// Number of times at which a call began while no other was in progress. Calls side by side are one.
    pub(crate) round_trips: usize,
}

impl Watch {
    fn with<T>(&self, use_it: impl FnOnce(&mut Calls) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self) {
        self.with(|calls| {
            calls.waited.round_trips += usize::from(calls.under_way == 0);
            calls.under_way += 1;
            calls.waited.calls += 1;
            calls.since.get_or_insert_with(Instant::now);
        });
    }

    fn end(&self) {
        self.with(|calls| {
            calls.under_way -= 1;
            if let (0, Some(since)) = (calls.under_way, calls.since) {
                calls.waited.time += since.elapsed();
                calls.since = None;
            }
        });
    }
}

impl Aws {
    pub(crate) async fn start(tables: &[Table]) -> Result<Self> {
        let engine = Engine::open(Storage::InMemory, Options::default())?;
        engine.ensure_tables(tables)?;
        let stop = CancellationToken::new();
        let (listener, address) = listen_anywhere().await?;
        let (serving, stopped) = (engine.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(listener, stopped).await });
        let dynamodb = format!("http://{address}");
        let watch = Watch::default();
        let gate = Gate {
            client: reqwest::Client::builder().tcp_nodelay(true).build()?,
            dynamodb: dynamodb.clone(),
            watch: watch.clone(),
        };
        let (listener, address) = listen_anywhere().await?;
        let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
        let router = Router::new().fallback(pass).with_state(gate);
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(server.into_future());
        Ok(Self { engine, url: format!("http://{address}"), dynamodb, watch, _stop: stop.drop_guard() })
    }

    /// Returns the calls since the last call of this method.
    pub(crate) fn take_waited(&self) -> Waited {
        self.watch.with(|calls| std::mem::take(&mut calls.waited))
    }
}

#[derive(Clone)]
struct Gate {
    client: reqwest::Client,
    dynamodb: String,
    watch: Watch,
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    gate.watch.begin();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let response = match to_bytes(body, BODY_LIMIT).await {
        Ok(_) if path.starts_with("/2015-03-31/functions/") => StatusCode::ACCEPTED.into_response(),
        Ok(_) if path.contains("/@connections/") => match parts.method {
            Method::DELETE => StatusCode::NO_CONTENT.into_response(),
            Method::GET => "{}".into_response(),
            _ => StatusCode::OK.into_response(),
        },
        Ok(body) => gate.forward(parts.headers, body).await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response()),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    };
    gate.watch.end();
    response
}

impl Gate {
    async fn forward(&self, mut headers: http::HeaderMap, body: bytes::Bytes) -> Result<Response> {
        headers.remove(http::header::HOST);
        headers.remove(http::header::CONTENT_LENGTH);
        let answer = self.client.post(&self.dynamodb).headers(headers).body(body).send().await?;
        let (status, kind) = (answer.status(), answer.headers().get(http::header::CONTENT_TYPE).cloned());
        let mut response = Response::new(Body::from(answer.bytes().await?));
        *response.status_mut() = status;
        if let Some(kind) = kind {
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_side_by_side_are_one_round_trip() {
        let watch = Watch::default();
        watch.begin();
        watch.begin();
        watch.end();
        watch.end();
        watch.begin();
        watch.end();
        let Waited { calls, round_trips, .. } = watch.with(|calls| calls.waited);
        assert_eq!((calls, round_trips), (3, 2));
    }
}
