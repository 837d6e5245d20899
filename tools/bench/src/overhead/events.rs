//! Events of the gateways and streams, as the functions receive them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, body::Body};
use bytes::Bytes;
use emulator::{
    dynamodb::{Engine, Position},
    lambda::{Invocation, Invoke, InvokeError},
    rest,
    stack::Stack,
    websocket::{self, WebSocketOptions},
};
use futures::future::BoxFuture;
use http::Request;
use local::token;
use serde_json::{Value, json};
use switchboard_client::Handshake;
use tower::ServiceExt;

use crate::{Result, serve::listen_anywhere};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

/// Replaces the functions behind a gateway, and keeps their events.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<Bytes>>>);

impl Invoke for Capture {
    fn invoke(&self, _: &str, payload: Bytes) -> BoxFuture<'static, std::result::Result<Invocation, InvokeError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(payload);
        let answer = Bytes::from_static(br#"{"statusCode":200,"body":""}"#);
        Box::pin(async { Ok(Invocation { request_id: String::new(), outcome: Ok(answer) }) })
    }
}

impl Capture {
    fn taken(&self) -> Vec<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Events of one socket.
#[derive(Debug, Clone)]
pub(crate) struct SocketEvents {
    pub(crate) connect: Value,
    pub(crate) message: Value,
    pub(crate) disconnect: Value,
}

impl SocketEvents {
    /// Returns the same events for another connection.
    pub(crate) fn of(&self, connection_id: &str) -> Self {
        let mut events = self.clone();
        for event in [&mut events.connect, &mut events.message, &mut events.disconnect] {
            event["requestContext"]["connectionId"] = json!(connection_id);
        }
        events
    }
}

/// Returns the event of a request to the REST API by the user `bench`.
pub(crate) async fn rest(stack: &Stack, method: &str, path: &str, body: Option<&Value>) -> Result<Bytes> {
    let capture = Capture::default();
    let gateway = rest::Gateway::new(stack.rest_api.clone(), REGION, ACCOUNT, Arc::new(capture.clone()));
    let token = token::mint("bench", token::DEFAULT_TTL, jiff::Timestamp::now())?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:3000")
        .header("accept", "*/*")
        .header("user-agent", "bench")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
    let _ = gateway.router().oneshot(request).await;
    Ok(capture.taken().pop().ok_or_else(|| format!("{method} {path} reaches no function"))?)
}

/// Returns the events of a socket of the user `bench` that opens for `channel`, sends a ping, and closes.
pub(crate) async fn socket(stack: &Stack, channel: &str) -> Result<SocketEvents> {
    let capture = Capture::default();
    let api = stack.websocket_api.clone();
    let gateway = websocket::Gateway::new(api, REGION, Arc::new(capture.clone()), WebSocketOptions::default());
    let (listener, address) = listen_anywhere().await?;
    let router: Router = gateway.router();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let token = token::mint("bench", token::DEFAULT_TTL, jiff::Timestamp::now())?;
    let handshake = Handshake::for_channels(&format!("ws://{address}"), &[channel]).bearer(&token);
    let mut socket = handshake.open().await?;
    socket.say(r#"{"action":"ping"}"#).await?;
    while capture.taken().len() < 2 {
        tokio::task::yield_now().await;
    }
    socket.close().await?;
    while capture.taken().len() < 3 {
        tokio::task::yield_now().await;
    }
    server.abort();
    let events: Vec<Value> =
        capture.taken().iter().map(|event| serde_json::from_slice(event)).collect::<std::result::Result<_, _>>()?;
    let [connect, message, disconnect] = events.try_into().map_err(|_| "a socket has three events")?;
    Ok(SocketEvents { connect, message, disconnect })
}

/// Returns the event of the newest change of a table.
pub(crate) async fn newest(engine: &Engine, table: &str) -> Result<Bytes> {
    let mut reader = engine.stream(table)?;
    let latest = reader.latest()?;
    let records = reader.next(Position::from_stored(latest.stored() - 1), 1).await?;
    let record = records.first().ok_or("the stream is empty")?;
    Ok(json!({ "Records": [record.event] }).to_string().into())
}

/// Returns the event of a schedule.
pub(crate) fn schedule() -> Bytes {
    let event = json!({
        "version": "0", "id": "00000000-0000-4000-8000-000000000000", "detail-type": "Scheduled Event",
        "source": "aws.events", "account": ACCOUNT, "time": "2026-01-01T00:00:00Z", "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/maintenance")], "detail": {},
    });
    event.to_string().into()
}
