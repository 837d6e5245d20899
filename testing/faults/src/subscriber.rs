//! A subscriber that follows the protocol: it ignores duplicates by `seq` and `version`. After a gap or a reconnect it
//! reads the history and the missed changes. It reconnects after a pause with jitter.

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
    shown::{Applied, Log, Place, Shown},
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

/// State that a subscriber holds of each channel.
pub(crate) type Logs = Arc<Mutex<BTreeMap<String, Log>>>;

/// Handle of a running subscriber.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) name: String,
    pub(crate) logs: Logs,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    task: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// Returns the state that the subscriber holds of a channel.
    pub(crate) fn log(&self, channel: &str) -> Log {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned().unwrap_or_default()
    }

    /// Returns the number of messages that the subscriber shows of a channel.
    pub(crate) fn count(&self, channel: &str) -> usize {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(channel).map_or(0, |log| log.messages.len())
    }

    /// Returns the number up to which the subscriber has all changes of a channel.
    pub(crate) fn known(&self, channel: &str) -> Option<u64> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(channel).and_then(|log| log.known)
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
    let logs: Logs = Arc::new(Mutex::new(channels.iter().map(|channel| (channel.clone(), Log::default())).collect()));
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
            self.take_event(&channel, event).await;
        }
    }

    async fn take_event(&mut self, channel: &str, event: &Value) {
        let ledger = &self.user.shared.ledger;
        if event["type"] == "message.created" {
            ledger.count("messages pushed");
            match self.show(channel, &event["message"]) {
                Place::Next => {}
                Place::Known => self.user.shared.ledger.count("messages pushed again"),
                Place::AfterGap => {
                    self.user.shared.ledger.count("gaps found");
                    self.catch_up(channel).await;
                }
            }
            return;
        }
        ledger.count("changes pushed");
        match self.with_log(channel, |log| log.apply(event)) {
            Ok(Applied::Done) => {}
            Ok(Applied::Missed) => {
                self.user.shared.ledger.count("missed changes found");
                self.catch_up(channel).await;
            }
            Err(violation) => self.violation(channel, &violation),
        }
    }

    fn with_log<T>(&self, channel: &str, with: impl FnOnce(&mut Log) -> T) -> T {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        with(logs.entry(channel.to_owned()).or_default())
    }

    fn violation(&self, channel: &str, what: &str) {
        self.user.shared.ledger.violation(format!("{} got of {channel}: {what}", self.user.name));
    }

    /// Shows a message if it is the next one, or newer than the shown one.
    fn show(&self, channel: &str, message: &Value) -> Place {
        let Some((seq, shown)) = Shown::of(message) else {
            self.violation(channel, &format!("a message without a field: {message}"));
            return Place::Known;
        };
        self.with_log(channel, |log| log.put(seq, shown)).unwrap_or_else(|violation| {
            self.violation(channel, &violation);
            Place::Known
        })
    }

    /// Reads the messages after the last shown one, and the changes after the last known one.
    async fn catch_up(&mut self, channel: &str) {
        self.user.shared.ledger.count("catch-ups");
        // A change of a message that is not shown yet leads to another round.
        while let Some(newest) = self.read_messages(channel).await {
            let known = self.with_log(channel, |log| log.known.unwrap_or_default());
            if newest <= known || self.read_changes(channel, known).await != Some(Place::AfterGap) {
                return;
            }
        }
    }

    /// Requests a page. Returns `None` if it is refused.
    async fn page(&mut self, channel: &str, query: &str) -> Option<Value> {
        let path = format!("/channels/{channel}/{query}&limit={PAGE}");
        let page = self.user.request_until_answered(Method::GET, &path, None, None, &mut self.chance).await;
        if !page.is_success() {
            self.violation(channel, &format!("{} for {query}", page.status));
            return None;
        }
        Some(page.body)
    }

    /// Reads the messages after the last shown one, page by page. Returns the number of the newest change.
    async fn read_messages(&mut self, channel: &str) -> Option<u64> {
        loop {
            let after = self.with_log(channel, |log| log.messages.len());
            let page = self.page(channel, &format!("messages?after={after}")).await?;
            let Some(newest) = page["rev"].as_u64() else {
                self.violation(channel, &format!("a page after {after} without the number of changes"));
                return None;
            };
            // The messages of later pages have all changes up to the number of the first page, too.
            self.with_log(channel, |log| *log.known.get_or_insert(newest));
            for message in page["messages"].as_array().map(Vec::as_slice).unwrap_or_default() {
                if self.show(channel, message) == Place::AfterGap {
                    self.violation(channel, &format!("a history after {after} that continues with {}", message["seq"]));
                    return None;
                }
            }
            if page["has_more"] != true {
                return Some(newest);
            }
        }
    }

    /// Reads the changes after a number, page by page. Returns whether one is of a message that is not shown yet.
    async fn read_changes(&mut self, channel: &str, known: u64) -> Option<Place> {
        self.user.shared.ledger.count("reads of changes");
        let (mut place, mut after) = (Place::Known, known);
        loop {
            let page = self.page(channel, &format!("changes?after={after}")).await?;
            let mut last = after;
            for change in page["changes"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let rev = change["rev"].as_u64().unwrap_or_default();
                if rev <= last {
                    self.violation(channel, &format!("changes after {after} with {rev} after {last}"));
                }
                last = rev;
                if self.show_changed(channel, &change["message"]) == Place::AfterGap {
                    place = Place::AfterGap;
                }
            }
            if page["has_more"] == true {
                after = page["next"]["after"].as_u64()?;
                continue;
            }
            let newest = page["rev"].as_u64()?;
            self.with_log(channel, |log| log.known = log.known.max(Some(newest)));
            return Some(place);
        }
    }

    /// Shows the newer version of a shown message. A change of another message adds none.
    fn show_changed(&self, channel: &str, message: &Value) -> Place {
        let count = self.with_log(channel, |log| log.messages.len());
        let is_shown = message["seq"].as_u64().is_some_and(|seq| usize::try_from(seq).is_ok_and(|seq| seq <= count));
        if is_shown { self.show(channel, message) } else { Place::AfterGap }
    }
}
