//! Rates and latencies of many senders to one channel, on models of the store, in simulated time.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};

use super::*;
use crate::{memory::MemoryStore, testing::PausedClock};

/// Duration of a run.
const RUN: Duration = Duration::from_secs(20);

/// Store that decides which of several concurrent transactions succeeds. Times are means.
#[derive(Debug, Clone, Copy)]
struct Model {
    /// Way of a request to the store, and of its response back.
    way: Duration,
    /// Work of the store for a transaction. A read takes 2/5 of it.
    work: Duration,
    /// From the response of a send to the sender's next one.
    think: Duration,
    /// Whether transactions on the same item are refused while one is under way (`TransactionConflict`). Otherwise the
    /// store works on one request after the other, as the embedded one of the local run does.
    conflicts: bool,
}

const QUEUE: Model = Model { way: ms(2), work: ms(1), think: ms(6), conflicts: false };

/// A transaction takes a few milliseconds. One that is refused by its condition blocks the item as long as any other,
/// which is worse than a store that refuses it at once.
const CONFLICTS: Model = Model { way: ms(1), work: ms(3), think: ms(8), conflicts: true };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Hook that lets the calls of a store take the time of a model.
struct Distance {
    model: Model,
    chance: Arc<Mutex<StdRng>>,
    /// Time until which the store works on requests, or the channel's item is in a transaction.
    busy: Mutex<Instant>,
    appends: AtomicU32,
}

/// Returns a random duration of a mean: seven tenths are fixed.
fn about(chance: &Mutex<StdRng>, mean: Duration) -> Duration {
    let part: f64 = chance.lock().unwrap().random();
    mean.mul_f64(0.7 - 0.3 * (1.0 - part).ln())
}

impl Distance {
    async fn pass(&self, mean: Duration) {
        sleep(about(&self.chance, mean)).await;
    }

    /// Reserves the store for `work` after all earlier requests. Returns when it is done.
    fn reserve(&self, work: Duration) -> Instant {
        let mut busy = self.busy.lock().unwrap();
        *busy = Instant::now().max(*busy) + work;
        *busy
    }
}

impl Hook for Distance {
    async fn before(&self, call: Call) -> CallFault {
        let is_append = call == Call::Append;
        self.appends.fetch_add(u32::from(is_append), Ordering::Relaxed);
        self.pass(self.model.way).await;
        let work = about(&self.chance, if is_append { self.model.work } else { self.model.work * 2 / 5 });
        if self.model.conflicts {
            if !is_append {
                return CallFault::Arrives;
            }
            if *self.busy.lock().unwrap() > Instant::now() {
                return CallFault::Conflicts;
            }
        }
        sleep_until(self.reserve(work)).await;
        CallFault::Arrives
    }

    async fn after(&self, _: Call) -> bool {
        self.pass(self.model.way).await;
        true
    }
}

/// Result of a run.
#[derive(Debug)]
struct Ran {
    sent: u32,
    /// Number of sends that were told that the channel is busy: a few of the first ones, which know of no other sender.
    refused: u32,
    p50: Duration,
    p99: Duration,
    appends: u32,
}

/// Lets senders send for [`RUN`], each one message after another. Requests wait for one of `environments`, the oldest
/// first. Without a number, each sender has an environment of its own.
async fn run(model: Model, senders: usize, environments: Option<usize>) -> Ran {
    let chance = Arc::new(Mutex::new(StdRng::seed_from_u64(1)));
    let hook =
        Distance { model, chance: Arc::clone(&chance), busy: Mutex::new(Instant::now()), appends: AtomicU32::new(0) };
    let stored = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
    let store: MemoryStore<Distance> = stored.through(hook);
    let clock = PausedClock::new(1);
    let refused = AtomicU32::new(0);
    let places = Semaphore::new(environments.unwrap_or(senders));
    // The one that was used last is used next.
    let idle = Mutex::new(vec![SendCache::default(); places.available_permits()]);
    let one = async |number: usize| {
        let (mut own, mut took) = (SendCache::default(), Vec::new());
        while clock.monotonic() < RUN {
            sleep(about(&chance, model.think)).await;
            let began = Instant::now();
            let place = places.acquire().await.unwrap();
            let mut cache =
                if environments.is_some() { idle.lock().unwrap().pop().unwrap() } else { mem::take(&mut own) };
            match send(&store, &clock, message(number), &mut cache).await {
                Ok(_) => took.push(began.elapsed()),
                Err(ChatError::Contended { .. }) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
            if environments.is_some() {
                idle.lock().unwrap().push(cache);
            } else {
                own = cache;
            }
            drop(place);
        }
        // The others need some time to find each other.
        took.split_off(took.len() / 10)
    };
    let mut took = join_all((0..senders).map(one)).await.concat();
    took.sort_unstable();
    let sent = u32::try_from(stored.all().len()).unwrap();
    let appends = store.hook().appends.load(Ordering::Relaxed);
    Ran { sent, refused: refused.into_inner(), p50: took[took.len() / 2], p99: took[took.len() * 99 / 100], appends }
}

fn message(number: usize) -> SendMessage {
    SendMessage {
        channel_id: "c".parse().unwrap(),
        sender_id: format!("sender-{number}").parse().unwrap(),
        role: Role::User,
        draft: NewMessage { content: "hi".to_owned(), ..NewMessage::default() },
        agent: None,
        record_key: None,
        incarnation: None,
        bucket: None,
        trace: None,
    }
}

/// Compares 16 and 64 senders with one. `percent` is the minimum rate of many.
async fn many_senders_are_no_slower_than_one(model: Model, environments: Option<usize>, percent: u32) {
    let one = run(model, 1, None).await;
    assert_eq!(one.appends, one.sent, "a sender alone makes one attempt for each message");
    for senders in [16, 64] {
        let many = run(model, senders, environments).await;
        let case = format!("{senders} senders: {many:?}, one: {one:?}");
        assert!(many.sent * 100 >= one.sent * percent, "{case}");
        assert!(many.p99 < many.p50 * 10, "{case}");
        assert!(many.appends < many.sent * 16, "{case}");
        assert!(many.refused * 500 <= many.sent, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_senders_are_no_slower_than_one_where_requests_queue() {
    many_senders_are_no_slower_than_one(QUEUE, None, 100).await;
}

#[tokio::test(start_paused = true)]
async fn many_senders_are_no_slower_than_one_where_transactions_conflict() {
    many_senders_are_no_slower_than_one(CONFLICTS, None, 100).await;
}

/// Senders that hardly pause, before a few environments: each has a further message when it has stored one. Without turns
/// of several messages, 16 senders have two thirds of the rate of one.
#[tokio::test(start_paused = true)]
async fn many_senders_are_hardly_slower_than_one_where_requests_wait_for_environments() {
    let hurry = ms(1);
    for model in [Model { think: hurry, ..QUEUE }, Model { think: hurry, ..CONFLICTS }] {
        many_senders_are_no_slower_than_one(model, Some(4), 95).await;
    }
}
