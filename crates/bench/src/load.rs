//! Senders and listeners: how fast messages come through, and how long each takes to each socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::{
    Result,
    system::{Socket, System},
};

/// What stands before the number of a message in its content, and what after it.
const MARK: &str = "bench-";

/// The rest of a content: about as long as what people write.
const FILLER: &str = "-Shall we meet at the station at half past six? The train leaves ten minutes later, I think.";

/// Most messages of one run.
const MESSAGES: usize = 200_000;

/// Handshakes under way at once.
const HANDSHAKES: usize = 32;

/// How long sockets have to be silent before they are used: news of who comes has been told by then.
const SILENCE: Duration = Duration::from_millis(300);

/// How long what has been sent may take to arrive.
const PATIENCE: Duration = Duration::from_mins(1);

/// What senders and listeners share.
struct Shared {
    epoch: Instant,
    sockets: usize,
    /// Nanoseconds from the epoch, by message.
    sent: Vec<AtomicU64>,
    /// How many sockets have it, by message.
    arrived: Vec<AtomicU32>,
    /// Messages that all have.
    complete: AtomicUsize,
    /// When the newest frame came, in nanoseconds from the epoch.
    newest: AtomicU64,
    next: AtomicUsize,
    came: Notify,
    stop: CancellationToken,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    /// Messages that every socket has.
    pub(crate) messages: usize,
    /// Messages that were accepted, but did not reach every socket in time.
    pub(crate) missing: usize,
    /// Requests that were refused or broke.
    pub(crate) failures: usize,
    /// From the first request to the last frame.
    pub(crate) elapsed: Duration,
    /// From the start of a request to the frame, on each socket.
    pub(crate) pushes: Vec<Duration>,
    /// From the start of a request to its answer.
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
    /// Opens `sockets` sockets, and waits until all is quiet.
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

    /// Has `senders` users send for `duration`, each one message after another, and waits for the last frame.
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

/// Opens sockets, many at a time.
pub(crate) async fn open(system: &System, channel: &str, sockets: usize) -> Result<Vec<Socket>> {
    futures::stream::iter(0..sockets)
        .map(|number| system.listen(channel, number))
        .buffer_unordered(HANDSHAKES)
        .try_collect()
        .await
}

/// Notes when each message comes, until told to stop; how long each took.
async fn hear(mut socket: Socket, shared: Arc<Shared>) -> Vec<Duration> {
    let mut took = Vec::new();
    // A push may come twice.
    let mut known = vec![false; MESSAGES];
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            () = shared.stop.cancelled() => break,
        };
        let Some(Ok(frame)) = frame else { break };
        let Message::Text(text) = frame else { continue };
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
    let _ = socket.close(None).await;
    took
}

/// The numbers of the messages in a frame, without reading it as JSON: what is measured has most of the machine.
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
