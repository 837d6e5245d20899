//! A subscriber that follows the protocol: it ignores duplicates by `seq`, and reads the history after a gap or a
//! reconnect. It reconnects after a pause with jitter.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use rand::{SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::{
    client::{User, backoff},
    ledger::digest,
};

/// Timeout of a handshake. API Gateway allows `$connect` 29 s.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// Duration after which a connection counts as stable: the next failure starts from the shortest wait.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Page size of history requests.
const PAGE: usize = 100;

/// Receive buffer, in bytes, of a client that does not read: small, so that pushes to it soon block.
const SMALL_BUFFER: u32 = 4 * 1024;

/// Size of the receive buffer of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    /// The system's default.
    Ample,
    /// A small buffer; such a client is also slow.
    Small,
}

/// An order to a subscriber.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Stop reading for this long.
    StopReading(Duration),
    /// Read again.
    Wake,
    /// Cut the socket without a closing handshake.
    Cut,
}

/// A message that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) message_id: String,
    pub(crate) content: u64,
}

/// Messages that a subscriber shows of each channel: message `n` at index `n - 1`.
pub(crate) type Logs = Arc<Mutex<BTreeMap<String, Vec<Shown>>>>;

/// Handle of a running subscriber.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) name: String,
    pub(crate) logs: Logs,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    task: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// Returns the messages that the subscriber shows of a channel.
    pub(crate) fn shown(&self, channel: &str) -> Vec<Shown> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned().unwrap_or_default()
    }

    /// Returns the number of messages that the subscriber shows of a channel.
    pub(crate) fn count(&self, channel: &str) -> usize {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(channel).map_or(0, Vec::len)
    }

    pub(crate) fn channels(&self) -> Vec<String> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Subscriber {
    user: User,
    channels: Vec<String>,
    logs: Logs,
    orders: mpsc::UnboundedReceiver<Order>,
    chance: StdRng,
    buffer: Buffer,
}

/// A client's end of a socket.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Reason for a failed handshake.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The response had this status.
    Status(u16),
    /// The stack did not respond, or closed the connection.
    Failed,
}

/// Opens a socket for channels, with the token in its header.
pub(crate) async fn open(user: &User, token: &str, channels: &[String], buffer: Buffer) -> Result<Socket, Refused> {
    let address = user.shared.websocket.strip_prefix("ws://").unwrap_or_default();
    let address = address.parse().map_err(|_| Refused::Failed)?;
    let url = format!("{}/?channels={}", user.shared.websocket, channels.join(","));
    let mut request = url.into_client_request().map_err(|_| Refused::Failed)?;
    let bearer = format!("Bearer {token}").parse().map_err(|_| Refused::Failed)?;
    request.headers_mut().insert("authorization", bearer);
    let handshake = async {
        let socket = TcpSocket::new_v4().map_err(|_| Refused::Failed)?;
        if buffer == Buffer::Small {
            let _ = socket.set_recv_buffer_size(SMALL_BUFFER);
        }
        let stream = socket.connect(address).await.map_err(|_| Refused::Failed)?;
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => Err(Refused::Status(response.status().as_u16())),
            Err(_) => Err(Refused::Failed),
        }
    };
    timeout(OPEN_WITHIN, handshake).await.unwrap_or(Err(Refused::Failed))
}

/// Starts a subscriber to `channels`, which runs until its handle is dropped.
pub(crate) fn subscribe(user: User, channels: &[&str], buffer: Buffer, seed: u64) -> Handle {
    let channels: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
    let logs: Logs = Arc::new(Mutex::new(channels.iter().map(|channel| (channel.clone(), Vec::new())).collect()));
    let (orders, inbox) = mpsc::unbounded_channel();
    let name = format!("{} on {}", user.name, channels.join(","));
    let chance = StdRng::seed_from_u64(seed);
    let subscriber = Subscriber { user, channels, logs: Arc::clone(&logs), orders: inbox, chance, buffer };
    Handle { name, logs, orders, task: tokio::spawn(subscriber.run()) }
}

impl Subscriber {
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            match open(&self.user, &self.user.token(), &self.channels, self.buffer).await {
                Ok(socket) => {
                    self.user.shared.ledger.count("sockets opened");
                    let opened = Instant::now();
                    self.listen(socket).await;
                    if opened.elapsed() >= STABLE_AFTER {
                        attempt = 0;
                    }
                }
                Err(Refused::Status(status)) if status != 429 && status < 500 => {
                    let name = &self.user.name;
                    self.user.shared.ledger.violation(format!("the response to the handshake of {name} is {status}"));
                }
                Err(_) => self.user.shared.ledger.count("failed handshakes"),
            }
            let pause = backoff(attempt, &mut self.chance);
            attempt += 1;
            sleep(pause).await;
        }
    }

    /// Reads frames until the socket ends or must be cut.
    async fn listen(&mut self, mut socket: Socket) {
        for channel in self.channels.clone() {
            self.catch_up(&channel).await;
        }
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    // Until the time is over, or the next order.
                    Some(Order::StopReading(duration)) => match timeout(duration, self.orders.recv()).await {
                        Ok(Some(Order::Cut) | None) => return,
                        Ok(Some(Order::StopReading(_) | Order::Wake)) | Err(_) => {}
                    },
                    Some(Order::Wake) => {}
                    // Dropped without a closing handshake.
                    Some(Order::Cut) | None => return,
                },
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.take(&text).await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
            }
        }
    }

    async fn take(&mut self, text: &str) {
        let ledger = &self.user.shared.ledger;
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return ledger.violation(format!("{} got a frame that is not JSON", self.user.name));
        };
        // Frames about the socket itself.
        if ["hello", "closing"].iter().any(|kind| frame["type"] == *kind) {
            return;
        }
        let Some(channel) = frame["channel_id"].as_str().map(str::to_owned) else {
            return ledger.violation(format!("{} got a frame of no channel: {frame}", self.user.name));
        };
        if !self.channels.contains(&channel) {
            return ledger.violation(format!("{} got a frame of {channel}: {frame}", self.user.name));
        }
        for event in frame["events"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if event["type"] != "message.created" {
                continue;
            }
            self.user.shared.ledger.count("messages pushed");
            match self.show(&channel, &event["message"]) {
                Place::Next => {}
                Place::Known => self.user.shared.ledger.count("messages pushed again"),
                Place::AfterGap => {
                    self.user.shared.ledger.count("gaps found");
                    self.catch_up(&channel).await;
                }
            }
        }
    }

    /// Shows a message if it is the next one.
    fn show(&self, channel: &str, message: &Value) -> Place {
        let ledger = &self.user.shared.ledger;
        let (Some(seq), Some(id)) = (message["seq"].as_u64(), message["message_id"].as_str()) else {
            ledger.violation(format!("{} got a message without a number or an id: {message}", self.user.name));
            return Place::Known;
        };
        let shown =
            Shown { message_id: id.to_owned(), content: digest(message["content"].as_str().unwrap_or_default()) };
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let log = logs.entry(channel.to_owned()).or_default();
        let index = usize::try_from(seq).unwrap_or(usize::MAX).wrapping_sub(1);
        match log.get(index) {
            Some(known) => {
                if *known != shown {
                    ledger.violation(format!("{} got two messages {seq} of {channel}", self.user.name));
                }
                Place::Known
            }
            None if index == log.len() => {
                log.push(shown);
                Place::Next
            }
            None => Place::AfterGap,
        }
    }

    /// Reads the messages after the last known one, page by page.
    async fn catch_up(&mut self, channel: &str) {
        self.user.shared.ledger.count("catch-ups");
        loop {
            let after = self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(channel).map_or(0, Vec::len);
            let path = format!("/channels/{channel}/messages?after={after}&limit={PAGE}");
            let page = self.user.request_until_answered(Method::GET, &path, None, None, &mut self.chance).await;
            if !page.is_success() {
                let (name, status) = (&self.user.name, page.status);
                return self.user.shared.ledger.violation(format!("{name} read {channel} and got {status}"));
            }
            for message in page.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default() {
                if matches!(self.show(channel, message), Place::AfterGap) {
                    let (name, seq) = (&self.user.name, &message["seq"]);
                    return self
                        .user
                        .shared
                        .ledger
                        .violation(format!("the history of {channel} after {after} continues with {seq} for {name}"));
                }
            }
            if page.body["has_more"] != true {
                return;
            }
        }
    }
}

/// Position of a message relative to the shown ones.
enum Place {
    Next,
    Known,
    AfterGap,
}
