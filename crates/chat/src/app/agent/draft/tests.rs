//! Sockets that receive drafts: late ones, many of them, and takeovers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::{
    model::{
        connection::{Connection, UserConnection},
        id::ConnectionId,
        seq::Seq,
    },
    ports::{fan_out::PushBatch, socket_gateway::Pushed},
    testing::{TestClock, TestStore, broken, key},
};

/// Sockets that record the positions and texts of the pieces that they get.
#[derive(Default)]
struct Sockets {
    pieces: Mutex<BTreeMap<String, Vec<(u64, String)>>>,
    /// Sockets that are not open yet.
    opening: Mutex<BTreeSet<String>>,
}

impl SocketGateway for Sockets {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        if self.opening.lock().unwrap().contains(id.as_str()) {
            return Ok(Pushed::Gone);
        }
        let frame: Value = serde_json::from_str(frame).unwrap();
        let piece = (frame["position"].as_u64().unwrap(), frame["text"].as_str().unwrap().to_owned());
        self.pieces.lock().unwrap().entry(id.to_string()).or_default().push(piece);
        Ok(Pushed::Delivered)
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("a draft asks for no socket")
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("a draft closes no socket")
    }
}

impl FanOut for Sockets {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        Err(broken())
    }
}

impl Sockets {
    fn of(&self, name: &str) -> Vec<(u64, String)> {
        self.pieces.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

fn subscribe(store: &TestStore, clock: &TestClock, name: &str) {
    let ends_at = clock.now().plus(Duration::from_hours(2));
    let opened = Connection {
        key: ConnectionKey { id: name.parse().unwrap(), connected_at: clock.now() },
        user_id: "bob".parse().unwrap(),
        channels: vec![key("c")],
        auto_subscribe: false,
        allowed_channels: None,
        left_out: 0,
        token_expires_at: ends_at,
        expires_at: ends_at,
    };
    let subscription = Subscription { member: true, ..UserConnection::from(&opened).subscription(&opened.user_id) };
    let mut state = store.state();
    state.connections.insert(opened.key.id.clone(), opened);
    state.put_subscription(&key("c"), subscription);
}

/// Returns the pieces of one draft, one for each text.
fn pieces(clock: &TestClock, texts: &[&str]) -> Vec<Delta> {
    let draft_id = MessageId::generate(clock.seed());
    let mut position = 0;
    let piece = |text: &&str| {
        let piece = Delta {
            channel_id: "c".parse().unwrap(),
            draft_id,
            reply_to: Seq::FIRST,
            status: DraftStatus::Writing,
            position,
            text: (*text).to_owned(),
            seq: None,
        };
        position += text.chars().count();
        piece
    };
    texts.iter().map(piece).collect()
}

fn texts(pieces: &[(u64, &str)]) -> Vec<(u64, String)> {
    pieces.iter().map(|(position, text)| (*position, (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_socket_that_comes_late_gets_the_whole_text_once() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let audience = DraftAudience::default();
    let all = pieces(&clock, &["", "Hé", "llo", " wö", "rld"]);
    subscribe(&store, &clock, "early=");
    for piece in &all[..2] {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    subscribe(&store, &clock, "late=");
    audience.push(&delivery, &key("c"), &all[2], 10).await;
    assert_eq!(sockets.of("late="), [], "the audience is read once a second");
    clock.sleep(AUTHORITY_DURATION).await;
    for piece in &all[3..] {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    assert_eq!(sockets.of("early="), texts(&[(0, ""), (0, "Hé"), (2, "llo"), (5, " wö"), (8, "rld")]));
    assert_eq!(sockets.of("late="), texts(&[(0, "Héllo wö"), (8, "rld")]));
}

#[tokio::test]
async fn a_socket_that_is_not_open_yet_gets_the_whole_text_when_it_is() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let audience = DraftAudience::default();
    subscribe(&store, &clock, "open=");
    subscribe(&store, &clock, "opening=");
    sockets.opening.lock().unwrap().insert("opening=".to_owned());
    let all = pieces(&clock, &["a", "b", "c", "d"]);
    for piece in &all[..2] {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    sockets.opening.lock().unwrap().clear();
    for piece in &all[2..] {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    assert_eq!(sockets.of("open="), texts(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]));
    assert_eq!(sockets.of("opening="), texts(&[(0, "abc"), (3, "d")]));
}

#[tokio::test]
async fn another_draft_begins_anew_for_each_socket() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let audience = DraftAudience::default();
    subscribe(&store, &clock, "one=");
    for piece in pieces(&clock, &["hm", "m"]).iter().chain(&pieces(&clock, &["so", "!"])) {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    assert_eq!(sockets.of("one="), texts(&[(0, "hm"), (2, "m"), (0, "so"), (2, "!")]));
}

#[tokio::test]
async fn after_a_failed_read_each_socket_gets_the_whole_text() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let audience = DraftAudience::default();
    subscribe(&store, &clock, "one=");
    let all = pieces(&clock, &["a", "b", "c"]);
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    audience.push(&delivery, &key("c"), &all[0], 10).await;
    clock.sleep(AUTHORITY_DURATION).await;
    let failing = TestStore::seeded(1, 100);
    let without = Delivery { connections: &failing, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    audience.push(&without, &key("c"), &all[1], 10).await;
    audience.push(&delivery, &key("c"), &all[2], 10).await;
    assert_eq!(sockets.of("one="), texts(&[(0, "a"), (0, "abc")]));
}

#[tokio::test]
async fn a_socket_that_comes_after_a_takeover_gets_the_whole_text_once() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let (before, after) = (DraftAudience::default(), DraftAudience::default());
    let all = pieces(&clock, &["Hé", "llo", " wö", "rld", "!"]);
    subscribe(&store, &clock, "early=");
    clock.sleep(AUTHORITY_DURATION).await;
    for piece in &all[..2] {
        before.push(&delivery, &key("c"), piece, 10).await;
    }
    let renewed_at = clock.now();
    // The worker may have read its audience before this connection came.
    subscribe(&store, &clock, "close=");
    clock.sleep(Duration::from_secs(15)).await;
    subscribe(&store, &clock, "late=");
    after.resume(all[0].draft_id, "Héllo", renewed_at);
    for piece in &all[2..] {
        after.push(&delivery, &key("c"), piece, 10).await;
    }
    assert_eq!(sockets.of("early="), texts(&[(0, "Hé"), (2, "llo"), (5, " wö"), (8, "rld"), (11, "!")]));
    assert_eq!(sockets.of("close="), texts(&[(0, "Héllo wö"), (8, "rld"), (11, "!")]));
    assert_eq!(sockets.of("late="), texts(&[(0, "Héllo wö"), (8, "rld"), (11, "!")]));
}

#[tokio::test]
async fn after_a_failed_read_of_a_takeover_each_socket_gets_the_whole_text() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let audience = DraftAudience::default();
    subscribe(&store, &clock, "one=");
    let renewed_at = clock.now().plus(AUTHORITY_DURATION);
    let all = pieces(&clock, &["a", "b", "c", "d"]);
    audience.resume(all[0].draft_id, "a", renewed_at);
    let failing = TestStore::seeded(1, 100);
    let without = Delivery { connections: &failing, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    audience.push(&without, &key("c"), &all[1], 10).await;
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    for piece in &all[2..] {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    assert_eq!(sockets.of("one="), texts(&[(0, "abc"), (3, "d")]));
}

/// Returns the end of the draft that `piece` is the last one of.
fn end_after(piece: &Delta, status: DraftStatus, seq: Option<Seq>) -> Delta {
    let position = piece.position + piece.text.chars().count();
    Delta { status, position, text: String::new(), seq, ..piece.clone() }
}

#[tokio::test]
async fn before_many_sockets_text_waits_for_the_next_frame() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    // Two sockets at one push per second: a frame each two seconds.
    let audience = DraftAudience::new(DraftPace { pushes_per_second: 1, listeners: 3 });
    subscribe(&store, &clock, "one=");
    subscribe(&store, &clock, "two=");
    let all = pieces(&clock, &["a", "b", "c", "d", "e", "f"]);
    for piece in &all[..3] {
        audience.push(&delivery, &key("c"), piece, 10).await;
        clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(sockets.of("one="), texts(&[(0, "a"), (1, "bc")]));
    // Three sockets: a frame each three seconds. The last one gets all of the text.
    subscribe(&store, &clock, "three=");
    for piece in &all[3..] {
        audience.push(&delivery, &key("c"), piece, 10).await;
        clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(sockets.of("two="), texts(&[(0, "a"), (1, "bc"), (3, "def")]));
    assert_eq!(sockets.of("three="), texts(&[(0, "abcdef")]));
}

#[tokio::test]
async fn the_message_ends_a_draft_whose_last_frame_is_not_due() {
    for (seconds, frames) in [(0, 1), (1, 1), (2, 2)] {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let audience = DraftAudience::new(DraftPace { pushes_per_second: 1, listeners: 3 });
        subscribe(&store, &clock, "one=");
        subscribe(&store, &clock, "two=");
        let piece = pieces(&clock, &["a"]).remove(0);
        audience.push(&delivery, &key("c"), &piece, 10).await;
        clock.sleep(Duration::from_secs(seconds)).await;
        let done = end_after(&piece, DraftStatus::Done, Some(Seq::new(2)));
        audience.push(&delivery, &key("c"), &done, 10).await;
        assert_eq!(sockets.of("one=").len(), frames, "after {seconds} seconds");
    }
}

#[tokio::test]
async fn an_end_without_a_message_does_not_wait_and_leaves_no_text_out() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let audience = DraftAudience::new(DraftPace { pushes_per_second: 1, listeners: 3 });
    subscribe(&store, &clock, "one=");
    subscribe(&store, &clock, "two=");
    let all = pieces(&clock, &["a", "b"]);
    for piece in &all {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    audience.push(&delivery, &key("c"), &end_after(&all[1], DraftStatus::Failed, None), 10).await;
    assert_eq!(sockets.of("one="), texts(&[(0, "a"), (1, "")]), "no gap before the end");
}

#[tokio::test]
async fn a_crowd_gets_no_frame_and_sockets_from_before_get_an_end_without_a_message() {
    for (status, seq, is_told) in [
        (DraftStatus::Failed, None, true),
        (DraftStatus::Cancelled, None, true),
        (DraftStatus::Cancelled, Some(Seq::new(2)), false),
        (DraftStatus::Done, Some(Seq::new(2)), false),
    ] {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let audience = DraftAudience::new(DraftPace { pushes_per_second: 1_000, listeners: 2 });
        subscribe(&store, &clock, "one=");
        let all = pieces(&clock, &["a", "b"]);
        audience.push(&delivery, &key("c"), &all[0], 10).await;
        subscribe(&store, &clock, "two=");
        subscribe(&store, &clock, "three=");
        clock.sleep(AUTHORITY_DURATION).await;
        audience.push(&delivery, &key("c"), &all[1], 10).await;
        audience.push(&delivery, &key("c"), &end_after(&all[1], status, seq), 10).await;
        let end = is_told.then_some((0, ""));
        let wanted: Vec<(u64, &str)> = [(0, "a")].into_iter().chain(end).collect();
        assert_eq!(sockets.of("one="), texts(&wanted), "{status:?} {seq:?}");
        assert_eq!((sockets.of("two="), sockets.of("three=")), (vec![], vec![]));
    }
}

#[tokio::test]
async fn an_audience_that_shrinks_gets_the_whole_text() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let audience = DraftAudience::new(DraftPace { pushes_per_second: 1_000, listeners: 1 });
    subscribe(&store, &clock, "one=");
    subscribe(&store, &clock, "two=");
    let all = pieces(&clock, &["a", "b", "c"]);
    audience.push(&delivery, &key("c"), &all[0], 10).await;
    let two = store.connection(&"two=".parse().unwrap()).await.unwrap().unwrap();
    assert!(ConnectionStore::close(&store, &two.key).await.unwrap());
    clock.sleep(AUTHORITY_DURATION).await;
    for piece in &all[1..] {
        audience.push(&delivery, &key("c"), piece, 10).await;
    }
    assert_eq!(sockets.of("one="), texts(&[(0, "ab"), (2, "c")]));
}

#[tokio::test]
async fn after_a_takeover_before_many_sockets_each_gets_the_whole_text() {
    let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
    let deadline = clock.now().plus(Duration::from_mins(1));
    let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let audience = DraftAudience::new(DraftPace { pushes_per_second: 1, listeners: 3 });
    subscribe(&store, &clock, "one=");
    subscribe(&store, &clock, "two=");
    clock.sleep(AUTHORITY_DURATION * 2).await;
    let all = pieces(&clock, &["a", "b"]);
    audience.resume(all[0].draft_id, "a", clock.now());
    audience.push(&delivery, &key("c"), &all[1], 10).await;
    assert_eq!(sockets.of("one="), texts(&[(0, "ab")]));
}
