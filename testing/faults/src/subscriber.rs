//! A subscriber that follows the protocol with the log of the Rust client. After a gap or a reconnect it reads the history
//! and the missed changes. It reconnects after a pause with jitter.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use serde::de::DeserializeOwned;
use switchboard_client::{
    Changes, ChannelLog, Event, EventKind, Frame, Handshake, Message, Method, Need, Page, Socket,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

pub(crate) use switchboard_client::Refused;

use crate::{
    client::{User, backoff},
    held::{contradicts, differs, shorten},
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

/// Log of each channel of a subscriber.
#[derive(Debug, Clone)]
struct Logs {
    user: String,
    logs: Arc<Mutex<BTreeMap<String, ChannelLog>>>,
}

impl Logs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, ChannelLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the log of a channel to `with`.
    fn with<T>(&self, channel: &str, with: impl FnOnce(&mut ChannelLog) -> T) -> T {
        with(self.all().entry(channel.to_owned()).or_insert_with(|| ChannelLog::new(&self.user)))
    }
}

/// Handle of a running subscriber.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) name: String,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    logs: Logs,
    task: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// Passes the log that the subscriber holds of a channel to `look`. The contents of its messages are their digests.
    pub(crate) fn read<T>(&self, channel: &str, look: impl FnOnce(&ChannelLog) -> T) -> T {
        self.logs.with(channel, |log| look(log))
    }

    /// Returns the number of messages up to which the subscriber shows all messages of a channel.
    pub(crate) fn count(&self, channel: &str) -> usize {
        self.read(channel, |log| usize::try_from(log.settled()).unwrap_or(usize::MAX))
    }

    /// Returns the number up to which the subscriber has all changes of a channel.
    pub(crate) fn known(&self, channel: &str) -> Option<u64> {
        self.read(channel, ChannelLog::known)
    }

    pub(crate) fn channels(&self) -> Vec<String> {
        self.logs.all().keys().cloned().collect()
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
    let channels: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
    let empty = channels.iter().map(|channel| (channel.clone(), ChannelLog::new(&user.name))).collect();
    let logs = Logs { user: user.name.clone(), logs: Arc::new(Mutex::new(empty)) };
    let (orders, inbox) = mpsc::unbounded_channel();
    let name = format!("{} on {}", user.name, channels.join(","));
    let chance = StdRng::seed_from_u64(seed);
    let subscriber = Subscriber { user, channels, logs: logs.clone(), orders: inbox, chance, buffer };
    Handle { name, orders, logs, task: tokio::spawn(subscriber.run()) }
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
        if !self.channels.contains(&channel) {
            return ledger.violation(format!("{} got a frame of {channel}: {text}", self.user.name));
        }
        match frame {
            Frame::Events { events, .. } => events.into_iter().for_each(|event| self.take_event(&channel, event)),
            frame => self.logs.with(&channel, |log| log.take_frame(frame)),
        }
        let found = match self.logs.with(&channel, |log| log.need()) {
            Need::Nothing => return,
            Need::Reload | Need::MessagesAfter(_) => "gaps found",
            Need::ChangesAfter(_) => "missed changes found",
        };
        self.user.shared.ledger.count(found);
        self.catch_up(&channel).await;
    }

    /// Counts an event, checks that it contradicts no held message, and applies it.
    fn take_event(&self, channel: &str, mut event: Event) {
        let ledger = &self.user.shared.ledger;
        let is_created = event.kind == EventKind::Created;
        ledger.count(if is_created { "messages pushed" } else { "changes pushed" });
        event.message.iter_mut().for_each(shorten);
        let (is_again, wrong) = self.logs.with(channel, |log| {
            let (is_again, wrong) = (is_created && log.message(event.seq).is_some(), contradicts(log, &event));
            log.take_events(vec![event]);
            (is_again, wrong)
        });
        if is_again {
            ledger.count("messages pushed again");
        }
        if let Some(wrong) = wrong {
            self.violation(channel, &wrong);
        }
    }

    fn violation(&self, channel: &str, what: &str) {
        self.user.shared.ledger.violation(format!("{} got of {channel}: {what}", self.user.name));
    }

    /// Checks that a message of a page does not contradict the held one.
    fn compare(&self, channel: &str, message: &Message) {
        if let Some(wrong) = self.logs.with(channel, |log| differs(log, message)) {
            self.violation(channel, &wrong);
        }
    }

    /// Reads the messages after the last one, and then all that the log needs.
    async fn catch_up(&mut self, channel: &str) {
        self.user.shared.ledger.count("catch-ups");
        let mut read = self.read_messages(channel).await;
        while read.is_some() {
            read = match self.logs.with(channel, |log| log.need()) {
                Need::Nothing => return,
                // A subscriber shows the whole history: it begins with the first message.
                Need::Reload | Need::MessagesAfter(_) => self.read_messages(channel).await,
                Need::ChangesAfter(known) => self.read_changes(channel, known).await,
            };
        }
    }

    /// Requests a page. Returns `None` if it is refused, or not as documented.
    async fn page<T: DeserializeOwned>(&mut self, channel: &str, query: &str) -> Option<T> {
        let path = format!("/channels/{channel}/{query}&limit={PAGE}");
        let page = self.user.request_until_answered(Method::GET, &path, None, None, &mut self.chance).await;
        if !page.is_success() {
            self.violation(channel, &format!("{} for {query}", page.status));
            return None;
        }
        match serde_json::from_value(page.body) {
            Ok(page) => Some(page),
            Err(error) => {
                self.violation(channel, &format!("another page than documented for {query}: {error}"));
                None
            }
        }
    }

    /// Reads the messages after the last one, page by page. Returns `None` if that fails.
    async fn read_messages(&mut self, channel: &str) -> Option<()> {
        loop {
            let after = self.logs.with(channel, |log| {
                log.ask();
                log.settled()
            });
            let mut page: Page = self.page(channel, &format!("messages?after={after}")).await?;
            page.messages.iter_mut().for_each(shorten);
            for (message, next) in page.messages.iter().zip(after + 1..) {
                if message.seq != next {
                    self.violation(channel, &format!("a history after {after} that continues with {}", message.seq));
                    return None;
                }
                self.compare(channel, message);
            }
            let has_more = page.has_more;
            self.logs.with(channel, |log| log.take_page(page));
            if !has_more {
                return Some(());
            }
        }
    }

    /// Reads the changes after a number, page by page. Returns `None` if that fails.
    async fn read_changes(&mut self, channel: &str, known: u64) -> Option<()> {
        self.user.shared.ledger.count("reads of changes");
        let mut after = known;
        loop {
            self.logs.with(channel, ChannelLog::ask);
            let mut page: Changes = self.page(channel, &format!("changes?after={after}")).await?;
            let mut last = after;
            for change in &mut page.changes {
                if change.rev <= last {
                    let rev = change.rev;
                    self.violation(channel, &format!("changes after {after} with {rev} after {last}"));
                }
                last = change.rev;
                shorten(&mut change.message);
                self.compare(channel, &change.message);
            }
            match self.logs.with(channel, |log| log.take_changes(page)) {
                Some(next) => after = next,
                None => return Some(()),
            }
        }
    }
}
