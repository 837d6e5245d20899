//! One socket, from its upgrade to its close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use futures::{SinkExt, StreamExt, stream::SplitSink};
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::{Gateway, MESSAGE_BYTES, event};

/// Messages of one client whose functions run at the same time.
const MESSAGES_AT_ONCE: usize = 8;

/// How long a closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What waits for a client.
#[derive(Debug)]
pub(super) enum Outgoing {
    Text(Utf8Bytes),
    Close(Closed),
}

pub(super) type Queue = mpsc::Receiver<Outgoing>;

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Closed {
    pub(super) fn by_server(code: u16, reason: &str) -> Self {
        Self { code, reason: reason.to_owned() }
    }

    /// No closing handshake: RFC 6455 reserves 1006 for it.
    pub(super) fn vanished() -> Self {
        Self::by_server(1006, "Connection closed abnormally")
    }
}

/// A connection that takes posts.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) connected_at: Timestamp,
    pub(super) source_ip: String,
    pub(super) user_agent: Option<String>,
    last_active_millis: AtomicI64,
    queue: mpsc::Sender<Outgoing>,
    // Beside the queue: a close must get through when the queue is full.
    close: mpsc::UnboundedSender<Closed>,
    closing: std::sync::Mutex<Option<mpsc::UnboundedReceiver<Closed>>>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The client does not read.
    Slow,
    /// The socket has ended.
    Gone,
}

impl Connection {
    pub(super) fn new(client: &event::Client, queue_messages: usize) -> (Self, Queue) {
        let (queue, receiver) = mpsc::channel(queue_messages);
        let (close, closing) = mpsc::unbounded_channel();
        let connected_at = Timestamp::now();
        let connection = Self {
            id: new_id(),
            connected_at,
            source_ip: client.source_ip.clone(),
            user_agent: client.user_agent.clone(),
            last_active_millis: AtomicI64::new(connected_at.as_millisecond()),
            queue,
            close,
            closing: std::sync::Mutex::new(Some(closing)),
        };
        (connection, receiver)
    }

    /// Queues a text frame; waits up to `patience` when the queue is full.
    pub(super) async fn send(&self, text: Utf8Bytes, patience: Duration) -> Result<(), NotTaken> {
        match self.queue.send_timeout(Outgoing::Text(text), patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(NotTaken::Slow),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(NotTaken::Gone),
        }
    }

    /// Asks the socket to close; what is queued before goes out first, if the client reads.
    pub(super) fn close(&self, closed: Closed) {
        if let Err(error) = self.queue.try_send(Outgoing::Close(closed)) {
            let (mpsc::error::TrySendError::Full(rest) | mpsc::error::TrySendError::Closed(rest)) = error;
            if let Outgoing::Close(closed) = rest {
                // The socket may have ended by itself meanwhile.
                let _ = self.close.send(closed);
            }
        }
    }

    pub(super) fn last_active_at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.last_active_millis.load(Ordering::Relaxed)).unwrap_or(self.connected_at)
    }

    fn touch(&self) {
        self.last_active_millis.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
    }
}

/// An id like API Gateway's: eleven random bytes in base64, of the alphabet that needs no care in URLs.
fn new_id() -> String {
    let bytes: [u8; 11] = rand::random();
    URL_SAFE.encode(bytes)
}

type Sink = SplitSink<WebSocket, Message>;

/// Runs a socket to its end.
pub(super) async fn run(
    gateway: &Gateway,
    connection: &Arc<Connection>,
    mut queue: Queue,
    socket: WebSocket,
) -> Closed {
    let options = &gateway.0.options;
    let (mut sink, mut stream) = socket.split();
    let closing = connection.closing.lock().ok().and_then(|mut closing| closing.take());
    let Some(mut closing) = closing else { return Closed::vanished() };
    let slots = Arc::new(Semaphore::new(MESSAGES_AT_ONCE));
    let over_at = Instant::now() + options.maximum_duration;
    let mut idle_at = Instant::now() + options.idle_timeout;
    loop {
        tokio::select! {
            outgoing = queue.recv() => match outgoing {
                Some(Outgoing::Text(text)) => {
                    connection.touch();
                    idle_at = Instant::now() + options.idle_timeout;
                    let sent = tokio::select! {
                        sent = sink.send(Message::Text(text)) => sent.is_ok(),
                        Some(closed) = closing.recv() => return close(&mut sink, closed).await,
                    };
                    if !sent {
                        return Closed::vanished();
                    }
                }
                Some(Outgoing::Close(closed)) => return close_and_wait(&mut sink, &mut stream, closed).await,
                None => return Closed::vanished(),
            },
            Some(closed) = closing.recv() => return close(&mut sink, closed).await,
            incoming = stream.next() => match incoming {
                Some(Ok(Message::Text(text))) => {
                    if text.len() > MESSAGE_BYTES {
                        return close_and_wait(&mut sink, &mut stream, Closed::by_server(1009, "Message too big")).await;
                    }
                    connection.touch();
                    idle_at = Instant::now() + options.idle_timeout;
                    let Ok(slot) = slots.clone().acquire_owned().await else { return Closed::vanished() };
                    let (gateway, connection) = (gateway.clone(), connection.clone());
                    let tasks = gateway.0.tasks.clone();
                    tasks.spawn(async move {
                        route(&gateway, &connection, &text).await;
                        drop(slot);
                    });
                }
                Some(Ok(Message::Binary(data))) => {
                    let closed = if data.len() > MESSAGE_BYTES {
                        Closed::by_server(1009, "Message too big")
                    } else {
                        Closed::by_server(1003, "Binary messages are not supported")
                    };
                    return close_and_wait(&mut sink, &mut stream, closed).await;
                }
                Some(Ok(Message::Close(frame))) => {
                    let closed = frame.map_or_else(
                        || Closed::by_server(1005, "Client-side close frame status not set"),
                        |frame| Closed { code: frame.code, reason: frame.reason.to_string() },
                    );
                    // The answer to the close is written with the next flush.
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.close()).await;
                    return closed;
                }
                // Pings are answered below this layer.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Err(error)) => {
                    let closed = match protocol_error(&error) {
                        Some(closed) => close(&mut sink, closed).await,
                        None => Closed::vanished(),
                    };
                    return closed;
                }
                None => return Closed::vanished(),
            },
            () = tokio::time::sleep_until(idle_at) => {
                return close_and_wait(&mut sink, &mut stream, Closed::by_server(1001, "Going away")).await;
            }
            () = tokio::time::sleep_until(over_at) => {
                return close_and_wait(&mut sink, &mut stream, Closed::by_server(1001, "Going away")).await;
            }
        }
    }
}

/// The close code for what a client did wrong; `None` when its connection broke.
fn protocol_error(error: &axum::Error) -> Option<Closed> {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let text = text.to_ascii_lowercase();
    if text.contains("too long") || text.contains("space limit") {
        Some(Closed::by_server(1009, "Message too big"))
    } else if text.contains("utf-8") || text.contains("utf8") {
        Some(Closed::by_server(1007, "Invalid UTF-8"))
    } else if text.contains("protocol") && !text.contains("without closing handshake") {
        Some(Closed::by_server(1002, "Protocol error"))
    } else {
        None
    }
}

async fn close(sink: &mut Sink, closed: Closed) -> Closed {
    let frame = CloseFrame { code: closed.code, reason: closed.reason.clone().into() };
    let closing = async {
        sink.send(Message::Close(Some(frame))).await?;
        sink.close().await
    };
    // The socket may be gone already, which is what was wanted.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    closed
}

/// Closes, and reads on until the client has answered: unread bytes would make the system reset the connection,
/// and the client would not see why.
async fn close_and_wait(
    sink: &mut Sink,
    stream: &mut futures::stream::SplitStream<WebSocket>,
    closed: Closed,
) -> Closed {
    let frame = CloseFrame { code: closed.code, reason: closed.reason.clone().into() };
    let closing = async {
        if sink.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(message)) = stream.next().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
            }
            let _ = sink.close().await;
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    closed
}

/// Runs the function of the route that a client's message selects, and sends back what the route answers.
async fn route(gateway: &Gateway, connection: &Connection, text: &str) {
    let selected = event::selected_route(&gateway.0.api.route_selection_expression, text);
    let route_key = selected.filter(|key| !key.starts_with('$') && gateway.has_route(key)).unwrap_or("$default".into());
    let request_id = event::request_id();
    let answer = if gateway.has_route(&route_key) {
        let event = event::message(gateway, connection, &route_key, &request_id, text);
        match gateway.run(&route_key, &event).await {
            Some(answer) => {
                let responds = gateway.0.api.routes.iter().any(|route| route.route_key == route_key && route.responds);
                let body = answer.get("body").and_then(serde_json::Value::as_str).filter(|_| responds);
                body.map(str::to_owned)
            }
            None => Some(event::gateway_message("Internal server error", connection, &request_id)),
        }
    } else {
        Some(event::gateway_message("Forbidden", connection, &request_id))
    };
    if let Some(answer) = answer {
        // A client that does not read, or has gone, misses the answer to its own message.
        let _ = connection.send(answer.into(), gateway.0.options.slow_client_timeout).await;
    }
}
