//! An open socket: its frames, its limits and its end.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket, close_code};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite;

use crate::{quotas::Source, rest::identifiers, stack::Route};

use super::{
    Inner, Session,
    call::{CallError, call},
    connection::{ABNORMAL, Connection, NO_STATUS},
    event,
};

/// `disconnectReason` and close reason of idle and expired connections, and of a stopping gateway.
pub(super) const GOING_AWAY: &str = "Going away";
/// `disconnectReason` of a client that sent no close code.
const NO_STATUS_REASON: &str = "Client-side close frame status not set";

/// Serves one client until its connection has ended.
pub(super) async fn run(mut session: Session, socket: WebSocket) {
    let inner = Arc::clone(&session.inner);
    let connection = Arc::clone(&session.connection);
    let Some(outbound) = session.outbound.take() else { return };
    // The closing handshake outlasts the session.
    let _tracked = inner.tracker.token();
    let close_timeout = inner.options.close_timeout;
    let (sink, mut stream) = socket.split();
    let writer = tokio::spawn(write(sink, outbound, Arc::clone(&connection), close_timeout));

    let readable = read(&inner, &connection, &mut stream).await;
    // After this drop, posts fail with 410 and `$disconnect` runs.
    drop(session);

    let closing = async {
        let _sink = writer.await;
        if readable {
            while let Some(Ok(_)) = stream.next().await {}
        } else {
            // Frames of the client are not read after this point. Closing the socket with unread data would reset the
            // connection and lose the close frame, so the client gets time to read it.
            sleep(close_timeout).await;
        }
    };
    // Writing ends within one `close_timeout`, the client's close frame arrives within another.
    let _ = timeout(close_timeout * 2, closing).await;
}

/// Writes the queued messages, then the close frame. Returns the sink, so that the socket stays open until the client
/// has responded.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut outbound: mpsc::Receiver<Message>,
    connection: Arc<Connection>,
    close_timeout: Duration,
) -> SplitSink<WebSocket, Message> {
    loop {
        let message = tokio::select! {
            biased;
            () = connection.closed() => break,
            message = outbound.recv() => message,
        };
        let Some(message) = message else { break };
        // A message that is interrupted while it is flushed is already in the sink's buffer, and is sent before later
        // ones.
        let sent = tokio::select! {
            biased;
            sent = sink.send(message) => sent,
            () = connection.closed() => break,
        };
        if let Err(error) = sent {
            tracing::debug!(connection = connection.id, %error, "the client disconnected");
            connection.closed_by_client(ABNORMAL, "");
            return sink;
        }
    }
    outbound.close();
    let final_frames = async {
        while let Some(message) = outbound.recv().await {
            sink.send(message).await?;
        }
        match connection.close_frame() {
            Some(frame) => sink.send(Message::Close(Some(frame))).await,
            None => sink.flush().await,
        }
    };
    let _ = timeout(close_timeout, final_frames).await;
    sink
}

/// Reads until the connection ends. Returns `true` if the stream can still be read.
async fn read(inner: &Arc<Inner>, connection: &Arc<Connection>, stream: &mut SplitStream<WebSocket>) -> bool {
    let options = &inner.options;
    let end = connection.opened + options.maximum_duration;
    let in_hand = Arc::new(Semaphore::new(options.concurrent_messages.max(1)));
    let mut permit = None;
    loop {
        let idle_end = connection.last_active() + options.idle_timeout;
        let frame = tokio::select! {
            biased;
            () = connection.closed() => return true,
            () = sleep_until(end) => {
                connection.close(close_code::AWAY, GOING_AWAY);
                return true;
            }
            () = sleep_until(idle_end) => {
                // A post may have been sent meanwhile.
                if connection.last_active() + options.idle_timeout <= idle_end {
                    connection.close(close_code::AWAY, GOING_AWAY);
                    return true;
                }
                continue;
            }
            // No frame is read before it can be handled, so that excess frames stay in the client's own buffers.
            free = Arc::clone(&in_hand).acquire_owned(), if permit.is_none() => {
                permit = free.ok();
                continue;
            }
            frame = stream.next(), if permit.is_some() => frame,
        };
        match frame {
            Some(Ok(Message::Text(text))) => {
                connection.touch();
                let handling =
                    handle(Arc::clone(inner), Arc::clone(connection), text.as_str().to_owned(), permit.take());
                inner.tracker.spawn(handling);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => connection.touch(),
            Some(Ok(Message::Binary(_))) => {
                // "Binary media types for WebSocket APIs in API Gateway": rejected, closed with 1003.
                connection.close(close_code::UNSUPPORTED, "Binary frames are not supported");
                return true;
            }
            Some(Ok(Message::Close(frame))) => {
                match frame {
                    Some(frame) => connection.closed_by_client(frame.code, &frame.reason),
                    None => connection.closed_by_client(NO_STATUS, NO_STATUS_REASON),
                }
                return true;
            }
            Some(Err(error)) => {
                end_by_error(connection, error);
                return false;
            }
            None => {
                connection.closed_by_client(ABNORMAL, "");
                return true;
            }
        }
    }
}

fn end_by_error(connection: &Connection, error: axum::Error) {
    use tungstenite::{Error, error::ProtocolError};
    tracing::debug!(connection = connection.id, %error, "the client's frame could not be read");
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => connection.close(close_code::SIZE, "Message too long"),
        Some(Error::Utf8(_)) => connection.close(close_code::INVALID, "Text is not UTF-8"),
        Some(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) | None => {
            connection.closed_by_client(ABNORMAL, "");
        }
        Some(Error::Protocol(_)) => connection.close(close_code::PROTOCOL, "Protocol error"),
        Some(_) => connection.closed_by_client(ABNORMAL, ""),
    }
}

/// Invokes the function for one text frame, and sends a response where API Gateway does.
async fn handle(inner: Arc<Inner>, connection: Arc<Connection>, text: String, _in_hand: Option<OwnedSemaphorePermit>) {
    let request_id = identifiers::extended_request_id();
    let error =
        |message: &str| json!({"message": message, "connectionId": connection.id, "requestId": request_id}).to_string();
    let is_admitted = inner.quotas.admits_request(Source::Message);
    let answer = match inner.route_of(&text) {
        _ if !is_admitted => Some(error("Too Many Requests")),
        None => Some(error("Forbidden")),
        Some(route) if !inner.throttles.admits(&route.route_key) => Some(error("Too Many Requests")),
        Some(route) => {
            let event = event::message(&inner.names, &connection, &route.route_key, &request_id, &text);
            match call(&inner.invoke, route, event).await {
                Ok(answer) => answer.body.filter(|_| route.responds),
                Err(CallError::TimedOut) => Some(error("Endpoint request timed out")),
                Err(CallError::Failed) => Some(error("Internal server error")),
            }
        }
    };
    if let Some(answer) = answer {
        // A failed send means that the connection has ended.
        if connection.outbound.send(Message::text(answer)).await.is_ok() {
            connection.touch();
        }
    }
}

/// Returns the route of a text frame: the one that the selection expression names, otherwise `$default`.
pub(super) fn select<'a>(routes: &'a [Route], expression: &str, text: &str) -> Option<&'a Route> {
    let named = |key: &str| routes.iter().find(|route| route.route_key == key);
    selected_key(expression, text)
        // `$connect` and `$disconnect` are events, which a client cannot select.
        .filter(|key| !key.starts_with('$'))
        .and_then(|key| named(&key))
        .or_else(|| named("$default"))
}

/// Returns the value of `$request.body.<property>` (or `${request.body.<property>}`) in a JSON frame.
fn selected_key(expression: &str, text: &str) -> Option<String> {
    let expression = expression.trim();
    let path = expression
        .strip_prefix("$request.body.")
        .or_else(|| expression.strip_prefix("${request.body.").and_then(|path| path.strip_suffix('}')))?;
    let body: Value = serde_json::from_str(text).ok()?;
    match path.split('.').try_fold(&body, |value, name| value.get(name))? {
        Value::String(key) => Some(key.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_routed_by_their_action() {
        let routes = ["$connect", "$disconnect", "$default", "sendmessage", "7"].map(|key| Route {
            route_key: key.into(),
            function: String::new(),
            timeout: Duration::from_secs(29),
            responds: false,
            throttle: None,
        });
        for (text, expected) in [
            (r#"{"action":"sendmessage"}"#, "sendmessage"),
            (r#"{"action":7}"#, "7"),
            (r#"{"action":"SendMessage"}"#, "$default"),
            (r#"{"action":"$connect"}"#, "$default"),
            (r#"{"action":"$disconnect"}"#, "$default"),
            (r#"{"action":["sendmessage"]}"#, "$default"),
            (r#"{"other":"sendmessage"}"#, "$default"),
            (r#""sendmessage""#, "$default"),
            ("[]", "$default"),
            ("hello", "$default"),
            ("", "$default"),
        ] {
            assert_eq!(select(&routes, "$request.body.action", text).unwrap().route_key, expected, "{text}");
        }
        assert!(select(&routes[..2], "$request.body.action", "hello").is_none());
        let nested = select(&routes, "${request.body.a.b}", r#"{"a":{"b":"sendmessage"}}"#);
        assert_eq!(nested.unwrap().route_key, "sendmessage");
    }
}
