//! The WebSocket API: sockets, their routes, and `@connections` to write to them.
//!
//! The handshake waits for `$connect`, and fails with the function's status if it rejects. `$disconnect` runs once for
//! each client that `$connect` accepted, however the connection ended. On AWS it is best effort. Here it is missing
//! only if the process is killed.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{
        FromRequestParts, Request,
        ws::{Message, WebSocketUpgrade, close_code},
    },
};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    lambda::Invoke,
    quotas::Quotas,
    rest::{identifiers, wire},
    stack::{Route, WebSocketApi},
};

use self::{
    call::call,
    connection::{Connection, Connections},
    event::ApiNames,
    throttle::Throttles,
};

mod call;
mod connection;
mod event;
mod management;
mod opening;
mod socket;
mod throttle;

/// Maximum size of a message in bytes, in either direction ("Quotas for configuring and running a WebSocket API in API
/// Gateway": 128 KB).
pub const MESSAGE_LIMIT: usize = 128 * 1024;

/// Maximum size of a frame of a client in bytes (same page: 32 KB). A longer message must be fragmented.
pub const FRAME_LIMIT: usize = 32 * 1024;

/// Read buffer of one socket, in bytes. The library's default of 128 KB is too much for a thousand idle sockets.
const READ_BUFFER: usize = 8 * 1024;

/// Limits of a WebSocket API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// Maximum time without a frame in either direction. Then the connection is closed with 1001. AWS: 10 minutes.
    pub idle_timeout: Duration,
    /// Maximum duration of a connection. Then it is closed with 1001. AWS: 2 hours.
    pub maximum_duration: Duration,
    /// Maximum number of posted messages in the queue of a client that does not read.
    pub queue_length: usize,
    /// Maximum time that a post waits for space in a full queue. Then it fails with 429.
    pub post_timeout: Duration,
    /// Maximum time for the closing handshake, in each direction.
    pub close_timeout: Duration,
    /// Maximum number of concurrently handled messages of one connection.
    pub concurrent_messages: usize,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_mins(10),
            maximum_duration: Duration::from_hours(2),
            queue_length: 64,
            post_timeout: Duration::from_secs(1),
            close_timeout: Duration::from_secs(1),
            concurrent_messages: 8,
        }
    }
}

/// Stage of a WebSocket API that is ready to be served.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    api: WebSocketApi,
    names: ApiNames,
    invoke: Arc<dyn Invoke>,
    options: WebSocketOptions,
    connections: Connections,
    throttles: Throttles,
    quotas: Quotas,
    /// Tasks that a stop waits for: handshakes, sockets, functions.
    tracker: TaskTracker,
}

impl Gateway {
    /// Creates a gateway for `api` that runs functions through `invoke`.
    pub fn new(api: WebSocketApi, region: &str, invoke: Arc<dyn Invoke>, options: WebSocketOptions) -> Self {
        Self::with_quotas(api, region, invoke, options, Quotas::default())
    }

    /// Creates a gateway whose handshakes, messages and requests to `@connections` count against the account's quotas.
    pub fn with_quotas(
        api: WebSocketApi,
        region: &str,
        invoke: Arc<dyn Invoke>,
        options: WebSocketOptions,
        quotas: Quotas,
    ) -> Self {
        let names = ApiNames {
            api_id: api.id.clone(),
            stage: api.stage.clone(),
            domain_name: format!("{}.execute-api.{region}.amazonaws.com", api.id),
        };
        let (connections, throttles, tracker) =
            (Connections::default(), Throttles::new(&api.routes), TaskTracker::new());
        Self { inner: Arc::new(Inner { api, names, invoke, options, connections, throttles, quotas, tracker }) }
    }

    /// Returns the API as a service: sockets on `/` and `/{stage}`, and `@connections` below both.
    ///
    /// A request to `@connections` must be signed with Signature Version 4. The signature is not verified.
    pub fn router(&self) -> Router {
        let inner = Arc::clone(&self.inner);
        Router::new().fallback(move |request: Request| answer(Arc::clone(&inner), request))
    }

    /// Closes every socket with 1001, rejects new ones, and waits until `$disconnect` has run for each client. Waits
    /// for `grace` at most.
    pub async fn shutdown(&self, grace: Duration) {
        for connection in self.inner.connections.stop() {
            connection.close(close_code::AWAY, socket::GOING_AWAY);
        }
        self.inner.tracker.close();
        if tokio::time::timeout(grace, self.inner.tracker.wait()).await.is_err() {
            tracing::warn!(
                unfinished = self.inner.tracker.len(),
                "the WebSocket gateway stopped with unfinished tasks"
            );
        }
    }
}

impl Inner {
    fn route(&self, key: &str) -> Option<&Route> {
        self.api.routes.iter().find(|route| route.route_key == key)
    }

    fn route_of(&self, text: &str) -> Option<&Route> {
        socket::select(&self.api.routes, &self.api.route_selection_expression, text)
    }
}

/// A client that `$connect` has accepted. Its drop ends the connection for `@connections` and runs `$disconnect`. Thus
/// `$disconnect` runs exactly once.
struct Session {
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    outbound: Option<mpsc::Receiver<Message>>,
    _tracked: TaskTrackerToken,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inner.connections.remove(&self.connection.id);
        // Has an effect only if no other reason is recorded: the client disappeared without a close frame.
        self.connection.closed_by_client(connection::ABNORMAL, "");
        let Ok(runtime) = Handle::try_current() else { return };
        let (inner, connection) = (Arc::clone(&self.inner), Arc::clone(&self.connection));
        let disconnect = async move {
            if let Some(route) = inner.route("$disconnect") {
                // The result has no receiver, and `call` has logged a failure.
                let _ = call(&inner.invoke, route, event::disconnect(&inner.names, &connection)).await;
            }
        };
        self.inner.tracker.spawn_on(disconnect, &runtime);
    }
}

async fn answer(inner: Arc<Inner>, request: Request) -> Response<Body> {
    let valid_host = wire::has_valid_host(&request);
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if !valid_host {
        return plain(StatusCode::BAD_REQUEST, &json!({"message": "Bad Request"}));
    }
    if let Some(id) = management::connection_id(path, &inner.api.stage) {
        return management::answer(&inner, &id, parts, body).await;
    }
    let stage = path.trim_matches('/');
    if stage.is_empty() || stage == inner.api.stage {
        handshake(inner, parts).await
    } else {
        plain(StatusCode::FORBIDDEN, &json!({"message": "Forbidden"}))
    }
}

/// A client that `$connect` accepted, with the subprotocol that the function chose.
struct Admission {
    session: Session,
    subprotocol: Option<HeaderValue>,
}

async fn handshake(inner: Arc<Inner>, mut parts: Parts) -> Response<Body> {
    if let Some(refusal) = opening::refusal(&parts) {
        return refusal;
    }
    // The library reads only the first line of each.
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let Ok(mut upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return opening::upgrade_required();
    };
    if inner.connections.is_stopping() {
        return stopping();
    }
    if !inner.quotas.admits_connect() {
        return plain(StatusCode::TOO_MANY_REQUESTS, &json!({"message": "Too Many Requests"}));
    }
    let (decide, decision) = oneshot::channel();
    // Runs as its own task, because this future is dropped when the client disconnects. `$connect` still runs to its
    // end. If it accepts the client, its session is dropped, which runs `$disconnect`.
    let admitting = accept_handshake(Arc::clone(&inner), parts);
    inner.tracker.spawn(async move { decide.send(admitting.await).map_err(drop) });
    match decision.await {
        Ok(Ok(Admission { session, subprotocol })) => {
            if let Some(subprotocol) = subprotocol {
                upgrade.set_selected_protocol(subprotocol);
            }
            upgrade
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(0)
                .max_message_size(MESSAGE_LIMIT)
                .max_frame_size(FRAME_LIMIT)
                .on_upgrade(|socket| socket::run(session, socket))
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => plain(StatusCode::BAD_GATEWAY, &json!({"message": "Internal server error"})),
    }
}

/// Runs `$connect`. The connection exists for `@connections` only after the function has accepted it.
async fn accept_handshake(inner: Arc<Inner>, parts: Parts) -> Result<Admission, Response<Body>> {
    let (sender, receiver) = mpsc::channel(inner.options.queue_length.max(1));
    let connection = Arc::new(Connection::new(
        identifiers::extended_request_id(),
        Timestamp::now(),
        wire::source_ip(&parts).to_string(),
        wire::user_agent(&parts.headers),
        parts.headers.get(header::HOST).map_or_else(|| inner.names.domain_name.clone(), wire::lossy),
        sender,
    ));
    let mut subprotocol = None;
    if let Some(route) = inner.route("$connect") {
        let request_id = identifiers::extended_request_id();
        let event = event::connect(&inner.names, &connection, &parts, &request_id);
        let answer = call(&inner.invoke, route, event).await.map_err(|_| {
            let body = json!({
                "message": "Internal server error", "connectionId": connection.id, "requestId": request_id,
            });
            plain(StatusCode::BAD_GATEWAY, &body)
        })?;
        if !answer.status.is_success() {
            // The client receives the status, but not the function's body and headers.
            let mut refusal = Response::new(Body::empty());
            *refusal.status_mut() = answer.status;
            return Err(refusal);
        }
        subprotocol = answer.subprotocol.and_then(|name| HeaderValue::from_str(&name).ok());
    }
    let tracked = inner.tracker.token();
    let session = Session { inner: Arc::clone(&inner), connection, outbound: Some(receiver), _tracked: tracked };
    if !inner.connections.insert(&session.connection) {
        session.connection.close(close_code::AWAY, socket::GOING_AWAY);
        return Err(stopping());
    }
    Ok(Admission { session, subprotocol })
}

fn stopping() -> Response<Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE, &json!({"message": "Service Unavailable"}))
}

fn plain(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
