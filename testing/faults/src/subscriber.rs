//! A subscriber that follows the protocol: it ignores duplicates by `seq`, and reads the history after a gap or a
//! reconnect. It reconnects after a pause with jitter.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use switchboard_client::{ChannelLog, Event, EventKind, Frame, Handshake, Message, Method, Need, Page, Socket};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

pub(crate) use switchboard_client::Refused;

use crate::{
    client::{User, backoff},
    ledger::digest,
};

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
    channels: BTreeMap<String, ChannelLog>,
    logs: Logs,
    orders: mpsc::UnboundedReceiver<Order>,
    chance: StdRng,
    buffer: Buffer,
}

/// Opens a socket for channels, with the token in its header.
pub(crate) async fn open(user: &User, token: &str, channels: &[String], buffer: Buffer) -> Result<Socket, Refused> {
    let handshake = Handshake::for_channels(&user.shared.websocket, channels).bearer(token);
    match buffer {
        Buffer::Ample => handshake.open().await,
        Buffer::Small => handshake.receive_buffer(SMALL_BUFFER).open().await,
    }
}

/// Starts a subscriber to `channels`, which runs until its handle is dropped.
pub(crate) fn subscribe(user: User, channels: &[&str], buffer: Buffer, seed: u64) -> Handle {
    let shown = channels.iter().map(|channel| ((*channel).to_owned(), Vec::new()));
    let logs: Logs = Arc::new(Mutex::new(shown.collect()));
    let (orders, inbox) = mpsc::unbounded_channel();
    let name = format!("{} on {}", user.name, channels.join(","));
    let chance = StdRng::seed_from_u64(seed);
    let channels = channels.iter().map(|channel| ((*channel).to_owned(), ChannelLog::new(&user.name))).collect();
    let subscriber = Subscriber { user, channels, logs: Arc::clone(&logs), orders: inbox, chance, buffer };
    Handle { name, logs, orders, task: tokio::spawn(subscriber.run()) }
}

impl Subscriber {
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let channels: Vec<String> = self.channels.keys().cloned().collect();
            match open(&self.user, &self.user.token(), &channels, self.buffer).await {
                Ok(socket) => {
                    self.user.shared.ledger.count("sockets opened");
                    let opened = Instant::now();
                    self.listen(socket).await;
                    if opened.elapsed() >= STABLE_AFTER {
                        attempt = 0;
                    }
                }
                Err(Refused::Status { status, .. }) if status != 429 && status < 500 => {
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
        for channel in self.channels.keys().cloned().collect::<Vec<_>>() {
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
                frame = socket.hear() => match frame {
                    Ok(text) => self.take(&text).await,
                    Err(_) => return,
                },
            }
        }
    }

    async fn take(&mut self, text: &str) {
        let ledger = &self.user.shared.ledger;
        let Ok(frame) = Frame::parse(text) else {
            return ledger.violation(format!("{} got a frame that is not as documented: {text}", self.user.name));
        };
        // Frames about the socket itself.
        if matches!(frame, Frame::Hello { .. } | Frame::Closing { .. }) {
            return;
        }
        let Some(channel) = frame.channel_id().map(str::to_owned) else {
            return ledger.violation(format!("{} got a frame of no channel: {text}", self.user.name));
        };
        if let Frame::Events { events, .. } = &frame {
            self.compare(&channel, events);
        }
        let Some(log) = self.channels.get_mut(&channel) else {
            return ledger.violation(format!("{} got a frame of {channel}: {text}", self.user.name));
        };
        log.take_frame(frame);
        let is_gap = matches!(log.need(), Need::Reload | Need::MessagesAfter(_));
        self.show(&channel);
        if is_gap {
            self.user.shared.ledger.count("gaps found");
            self.catch_up(&channel).await;
        }
    }

    /// Counts pushed messages, and compares them with those that are shown.
    fn compare(&self, channel: &str, events: &[Event]) {
        let ledger = &self.user.shared.ledger;
        let created = events.iter().filter(|event| event.kind == EventKind::Created);
        for message in created.filter_map(|event| event.message.as_ref()) {
            ledger.count("messages pushed");
            if self.log(channel).is_some_and(|log| log.message(message.seq).is_some()) {
                ledger.count("messages pushed again");
            }
            self.compare_message(channel, message);
        }
    }

    /// Checks that no two messages have the same number.
    fn compare_message(&self, channel: &str, message: &Message) {
        let known = self.log(channel).and_then(|log| log.message(message.seq));
        if known.is_some_and(|known| shown(known) != shown(message)) {
            let (name, seq) = (&self.user.name, message.seq);
            self.user.shared.ledger.violation(format!("{name} got two messages {seq} of {channel}"));
        }
    }

    fn log(&self, channel: &str) -> Option<&ChannelLog> {
        self.channels.get(channel)
    }

    /// Shows the messages up to which none is missing.
    fn show(&self, channel: &str) {
        let Some(log) = self.log(channel) else { return };
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let list = logs.entry(channel.to_owned()).or_default();
        while let Some(message) = next(list).filter(|seq| *seq <= log.settled()).and_then(|seq| log.message(seq)) {
            list.push(shown(message));
        }
    }

    /// Reads the messages after the last known one, page by page.
    async fn catch_up(&mut self, channel: &str) {
        self.user.shared.ledger.count("catch-ups");
        loop {
            let Some(log) = self.channels.get_mut(channel) else { return };
            log.ask();
            let after = log.settled();
            let path = format!("/channels/{channel}/messages?after={after}&limit={PAGE}");
            let page = self.user.request_until_answered(Method::GET, &path, None, None, &mut self.chance).await;
            let (ledger, name) = (&self.user.shared.ledger, &self.user.name);
            if !page.is_success() {
                return ledger.violation(format!("{name} read {channel} and got {}", page.status));
            }
            let page: Page = match serde_json::from_value(page.body) {
                Ok(page) => page,
                Err(error) => {
                    return ledger.violation(format!("{name} read a page that is not as documented: {error}"));
                }
            };
            for (message, seq) in page.messages.iter().zip(after + 1..) {
                if message.seq != seq {
                    let found = message.seq;
                    return ledger.violation(format!(
                        "the history of {channel} after {after} continues with {found} for {name}"
                    ));
                }
                self.compare_message(channel, message);
            }
            let has_more = page.has_more;
            if let Some(log) = self.channels.get_mut(channel) {
                log.take_page(page);
            }
            self.show(channel);
            if !has_more {
                return;
            }
        }
    }
}

/// Returns what is shown of a message.
fn shown(message: &Message) -> Shown {
    Shown { message_id: message.message_id.clone(), content: digest(&message.content) }
}

/// Returns the number of the message after those that are shown.
fn next(list: &[Shown]) -> Option<u64> {
    u64::try_from(list.len()).ok()?.checked_add(1)
}
