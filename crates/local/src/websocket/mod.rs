//! API Gateway's WebSocket API: handshakes, routes, and `@connections`.
//!
//! | behaviour | source |
//! | --- | --- |
//! | the upgrade waits for `$connect` and is refused with its status | "Manage connected users and client apps: `$connect` and `$disconnect` routes" |
//! | a subprotocol is echoed when the function returned `Sec-WebSocket-Protocol`, and only then | "WebSocket APIs: `$connect` route requiring a subprotocol" |
//! | an unmatched frame goes to `$default` | "Create routes for WebSocket APIs" |
//! | 10 minutes idle, 2 hours at most, 128 KB a message | "Quotas for configuring and running a WebSocket API" |
//! | binary frames close the socket with 1003 | "Binary media types for WebSocket APIs" |
//!
//! An assumption: pings and pongs do not count as activity. API Gateway also closes on client *frames* over 32 KB;
//! this gateway only counts whole messages.

mod connection;
mod event;
mod management;
mod registry;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, Request, State, WebSocketUpgrade},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::{lambda::Invoke, stack::WebSocketApi};

use connection::{Closed, Connection};
use registry::Registry;

/// Largest message in either direction ("Quotas for configuring and running a WebSocket API").
pub const MESSAGE_BYTES: usize = 128 * 1024;

/// What is read of an oversized message before the socket is given up, so that the client gets its 1009.
const READ_BYTES: usize = 16 * 1024 * 1024;

/// How the gateway treats sockets; the defaults are API Gateway's.
#[derive(Debug, Clone)]
pub struct WebSocketOptions {
    /// A socket without a message in either direction for this long is closed.
    pub idle_timeout: Duration,
    /// A socket that is this old is closed.
    pub maximum_duration: Duration,
    /// How long a post waits for a client that does not read.
    pub slow_client_timeout: Duration,
    /// Messages that wait for one client.
    pub queue_messages: usize,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_mins(10),
            maximum_duration: Duration::from_hours(2),
            slow_client_timeout: Duration::from_secs(2),
            queue_messages: 256,
        }
    }
}

/// A WebSocket API.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    api: WebSocketApi,
    domain_name: String,
    options: WebSocketOptions,
    invoke: Arc<dyn Invoke>,
    registry: Registry,
    tasks: TaskTracker,
}

impl Gateway {
    /// A gateway for `api`, whose functions run through `invoke`.
    #[must_use]
    pub fn new(api: WebSocketApi, region: &str, invoke: Arc<dyn Invoke>, options: WebSocketOptions) -> Self {
        let domain_name = format!("{}.execute-api.{region}.amazonaws.com", api.id);
        let (registry, tasks) = (Registry::default(), TaskTracker::new());
        Self(Arc::new(Inner { api, domain_name, options, invoke, registry, tasks }))
    }

    /// Sockets on `/` and `/{stage}`, and `@connections` below both. Serve it with connect info.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.0.registry.len()
    }

    /// Closes every socket with 1001 and waits, up to `grace`, until `$disconnect` has run for each.
    pub async fn shutdown(&self, grace: Duration) {
        for connection in self.0.registry.drain() {
            connection.close(Closed::by_server(1001, "Going away"));
        }
        self.0.tasks.close();
        // What is left after the grace is best effort, like `$disconnect` itself.
        let _ = tokio::time::timeout(grace, self.0.tasks.wait()).await;
    }

    /// Runs a route's function; its JSON answer, or `None` when it failed or took too long.
    async fn run(&self, route_key: &str, event: &Value) -> Option<Value> {
        let route = self.0.api.routes.iter().find(|route| route.route_key == route_key)?;
        let payload = Bytes::from(event.to_string());
        let invoked = tokio::time::timeout(route.timeout, self.0.invoke.invoke(&route.function, payload)).await;
        match invoked {
            Ok(Ok(invocation)) => match invocation.outcome {
                Ok(answer) => serde_json::from_slice(&answer).ok(),
                Err(error) => {
                    tracing::warn!(route_key, function = route.function, %error, "a function failed");
                    None
                }
            },
            Ok(Err(error)) => {
                tracing::warn!(route_key, function = route.function, %error, "a function could not be invoked");
                None
            }
            Err(_) => {
                tracing::warn!(route_key, function = route.function, "a function took too long");
                None
            }
        }
    }

    fn has_route(&self, route_key: &str) -> bool {
        self.0.api.routes.iter().any(|route| route.route_key == route_key)
    }
}

async fn serve(State(gateway): State<Gateway>, request: Request) -> Response {
    let segments: Vec<&str> = request.uri().path().split('/').filter(|segment| !segment.is_empty()).collect();
    let stage = gateway.0.api.stage.as_str();
    match segments.as_slice() {
        ["@connections", id] => {
            let id = (*id).to_owned();
            management::serve(&gateway, &id, request).await
        }
        [of, "@connections", id] if *of == stage => {
            let id = (*id).to_owned();
            management::serve(&gateway, &id, request).await
        }
        [] => handshake(gateway, request).await,
        [of] if *of == stage => handshake(gateway, request).await,
        _ => refuse(StatusCode::FORBIDDEN),
    }
}

/// API Gateway's own small body; a function's body never reaches the client.
fn refuse(status: StatusCode) -> Response {
    let message = match status {
        StatusCode::BAD_GATEWAY => "Internal server error",
        status => status.canonical_reason().unwrap_or("Refused"),
    };
    let body = Body::from(serde_json::json!({ "message": message }).to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// What a handshake came to.
struct Accepted {
    connection: Arc<Connection>,
    queue: connection::Queue,
    subprotocol: Option<HeaderValue>,
}

async fn handshake(gateway: Gateway, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade.max_message_size(READ_BYTES).max_frame_size(READ_BYTES),
        Err(_) => return (StatusCode::UPGRADE_REQUIRED, "this address takes WebSocket handshakes").into_response(),
    };
    let client = event::Client::new(&parts, peer);

    // In a task of its own, for a client that leaves meanwhile must not leave half a connection behind.
    let (answer, answered) = oneshot::channel();
    let tasks = gateway.0.tasks.clone();
    tasks.spawn(async move {
        let outcome = connect(&gateway, &client).await;
        if let Err(Ok(accepted)) = answer.send(outcome.map(|accepted| (gateway.clone(), client, accepted))) {
            let (gateway, client, accepted) = accepted;
            disconnect(&gateway, &client, &accepted.connection, &Closed::vanished()).await;
        }
    });
    let (gateway, client, accepted) = match answered.await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(status)) => return refuse(status),
        Err(_) => return refuse(StatusCode::BAD_GATEWAY),
    };

    let Accepted { connection, queue, subprotocol } = accepted;
    let client = Arc::new(client);
    let failed = {
        let (gateway, client, connection) = (gateway.clone(), client.clone(), connection.clone());
        move |_| {
            let tasks = gateway.0.tasks.clone();
            tasks.spawn(async move { disconnect(&gateway, &client, &connection, &Closed::vanished()).await });
        }
    };
    let mut response = upgrade.on_failed_upgrade(failed).on_upgrade(move |socket| {
        let tasks = gateway.0.tasks.clone();
        tasks.track_future(async move {
            let closed = connection::run(&gateway, &connection, queue, socket).await;
            disconnect(&gateway, &client, &connection, &closed).await;
        })
    });
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    response
}

/// Runs `$connect`. Once it has answered 2xx the connection takes posts, even before its socket is up.
async fn connect(gateway: &Gateway, client: &event::Client) -> Result<Accepted, StatusCode> {
    let (connection, queue) = Connection::new(client, gateway.0.options.queue_messages);
    let mut subprotocol = None;
    if gateway.has_route("$connect") {
        let event = event::connect(gateway, client, &connection);
        let answer = gateway.run("$connect", &event).await.ok_or(StatusCode::BAD_GATEWAY)?;
        let status = answer.get("statusCode").and_then(event::status_code).ok_or(StatusCode::BAD_GATEWAY)?;
        if !status.is_success() {
            return Err(status);
        }
        subprotocol =
            event::header(&answer, "sec-websocket-protocol").and_then(|text| HeaderValue::try_from(text).ok());
    }
    let connection = Arc::new(connection);
    gateway.0.registry.insert(connection.clone());
    Ok(Accepted { connection, queue, subprotocol })
}

/// Ends a connection: it takes no posts any more, and `$disconnect` runs once.
async fn disconnect(gateway: &Gateway, client: &event::Client, connection: &Connection, closed: &Closed) {
    gateway.0.registry.remove(&connection.id);
    if gateway.has_route("$disconnect") {
        let event = event::disconnect(gateway, client, connection, closed);
        gateway.run("$disconnect", &event).await;
    }
}
