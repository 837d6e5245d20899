//! Delivery to sockets that fail, vanish, or reuse an id.

mod crowds;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use super::*;
use crate::{
    memory::StoredGate,
    model::{
        connection::{Connection, ConnectionKey, UserConnection},
        id::ConnectionId,
        limits::{DEADLINE_MARGIN, DELIVERY_RATE, OPENING_SOCKET_DURATION, SLOW_PUSH},
    },
    ports::socket_gateway::Pushed,
    testing::{OpenSockets, TestClock, TestStore, broken, created, key},
};

const CHANNEL: &str = "general";

/// Sockets, subscriptions and requeued batches in memory.
struct World {
    store: TestStore,
    received: Mutex<BTreeMap<ConnectionId, Vec<u64>>>,
    gone: BTreeSet<ConnectionId>,
    /// Sockets on which every push fails.
    stuck: BTreeSet<ConnectionId>,
    /// Sockets on which every push is slow.
    slow: BTreeSet<ConnectionId>,
    /// Number of the next dispatches that fail.
    failing_dispatches: Mutex<u32>,
    /// Time of each dispatch, and its number of recipients.
    dispatched: Mutex<Vec<(Duration, usize)>>,
    /// Number of failing pushes of 100. Half of them arrive anyway.
    faults_in_100: u32,
    chance: Mutex<StdRng>,
    requeued: Mutex<Vec<PushBatch>>,
    clock: TestClock,
}

fn reach(threshold: usize) -> Reach {
    Reach { threshold, rate: DELIVERY_RATE }
}

fn connection(number: usize) -> ConnectionId {
    format!("c{number}=").parse().unwrap()
}

impl World {
    fn new(seed: u64, sockets: usize) -> Self {
        let clock = TestClock::new(seed);
        let world = Self {
            store: TestStore::seeded(seed, 0),
            received: Mutex::default(),
            gone: BTreeSet::new(),
            stuck: BTreeSet::new(),
            slow: BTreeSet::new(),
            failing_dispatches: Mutex::default(),
            dispatched: Mutex::default(),
            faults_in_100: 0,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            requeued: Mutex::default(),
            clock,
        };
        let (user, at) = ("bob", Timestamp::from_millis(world.clock.now().as_millis() - 60_000));
        (0..sockets).for_each(|number| world.subscribe(number, user, at, true));
        world
    }

    /// Opens a connection with a subscription.
    fn subscribe(&self, number: usize, user: &str, connected_at: Timestamp, member: bool) {
        let ends_at = self.clock.now().plus(Duration::from_hours(2));
        let opened = Connection {
            key: ConnectionKey { id: connection(number), connected_at },
            user_id: user.parse().unwrap(),
            channels: vec![key(CHANNEL)],
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: ends_at,
            expires_at: ends_at,
        };
        let subscription = Subscription { member, ..UserConnection::from(&opened).subscription(&opened.user_id) };
        let mut state = self.store.state();
        state.connections.insert(connection(number), opened);
        state.put_subscription(&key(CHANNEL), subscription);
    }

    fn subscriptions(&self) -> Vec<Subscription> {
        self.store.state().subscriptions.get(&key(CHANNEL)).into_iter().flatten().map(|(_, one)| one.clone()).collect()
    }

    fn delivery(&self) -> Delivery<'_, TestStore, Self, Self, TestClock> {
        let deadline = self.clock.now().plus(Duration::from_mins(1));
        Delivery { connections: &self.store, sockets: self, fan_out: self, clock: &self.clock, deadline }
    }

    async fn deliver(&self, seqs: std::ops::RangeInclusive<u64>, threshold: usize) -> PushReport {
        let messages: Vec<MessageEvent> = seqs.map(|seq| created(CHANNEL, seq, "hi")).collect();
        self.delivery().deliver(&key(CHANNEL), &messages, reach(threshold)).await.unwrap()
    }

    /// Processes requeued batches until none remains.
    async fn finish(&self) -> PushReport {
        let mut sum = PushReport::default();
        loop {
            let Some(batch) = self.requeued.lock().unwrap().pop() else { return sum };
            sum += self.delivery().push_batch(batch).await.unwrap();
        }
    }

    fn received(&self, number: usize) -> Vec<u64> {
        self.received.lock().unwrap().get(&connection(number)).cloned().unwrap_or_default()
    }

    fn subscribed(&self) -> usize {
        self.subscriptions().len()
    }
}

impl SocketGateway for World {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        tokio::task::yield_now().await;
        if self.slow.contains(id) {
            self.clock.sleep(SLOW_PUSH).await;
        }
        if self.gone.contains(id) {
            return Ok(Pushed::Gone);
        }
        let (fails, arrives): (bool, bool) = {
            let mut chance = self.chance.lock().unwrap();
            (chance.random_range(0..100) < self.faults_in_100, chance.random())
        };
        if self.stuck.contains(id) || (fails && !arrives) {
            return Err(broken());
        }
        let frame: Value = serde_json::from_str(frame).unwrap();
        let seqs = frame["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap());
        self.received.lock().unwrap().entry(id.clone()).or_default().extend(seqs);
        if fails { Err(broken()) } else { Ok(Pushed::Delivered) }
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("delivery does not ask whether a socket is open")
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("delivery closes no socket")
    }
}

impl FanOut for World {
    async fn dispatch(&self, batch: &PushBatch) -> Result<(), StoreError> {
        let mut failing = self.failing_dispatches.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(broken());
        }
        self.dispatched.lock().unwrap().push((self.clock.monotonic(), batch.recipients.len()));
        self.requeued.lock().unwrap().push(batch.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_vanished_socket_is_forgotten_and_no_other() {
    let mut world = World::new(1, 3);
    world.gone.insert(connection(1));
    let outcome = world.deliver(1..=2, 200).await;
    assert_eq!(outcome, PushReport { delivered: 2, gone: 1, ..PushReport::default() });
    assert_eq!(world.subscribed(), 2);
    assert_eq!((world.received(0), world.received(1), world.received(2)), (vec![1, 2], vec![], vec![1, 2]));
}

/// Its handshake may not have ended: the connection is stored, and its socket is not open yet.
#[tokio::test]
async fn a_connection_that_is_new_is_kept_though_it_cannot_be_reached() {
    let mut world = World::new(1, 2);
    world.subscribe(0, "bob", world.clock.now(), true);
    world.gone.extend([connection(0), connection(1)]);
    assert_eq!(world.deliver(1..=1, 200).await.gone, 2);
    assert_eq!(world.subscribed(), 1);
    world.gone.clear();
    world.deliver(2..=2, 200).await;
    assert_eq!((world.received(0), world.received(1)), (vec![2], vec![]));
}

#[tokio::test]
async fn a_connection_that_got_the_same_id_later_is_kept() {
    let mut world = World::new(1, 1);
    world.gone.insert(connection(0));
    let mut stale = Recipient::from(world.subscriptions().remove(0));
    stale.connection.connected_at = Timestamp::from_secs(1);
    let frames = event_frames(&key(CHANNEL).channel_id, &[created(CHANNEL, 1, "hi")], FRAME_BYTES).unwrap();
    let batch = PushBatch { channel: key(CHANNEL), frames, recipients: vec![stale], attempt: 0 };
    assert_eq!(world.delivery().push_batch(batch).await.unwrap().gone, 1);
    assert_eq!(world.subscribed(), 1);
}

#[tokio::test]
async fn what_one_socket_misses_is_handed_over_for_it_alone_and_given_up_in_the_end() {
    let mut world = World::new(1, 3);
    world.stuck.insert(connection(2));
    let outcome = world.deliver(1..=1, 200).await;
    assert_eq!(outcome, PushReport { delivered: 2, requeued: 1, retried: 3, ..PushReport::default() });
    let outcome = world.finish().await;
    assert_eq!((outcome.failed, outcome.delivered), (1, 0));
    assert_eq!((world.received(0), world.received(1)), (vec![1], vec![1]));
}

#[tokio::test]
async fn a_socket_that_takes_nothing_holds_its_channel_up_for_one_push() {
    let mut world = World::new(1, 1);
    world.slow.insert(connection(0));
    world.stuck.insert(connection(0));
    let began = world.clock.now();
    let outcome = world.deliver(1..=1, 200).await;
    assert_eq!(outcome, PushReport { requeued: 1, ..PushReport::default() });
    assert_eq!(began.until(world.clock.now()), SLOW_PUSH);
    world.stuck.clear();
    assert_eq!(world.finish().await.delivered, 1);
    assert_eq!(world.received(0), [1]);
}

/// Log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_push_that_is_slow_or_fails_is_an_event_of_its_span_with_its_connection() {
    // One socket each: sockets of one world share a clock, so a slow one makes the others slow.
    let (mut slow, mut stuck) = (World::new(1, 1), World::new(1, 1));
    slow.slow.insert(connection(0));
    stuck.stuck.insert(connection(0));
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let noted = tracing::subscriber::set_default(log);
    slow.deliver(1..=1, 200).await;
    stuck.deliver(1..=1, 200).await;
    stuck.finish().await;
    drop(noted);

    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let mut events: Vec<(String, String, String)> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let fields = &line["fields"];
            (text(&fields["message"]), text(&fields["connection_id"]), text(&line["span"]["name"]))
        })
        .collect();
    events.dedup();
    let event = |message: &str| (message.to_owned(), connection(0).to_string(), "push".to_owned());
    assert_eq!(events, ["a push was slow", "push failed", "push dropped"].map(event));
}

#[tokio::test]
async fn a_connection_whose_time_is_over_receives_nothing() {
    let world = World::new(1, 2);
    let now = world.clock.now();
    let mut recipients: Vec<Recipient> = world.subscriptions().into_iter().map(Recipient::from).collect();
    recipients[1].expires_at = now;
    let frames = event_frames(&key(CHANNEL).channel_id, &[created(CHANNEL, 1, "hi")], FRAME_BYTES).unwrap();
    world.delivery().push_batch(PushBatch { channel: key(CHANNEL), frames, recipients, attempt: 0 }).await.unwrap();
    assert_eq!((world.received(0), world.received(1)), (vec![1], vec![]));
}

#[tokio::test]
async fn the_deadline_leaves_time_to_hand_over() {
    let world = World::new(1, 5);
    let mut delivery = world.delivery();
    delivery.deadline = world.clock.now().plus(DEADLINE_MARGIN);
    let message = [created(CHANNEL, 1, "hi")];
    let outcome = delivery.deliver(&key(CHANNEL), &message, reach(200)).await.unwrap();
    assert_eq!(outcome, PushReport { requeued: 5, ..PushReport::default() });
    assert_eq!(world.finish().await.delivered, 5);
}

#[test]
fn large_shards_are_cut_by_frames_too() {
    let frame = "\"".repeat(100_000);
    let recipient = |number: usize, next_frame| Recipient {
        connection: ConnectionKey { id: connection(number), connected_at: Timestamp::from_secs(1) },
        user_id: "bob".parse().unwrap(),
        member: true,
        expires_at: Timestamp::from_secs(2),
        next_frame,
    };
    let batch = PushBatch {
        channel: key(CHANNEL),
        frames: vec![frame; 7],
        recipients: vec![recipient(0, 0), recipient(1, 4)],
        attempt: 1,
    };
    let shards = shards(batch);
    let cut: Vec<(usize, Vec<(String, usize)>)> = shards
        .iter()
        .map(|shard| {
            let recipients =
                shard.recipients.iter().map(|recipient| (recipient.connection.id.to_string(), recipient.next_frame));
            (shard.frames.len(), recipients.collect())
        })
        .collect();
    let at = |number: usize, next: usize| (connection(number).to_string(), next);
    assert_eq!(cut, [(3, vec![at(0, 0)]), (3, vec![at(0, 0), at(1, 1)]), (1, vec![at(0, 0), at(1, 0)])]);
    for shard in &shards {
        assert!(serde_json::to_vec(shard).unwrap().len() < 1_000_000);
    }
}

proptest! {
    #[test]
    fn every_socket_gets_everything_in_order_whatever_fails_on_the_way(
        seed: u64,
        sockets in 1_usize..40,
        messages in 1_u64..30,
        threshold in 0_usize..40,
        faults_in_100 in 0_u32..40,
    ) {
        let mut world = World::new(seed, sockets);
        world.faults_in_100 = faults_in_100;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            world.deliver(1..=messages, threshold).await;
            let outcome = world.finish().await;
            for number in 0..sockets {
                // Like a client: duplicates are dropped, and a gap would be detected.
                let mut last = 0;
                for seq in world.received(number) {
                    prop_assert!(seq <= last + 1, "a gap between {} and {}", last, seq);
                    last = last.max(seq);
                }
                if outcome.failed == 0 {
                    prop_assert_eq!(last, messages);
                }
            }
            prop_assert!(outcome.failed <= sockets);
            Ok(())
        })?;
    }
}

/// States of a gate. For each: does the member bob still receive, and does the non-member carol?
const GATES: [(&str, bool, bool); 4] =
    [("open", true, true), ("closed", false, false), ("private", true, false), ("blocked", false, true)];

fn set_gate(world: &World, gate: &str) {
    let expires_at = world.clock.now().plus(Duration::from_hours(3));
    let mut state = world.store.state();
    match gate {
        "blocked" => {
            state.blocked.entry(key(CHANNEL)).or_default().insert("bob".parse().unwrap(), expires_at);
        }
        gate => {
            let stored = StoredGate { closed: gate == "closed", private: gate == "private", expires_at };
            state.gates.insert(key(CHANNEL), stored);
        }
    }
}

fn bob_and_carol() -> World {
    let world = World::new(1, 1);
    world.subscribe(1, "carol", world.clock.now(), false);
    world
}

#[tokio::test]
async fn subscriptions_that_a_gate_refuses_receive_nothing_and_stay() {
    for (gate, bob, carol) in GATES {
        for threshold in [200, 0] {
            let world = bob_and_carol();
            set_gate(&world, gate);
            world.deliver(1..=1, threshold).await;
            world.finish().await;
            let received = [world.received(0), world.received(1)].map(|all| all == [1]);
            assert_eq!(received, [bob, carol], "{gate}, up to {threshold} sockets at once");
            assert_eq!(world.subscribed(), 2, "maintenance ends them");
        }
    }
}

#[tokio::test]
async fn a_shard_is_refused_what_ended_after_it_was_handed_over() {
    for (gate, bob, carol) in GATES {
        let world = bob_and_carol();
        world.deliver(1..=1, 0).await;
        set_gate(&world, gate);
        world.finish().await;
        assert_eq!([world.received(0), world.received(1)].map(|all| all == [1]), [bob, carol], "{gate}");
    }
}

#[tokio::test]
async fn a_decision_is_made_anew_after_a_while() {
    let mut world = World::new(1, 1);
    world.slow.insert(connection(0));
    let content = "x".repeat(100_000);
    let messages: Vec<MessageEvent> = (1..=3).map(|seq| created(CHANNEL, seq, &content)).collect();
    let (delivery, channel) = (world.delivery(), key(CHANNEL));
    let delivered = delivery.deliver(&channel, &messages, reach(200));
    let closed = async {
        while world.received(0).is_empty() {
            tokio::task::yield_now().await;
        }
        set_gate(&world, "closed");
    };
    let (outcome, ()) = futures::future::join(delivered, closed).await;
    assert_eq!((outcome.unwrap().gone, world.received(0)), (1, vec![1]));
}

#[tokio::test]
async fn a_client_is_greeted_when_its_socket_is_open_and_as_long_as_its_connection_exists() {
    let (world, sockets) = (World::new(1, 0), OpenSockets::default());
    world.subscribe(0, "bob", world.clock.now(), true);
    let opened = world.store.state().connections[&connection(0)].clone();
    let deadline = world.clock.now().plus(Duration::from_mins(1));
    let delivery =
        Delivery { connections: &world.store, sockets: &sockets, fan_out: &sockets, clock: &world.clock, deadline };
    assert_eq!(delivery.greet(&opened).await.unwrap(), Pushed::Delivered);
    assert_eq!(sockets.types("c0="), ["hello"]);

    // The handshake may not have ended.
    sockets.close(&opened.key.id).await.unwrap();
    let began = world.clock.now();
    assert_eq!(delivery.greet(&opened).await.unwrap(), Pushed::Gone);
    assert_eq!(began.until(world.clock.now()), OPENING_SOCKET_DURATION);

    world.store.state().connections.clear();
    let began = world.clock.now();
    assert_eq!(delivery.greet(&opened).await.unwrap(), Pushed::Gone);
    assert_eq!(world.clock.now(), began, "a client that has left is not waited for");
}
