//! Requests to the gateway that a crowd causes: drafts, typing, and users that come and go. Prints the figures of
//! `docs/reports/cost.md`.
//!
//! `cargo test -p chat --lib app::presence::tests::crowd -- --nocapture`

use std::{sync::Mutex, time::Duration};

use super::*;
use crate::{
    app::agent::draft::DraftAudience,
    model::{
        channel::Visibility,
        connection::{Connection, ConnectionKey, UserConnection},
        draft::{Delta, DraftPace, DraftStatus},
        id::{ConnectionId, MessageId},
        limits::{ARRIVAL_PUSHES, DRAFT_PUSHES_PER_SECOND, PRESENCE_SUBSCRIPTIONS},
        seq::Seq,
    },
    ports::{
        fan_out::PushBatch,
        socket_gateway::{Pushed, REQUESTS_PER_SECOND},
    },
    testing::{TestClock, TestStore, key},
};

/// Number of sockets to which one function pushes.
const THRESHOLD: usize = 200;

/// Gateway that counts requests by the second of a clock. A dispatched shard counts its pushes at once.
struct Counted<'a> {
    clock: &'a TestClock,
    requests: Mutex<BTreeMap<u64, usize>>,
}

impl<'a> Counted<'a> {
    fn new(clock: &'a TestClock) -> Self {
        Self { clock, requests: Mutex::default() }
    }

    fn count(&self, requests: usize) {
        let second = self.clock.monotonic().as_secs();
        *self.requests.lock().unwrap().entry(second).or_default() += requests;
    }

    /// Returns the requests in all, and the most in one second.
    fn figures(&self) -> (usize, usize) {
        let requests = self.requests.lock().unwrap();
        (requests.values().sum(), requests.values().max().copied().unwrap_or_default())
    }
}

impl SocketGateway for Counted<'_> {
    async fn push(&self, _: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
        self.count(1);
        Ok(Pushed::Delivered)
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("no event asks for a socket")
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("no event closes a socket")
    }
}

impl FanOut for Counted<'_> {
    async fn dispatch(&self, batch: &PushBatch) -> Result<(), StoreError> {
        self.count(batch.frames.len() * batch.recipients.len());
        Ok(())
    }
}

/// Subscribes a socket of a user.
fn come(store: &TestStore, clock: &TestClock, number: usize) -> UserId {
    let user: UserId = format!("u{number}").parse().unwrap();
    let ends_at = clock.now().plus(Duration::from_hours(2));
    let opened = Connection {
        key: ConnectionKey { id: format!("{number}=").parse().unwrap(), connected_at: clock.now() },
        user_id: user.clone(),
        channels: vec![key("c")],
        auto_subscribe: false,
        allowed_channels: None,
        left_out: 0,
        token_expires_at: ends_at,
        expires_at: ends_at,
    };
    let of_user = UserConnection::from(&opened);
    let mut state = store.state();
    state.put_subscription(&key("c"), Subscription { member: false, ..of_user.subscription(&user) });
    state.user_connections.entry(user.clone()).or_default().insert(opened.key.id.clone(), of_user);
    state.connections.insert(opened.key.id.clone(), opened);
    user
}

async fn go(store: &TestStore, number: usize) {
    let found = store.connection(&format!("{number}=").parse().unwrap()).await.unwrap().unwrap();
    assert!(ConnectionStore::close(store, &found.key).await.unwrap());
}

/// Shows a reply of half a minute to listeners, as often as the agent does. Returns the requests in all, and the most in
/// one second.
async fn reply(listeners: usize, pace: DraftPace) -> (usize, usize) {
    let (store, clock) = (TestStore::seeded(1, 0), TestClock::new(1));
    let sockets = Counted::new(&clock);
    for number in 0..listeners {
        come(&store, &clock, number);
    }
    let deadline = clock.now().plus(Duration::from_mins(5));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let (audience, draft_id) = (DraftAudience::new(pace), MessageId::generate(clock.seed()));
    let waits = [100, 250, 500].into_iter().chain([1_000; 29]);
    for (position, wait) in waits.enumerate() {
        clock.sleep(Duration::from_millis(wait)).await;
        let (channel_id, text) = (key("c").channel_id, "x".to_owned());
        let status = DraftStatus::Writing;
        let piece = Delta { channel_id, draft_id, reply_to: Seq::FIRST, status, position, text, seq: None };
        audience.push(&delivery, &key("c"), &piece, THRESHOLD).await;
    }
    sockets.figures()
}

#[tokio::test]
async fn a_reply_before_a_thousand_listeners() {
    let unpaced = DraftPace { pushes_per_second: u32::MAX, listeners: usize::MAX };
    for listeners in [10, 100, 1_000, 2_000, 2_001] {
        let (before, after) = (reply(listeners, unpaced).await, reply(listeners, DraftPace::default()).await);
        println!("a reply of 30 s before {listeners}: {before:?} requests in all and in a second, then {after:?}");
        assert!(after.0 <= before.0 && after.1 <= before.1, "{listeners}: {before:?}, {after:?}");
        // One frame more than the time allows: the first.
        let bound = usize::try_from(DRAFT_PUSHES_PER_SECOND).unwrap() * 30 + listeners;
        assert!(after.0 <= bound, "{listeners}: {after:?}, of {bound}");
        assert_eq!(after.0 == 0, listeners > 2_000, "{listeners}: {after:?}");
    }
}

#[tokio::test]
async fn a_typing_user_before_ten_thousand() {
    for (listeners, most, wanted) in [
        (10_000, usize::MAX, 10 * 9_999),
        (10_000, PRESENCE_SUBSCRIPTIONS, 0),
        (PRESENCE_SUBSCRIPTIONS, PRESENCE_SUBSCRIPTIONS, 10 * (PRESENCE_SUBSCRIPTIONS - 1)),
    ] {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
        let clock = TestClock::new(1);
        let sockets = Counted::new(&clock);
        let users: Vec<UserId> = (0..listeners).map(|number| come(&store, &clock, number)).collect();
        let deadline = clock.now().plus(Duration::from_mins(5));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let wide = Bucket { every: Duration::from_millis(1), burst: 1_000 };
        for _ in 0..10 {
            send_typing(&store, &delivery, &"c".parse().unwrap(), &users[0], wide, most).await.unwrap();
            clock.sleep(Duration::from_secs(3)).await;
        }
        let found = sockets.figures();
        println!("30 s of typing before {listeners}, sent up to {most}: {found:?} requests in all and in a second");
        assert_eq!(found.0, wanted);
    }
}

#[tokio::test]
async fn a_thousand_users_that_come_and_go_in_ten_seconds() {
    let (store, clock) = (TestStore::seeded(1, 0), TestClock::new(1));
    let sockets = Counted::new(&clock);
    let most = PRESENCE_SUBSCRIPTIONS;
    let mut unbounded = Vec::new();
    let mut announced = 0;
    for second in 0..10 {
        let users = (second * 100..(second + 1) * 100).map(|number| come(&store, &clock, number)).collect();
        let there = (second + 1) * 100;
        // Each arrival to all others, while they are few enough.
        unbounded.push(if there <= most { 100 * (there - 1) } else { 0 });
        let deadline = clock.now().plus(Duration::from_mins(5));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        announced += delivery.announce_presence(&key("c"), users, most, THRESHOLD).await.unwrap().0;
        clock.sleep(Duration::from_secs(1)).await;
    }
    let arrivals = sockets.figures();
    println!(
        "1,000 come: {arrivals:?} requests in all and in a second, {announced} announced; unbounded {unbounded:?}"
    );
    assert!(arrivals.1 <= ARRIVAL_PUSHES, "{arrivals:?}");
    assert!(arrivals.1 * 5 <= usize::try_from(REQUESTS_PER_SECOND).unwrap(), "a fifth of the gateway's");

    let sockets = Counted::new(&clock);
    let (mut withdrawn, mut to_all) = (0, Vec::new());
    for second in 0..10 {
        let mut users = BTreeSet::new();
        for number in second * 100..(second + 1) * 100 {
            go(&store, number).await;
            users.insert(format!("u{number}").parse().unwrap());
        }
        let deadline = clock.now().plus(Duration::from_mins(5));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let count = delivery.announce_presence(&key("c"), users, most, THRESHOLD).await.unwrap().0;
        withdrawn += count;
        to_all.push(count * (900 - second * 100));
        clock.sleep(Duration::from_secs(1)).await;
    }
    let departures = sockets.figures();
    println!("1,000 go: {departures:?} requests in all and in a second, {withdrawn} withdrawn; to all {to_all:?}");
    assert_eq!(withdrawn, announced, "each arrival has its departure");
    assert!(departures.1 <= ARRIVAL_PUSHES, "{departures:?}");
}
