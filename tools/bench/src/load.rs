//! Senders and listeners: measures the rate of messages, and the delay to each socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use switchboard_client::Socket;
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{Result, system::System};

/// Text before the number of a message in its content; [`FILLER`] follows the number.
const MARK: &str = "bench-";

/// Rest of the content: about as long as a typical message.
const FILLER: &str = "-Shall we meet at the station at half past six? The train leaves ten minutes later, I think.";

/// Maximum number of messages of one run.
const MESSAGES: usize = 200_000;

/// Concurrent handshakes.
const HANDSHAKES: usize = 32;

/// Time without frames before the sockets are used: presence events have arrived by then.
const SILENCE: Duration = Duration::from_millis(300);

/// Maximum time for sent messages to arrive.
const PATIENCE: Duration = Duration::from_mins(1);

/// State shared by senders and listeners.
struct Shared {
    epoch: Instant,
    sockets: usize,
    /// Send time by message, in nanoseconds from the epoch.
    sent: Vec<AtomicU64>,
    /// Number of sockets that received the message, by message.
    arrived: Vec<AtomicU32>,
    /// Number of messages that all sockets received.
    complete: AtomicUsize,
    /// Time of the newest frame, in nanoseconds from the epoch.
    newest: AtomicU64,
    next: AtomicUsize,
    came: Notify,
    stop: CancellationToken,
}

/// Result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    /// Number of messages that every socket received.
    pub(crate) messages: usize,
    /// Number of messages that were accepted, but did not reach every socket in time.
    pub(crate) missing: usize,
    /// Number of requests that were refused or failed.
    pub(crate) failures: usize,
    /// Time from the first request to the last frame.
    pub(crate) elapsed: Duration,
    /// Time from the start of a request to the frame, on each socket.
    pub(crate) pushes: Vec<Duration>,
    /// Time from the start of a request to its response.
    pub(crate) posts: Vec<Duration>,
}

/// Open sockets that listen to one channel.
pub(crate) struct Audience<'a> {
    system: &'a System,
    channel: String,
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<Vec<Duration>>>,
}

impl<'a> Audience<'a> {
    /// Opens `sockets` sockets, and waits until no frame arrives.
    pub(crate) async fn gather(system: &'a System, channel: &str, sockets: usize) -> Result<Self> {
        system.open_channel(channel).await?;
        let open: Vec<Socket> = open(system, channel, sockets).await?;
        let atomics = || (0..MESSAGES).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            sockets,
            sent: atomics(),
            arrived: (0..MESSAGES).map(|_| AtomicU32::new(0)).collect(),
            complete: AtomicUsize::new(0),
            newest: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            came: Notify::new(),
            stop: CancellationToken::new(),
        });
        let listeners = open.into_iter().map(|socket| tokio::spawn(hear(socket, Arc::clone(&shared)))).collect();
        while timeout(SILENCE, shared.came.notified()).await.is_ok() {}
        Ok(Self { system, channel: channel.to_owned(), shared, listeners })
    }

    /// Lets `senders` users send for `duration`, each one message after another, and waits for the last frame.
    pub(crate) async fn run(self, senders: usize, duration: Duration) -> Result<Run> {
        let Self { system, channel, shared, listeners } = self;
        let began = Instant::now();
        let send = async |sender: usize| {
            let (mut posts, mut failures) = (Vec::new(), 0);
            while began.elapsed() < duration {
                let number = shared.next.fetch_add(1, Ordering::Relaxed);
                let Some(sent) = shared.sent.get(number) else { break };
                let start = Instant::now();
                sent.store(nanoseconds(start - shared.epoch), Ordering::Release);
                match system.post(&channel, sender, &format!("{MARK}{number}{FILLER}")).await {
                    Ok(()) => posts.push(start.elapsed()),
                    Err(_) => failures += 1,
                }
            }
            (posts, failures)
        };
        let sent = futures::future::join_all((0..senders).map(send)).await;
        let (posts, failures): (Vec<_>, Vec<usize>) = sent.into_iter().unzip();
        let (posts, failures) = (posts.concat(), failures.into_iter().sum());
        let accepted = posts.len();
        let complete = || shared.complete.load(Ordering::Acquire);
        let last = Instant::now();
        while complete() < accepted && last.elapsed() < PATIENCE {
            let _ = timeout(Duration::from_millis(100), shared.came.notified()).await;
        }
        let messages = complete();
        let newest = Duration::from_nanos(shared.newest.load(Ordering::Acquire));
        shared.stop.cancel();
        let mut pushes = Vec::new();
        for listener in listeners {
            pushes.extend(listener.await?);
        }
        Ok(Run {
            messages,
            missing: accepted.saturating_sub(messages),
            failures,
            elapsed: (shared.epoch + newest).saturating_duration_since(began),
            pushes,
            posts,
        })
    }
}

/// Opens sockets concurrently.
pub(crate) async fn open(system: &System, channel: &str, sockets: usize) -> Result<Vec<Socket>> {
    futures::stream::iter(0..sockets)
        .map(|number| system.listen(channel, number))
        .buffer_unordered(HANDSHAKES)
        .try_collect()
        .await
}

/// Records the arrival of each message until it is stopped. Returns the delays.
async fn hear(mut socket: Socket, shared: Arc<Shared>) -> Vec<Duration> {
    let mut took = Vec::new();
    // A push may be repeated.
    let mut known = vec![false; MESSAGES];
    loop {
        let heard = tokio::select! {
            heard = socket.hear() => heard,
            () = shared.stop.cancelled() => break,
        };
        let Ok(text) = heard else { break };
        let now = nanoseconds(shared.epoch.elapsed());
        for number in numbers(&text) {
            let is_new = known.get_mut(number).is_some_and(|known| !std::mem::replace(known, true));
            if !is_new {
                continue;
            }
            took.push(Duration::from_nanos(now.saturating_sub(shared.sent[number].load(Ordering::Acquire))));
            shared.newest.fetch_max(now, Ordering::AcqRel);
            let have = shared.arrived[number].fetch_add(1, Ordering::AcqRel) + 1;
            if usize::try_from(have).is_ok_and(|have| have == shared.sockets) {
                shared.complete.fetch_add(1, Ordering::AcqRel);
            }
        }
        shared.came.notify_one();
    }
    let _ = socket.close().await;
    took
}

/// Returns the numbers of the messages in a frame. It does not parse the JSON, to leave the processor to the measured
/// system.
fn numbers(text: &str) -> impl Iterator<Item = usize> {
    text.split(MARK).skip(1).filter_map(|rest| rest.split_once('-')?.0.parse().ok())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_hold_several_messages() {
        let frame = format!(r#"{{"events":["{MARK}7{FILLER}","{MARK}12{FILLER}"]}}"#);
        assert_eq!(numbers(&frame).collect::<Vec<_>>(), [7, 12]);
        assert_eq!(numbers(r#"{"type":"pong"}"#).count(), 0);
    }
}
