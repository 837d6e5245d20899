//! Lists of present users, and announcements of users that come and go.

mod crowd;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::*;
use crate::{
    memory::{Call, Hook, MemoryStore},
    model::{
        channel::Visibility,
        connection::{Connection, ConnectionKey},
        id::ConnectionId,
        limits::ARRIVAL_PUSHES,
        push_report::PushReport,
    },
    ports::{fan_out::PushBatch, socket_gateway::Pushed},
    testing::{Before, TestClock, TestStore, broken, incarnation, key},
};

/// A gateway at which no socket is open.
struct NothingOpen;

impl SocketGateway for NothingOpen {
    async fn push(&self, _: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
        unreachable!("listing presence pushes nothing")
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("listing presence closes no socket")
    }
}

#[tokio::test]
async fn a_young_socket_is_there_and_an_old_one_that_has_vanished_is_forgotten() {
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
    let clock = TestClock::new(1);
    for (id, user, age) in [("old=", "bob", SILENCE_DURATION), ("new=", "carol", SILENCE_DURATION / 2)] {
        let connected_at = Timestamp::from_millis(clock.now().as_millis() - i64::try_from(age.as_millis()).unwrap());
        let ends_at = clock.now().plus(SILENCE_DURATION);
        let connection = Connection {
            key: ConnectionKey { id: id.parse().unwrap(), connected_at },
            user_id: user.parse().unwrap(),
            channels: vec![key("c")],
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: ends_at,
            expires_at: ends_at,
        };
        store.register_pending(&connection).await.unwrap();
        store.activate(&connection, &[].into()).await.unwrap();
    }
    let (channel, caller) = ("c".parse().unwrap(), "dora".parse().unwrap());
    let presence = Presence { channels: &store, connections: &store, sockets: &NothingOpen, clock: &clock };
    let there = presence.list(&channel, &caller, None, 9, 200).await.unwrap().users;
    assert_eq!(there.iter().map(|one| one.user_id.as_str()).collect::<Vec<_>>(), ["carol"]);
    for (id, is_kept) in [("old=", false), ("new=", true)] {
        assert_eq!(store.connection(&id.parse().unwrap()).await.unwrap().is_some(), is_kept, "{id}");
    }
}

#[tokio::test]
async fn present_users_are_listed_once_in_pages() {
    let room = Room::new().await;
    for (id, user) in [("d=", "dora"), ("b1=", "bob"), ("b2=", "bob"), ("c=", "carol")] {
        room.open(id, user).await;
    }
    let (channel, caller) = ("c".parse().unwrap(), "erin".parse().unwrap());
    // The sockets are young, so the gateway is not asked.
    let presence =
        Presence { channels: &room.store, connections: &room.store, sockets: &NothingOpen, clock: &room.clock };
    for limit in 1..=5 {
        let (mut found, mut after, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let page = presence.list(&channel, &caller, after.as_ref(), limit, 5).await.unwrap();
            sizes.push(page.users.len());
            found.extend(page.users.into_iter().map(|one| one.user_id.to_string()));
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, ["alice", "bob", "carol", "dora"], "{limit} at a time");
        assert!(sizes.iter().all(|size| *size <= usize::from(limit) && *size > 0), "{limit}: {sizes:?}");
    }
}

#[tokio::test]
async fn a_large_channel_is_listed_in_pages_of_subscriptions() {
    let room = Room::new().await;
    for (id, user) in [("d=", "dora"), ("b1=", "bob"), ("b2=", "bob"), ("c=", "carol")] {
        room.open(id, user).await;
    }
    let (channel, caller) = ("c".parse().unwrap(), "erin".parse().unwrap());
    let presence =
        Presence { channels: &room.store, connections: &room.store, sockets: &NothingOpen, clock: &room.clock };
    for limit in 1..=5 {
        let (mut found, mut after) = (BTreeSet::new(), None);
        for pages in 0.. {
            assert!(pages <= 6, "{limit} at a time: the list does not end");
            let page = presence.list(&channel, &caller, after.as_ref(), limit, 4).await.unwrap();
            assert!(page.users.len() <= usize::from(limit));
            found.extend(page.users.into_iter().map(|one| one.user_id.to_string()));
            // The cursor is a text.
            after = page.next_after.map(|after| after.to_string().parse::<PresencePosition>().unwrap());
            if after.is_none() {
                break;
            }
            assert!(matches!(after, Some(PresencePosition::Audience(_))), "{after:?}");
        }
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["alice", "bob", "carol", "dora"]);
    }
}

/// A gateway at which every socket is open, and that counts the questions.
#[derive(Default)]
struct Asked(Mutex<BTreeSet<String>>);

impl SocketGateway for Asked {
    async fn push(&self, _: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
        unreachable!("listing presence pushes nothing")
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        assert!(self.0.lock().unwrap().insert(id.to_string()), "{id} is asked about twice");
        Ok(true)
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("listing presence closes no socket")
    }
}

#[tokio::test]
async fn a_list_asks_about_few_sockets_and_about_all_in_time() {
    let room = Room::new().await;
    for number in 0..40 {
        room.open(&format!("{number}="), &format!("u{number}")).await;
    }
    room.clock.sleep(SILENCE_DURATION).await;
    room.open("young=", "young").await;
    let (channel, caller) = ("c".parse().unwrap(), "erin".parse().unwrap());
    let mut all = BTreeSet::new();
    for _ in 0..200 {
        let asked = Asked::default();
        let presence =
            Presence { channels: &room.store, connections: &room.store, sockets: &asked, clock: &room.clock };
        let page = presence.list(&channel, &caller, None, 100, 200).await.unwrap();
        assert_eq!(page.users.len(), 42);
        let asked = asked.0.into_inner().unwrap();
        assert_eq!(asked.len(), PRESENCE_PROBES);
        all.extend(asked);
    }
    assert_eq!(all.len(), 41, "all but the young one");
}

/// Channel whose sockets record presence events.
struct Room {
    store: TestStore,
    clock: TestClock,
    /// Sockets, kinds of events, and their users.
    heard: Mutex<Vec<(String, String, String)>>,
    /// `true`: no push and no dispatch succeeds.
    is_down: AtomicBool,
}

impl SocketGateway for Room {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(broken());
        }
        let frame: Value = serde_json::from_str(frame).unwrap();
        let text = |name: &str| frame[name].as_str().unwrap().trim_start_matches("presence.").to_owned();
        self.heard.lock().unwrap().push((id.as_str().to_owned(), text("type"), text("user_id")));
        Ok(Pushed::Delivered)
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("an announcement does not ask whether a socket is open")
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        unreachable!("an announcement closes no socket")
    }
}

impl FanOut for Room {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        Err(broken())
    }
}

impl Room {
    /// Creates a channel in which alice listens at the socket `alice=`.
    async fn new() -> Self {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
        let (heard, is_down) = (Mutex::default(), AtomicBool::new(false));
        let room = Self { store, clock: TestClock::new(1), heard, is_down };
        room.open("alice=", "alice").await;
        room
    }

    async fn open(&self, id: &str, user: &str) {
        let ends_at = self.clock.now().plus(Duration::from_hours(2));
        let connection = Connection {
            key: ConnectionKey { id: id.parse().unwrap(), connected_at: self.clock.now() },
            user_id: user.parse().unwrap(),
            channels: vec![key("c")],
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: ends_at,
            expires_at: ends_at,
        };
        self.store.register_pending(&connection).await.unwrap();
        self.store.activate(&connection, &[].into()).await.unwrap();
    }

    async fn close(&self, id: &str) {
        let found = self.store.connection(&id.parse().unwrap()).await.unwrap().unwrap();
        assert!(ConnectionStore::close(&self.store, &found.key).await.unwrap());
    }

    /// Announces changes of users in a channel with presence up to `most` subscriptions. Returns the events that the
    /// socket of alice receives.
    async fn announce(&self, users: &[&str], most: usize) -> Result<Vec<(String, String)>, StoreError> {
        self.announce_on(&self.store, users, most).await?;
        let of_alice = self.take_heard().into_iter().filter(|(id, ..)| id == "alice=");
        Ok(of_alice.map(|(_, kind, user)| (kind, user)).collect())
    }

    async fn announce_on<H: Hook>(
        &self,
        store: &MemoryStore<H>,
        users: &[&str],
        most: usize,
    ) -> Result<(usize, PushReport), StoreError> {
        let deadline = self.clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: store, sockets: self, fan_out: self, clock: &self.clock, deadline };
        let users = users.iter().map(|user| user.parse().unwrap()).collect();
        delivery.announce_presence(&key("c"), users, most, 1_000).await
    }

    /// Returns the events since the last call, with their sockets.
    fn take_heard(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    /// Returns the sockets that have received an event since the last call, in order.
    fn sockets_that_heard(&self, kind: &str, user: &str) -> Vec<String> {
        let heard = self.take_heard().into_iter().filter(|(_, of, about)| of == kind && about == user);
        let mut sockets: Vec<String> = heard.map(|(id, ..)| id).collect();
        sockets.sort();
        sockets
    }

    async fn hears(&self, users: &[&str], most: usize, wanted: &[(&str, &str)]) {
        let heard = self.announce(users, most).await.unwrap();
        let heard: Vec<_> = heard.iter().map(|(kind, user)| (kind.as_str(), user.as_str())).collect();
        assert_eq!(heard, wanted, "{users:?} up to {most}");
    }
}

#[tokio::test]
async fn an_announced_user_is_withdrawn_from_a_channel_that_has_grown() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    room.hears(&["bob"], 2, &[("joined", "bob")]).await;
    for user in ["carol", "dora"] {
        room.open(&format!("{user}="), user).await;
    }
    room.hears(&["carol", "dora"], 2, &[]).await;
    room.close("bob=").await;
    room.hears(&["bob"], 2, &[("left", "bob")]).await;
    room.hears(&["bob"], 2, &[]).await;

    // Users that were not announced are not withdrawn.
    room.close("dora=").await;
    room.hears(&["dora"], 2, &[]).await;
    room.close("carol=").await;
    room.hears(&["carol"], 2, &[]).await;
    room.open("bob2=", "bob").await;
    room.hears(&["bob"], 2, &[("joined", "bob")]).await;
}

#[tokio::test]
async fn only_the_last_socket_of_a_user_withdraws_it() {
    for most in [100, 2] {
        let room = Room::new().await;
        room.open("bob=", "bob").await;
        room.hears(&["bob"], 100, &[("joined", "bob")]).await;
        room.open("bob2=", "bob").await;
        room.open("bob3=", "bob").await;
        room.hears(&["bob"], most, &[]).await;
        room.close("bob=").await;
        room.hears(&["bob"], most, &[]).await;
        // The last two close at the same time.
        room.close("bob2=").await;
        room.close("bob3=").await;
        room.hears(&["bob"], most, &[("left", "bob")]).await;
    }
}

#[tokio::test]
async fn changes_that_cancel_out_are_not_announced() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    room.close("bob=").await;
    room.hears(&["bob"], 100, &[]).await;
    room.open("bob=", "bob").await;
    room.hears(&["bob"], 100, &[("joined", "bob")]).await;
    room.close("bob=").await;
    room.open("bob2=", "bob").await;
    room.hears(&["bob"], 100, &[]).await;
}

#[tokio::test]
async fn a_lower_threshold_withdraws_the_users_announced_before() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    room.open("carol=", "carol").await;
    room.hears(&["bob", "carol"], 100, &[("joined", "bob"), ("joined", "carol")]).await;
    room.close("bob=").await;
    room.hears(&["bob"], 0, &[("left", "bob")]).await;
    room.open("bob=", "bob").await;
    room.hears(&["bob"], 0, &[]).await;
    room.close("carol=").await;
    room.hears(&["bob", "carol"], 100, &[("joined", "bob"), ("left", "carol")]).await;
}

#[tokio::test]
async fn users_whose_subscriptions_end_without_their_sockets_are_withdrawn() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    room.open("carol=", "carol").await;
    room.hears(&["bob", "carol"], 100, &[("joined", "bob"), ("joined", "carol")]).await;
    // bob is removed from the channel.
    let bob = room.store.connection(&"bob=".parse().unwrap()).await.unwrap().unwrap();
    assert!(room.store.unsubscribe(&key("c"), &bob.key).await.unwrap());
    room.hears(&["bob"], 2, &[("left", "bob")]).await;
    // The subscription of carol expires, and the store has not removed it yet.
    room.clock.sleep(Duration::from_hours(2)).await;
    room.open("alice=", "alice").await;
    room.hears(&["carol"], 100, &[("left", "carol")]).await;
}

#[tokio::test]
async fn a_withdrawal_that_fails_is_repeated() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    room.hears(&["bob"], 100, &[("joined", "bob")]).await;
    room.close("bob=").await;
    room.is_down.store(true, Ordering::Relaxed);
    room.announce(&["bob"], 100).await.unwrap_err();
    room.is_down.store(false, Ordering::Relaxed);
    room.hears(&["bob"], 100, &[("left", "bob")]).await;
    room.hears(&["bob"], 100, &[]).await;
}

#[tokio::test]
async fn a_departure_from_a_grown_channel_reaches_the_sockets_that_were_told_of_an_arrival() {
    let room = Room::new().await;
    for user in ["bob", "carol"] {
        room.open(&format!("{user}="), user).await;
    }
    room.announce_on(&room.store, &["bob", "carol"], 3).await.unwrap();
    assert_eq!(room.sockets_that_heard("joined", "bob"), ["alice=", "carol="]);
    for number in 0..50 {
        room.open(&format!("{number}="), &format!("u{number}")).await;
    }
    let crowd: Vec<String> = (0..50).map(|number| format!("u{number}")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    assert_eq!(room.announce_on(&room.store, &crowd, 3).await.unwrap().0, 0);
    room.close("bob=").await;
    room.announce_on(&room.store, &["bob"], 3).await.unwrap();
    assert_eq!(room.sockets_that_heard("left", "bob"), ["alice=", "carol="], "and no socket of the crowd");
    // The user is no listener, and comes back unannounced.
    room.open("bob=", "bob").await;
    assert_eq!(room.announce_on(&room.store, &["bob"], 3).await.unwrap().0, 0);
    room.close("carol=").await;
    room.announce_on(&room.store, &["carol"], 3).await.unwrap();
    assert_eq!(room.sockets_that_heard("left", "carol"), ["alice="]);
    // In a small channel the next arrival is announced again.
    for number in 0..50 {
        room.close(&format!("{number}=")).await;
    }
    room.hears(&["bob"], 3, &[("joined", "bob")]).await;
}

#[tokio::test]
async fn a_listener_with_a_renewed_token_is_told_and_one_with_an_expired_token_is_not() {
    let room = Room::new().await;
    for user in ["bob", "carol"] {
        room.open(&format!("{user}="), user).await;
    }
    room.announce_on(&room.store, &["bob"], 3).await.unwrap();
    room.take_heard();
    let mut alice = room.store.connection(&"alice=".parse().unwrap()).await.unwrap().unwrap();
    alice.expires_at = room.clock.now().plus(Duration::from_hours(5));
    room.store.renew(&alice).await.unwrap();
    room.clock.sleep(Duration::from_hours(3)).await;
    for number in 0..5 {
        room.open(&format!("{number}="), &format!("u{number}")).await;
    }
    room.close("bob=").await;
    room.announce_on(&room.store, &["bob"], 3).await.unwrap();
    assert_eq!(room.sockets_that_heard("left", "bob"), ["alice="], "the token of carol has expired");
}

#[tokio::test]
async fn of_many_users_at_once_as_many_are_announced_as_pushes_allow_and_only_they_are_withdrawn() {
    let room = Room::new().await;
    let users: Vec<String> = (0..99).map(|number| format!("u{number}")).collect();
    for user in &users {
        room.open(&format!("{user}="), user).await;
    }
    let all: Vec<&str> = users.iter().map(String::as_str).collect();
    let (events, _) = room.announce_on(&room.store, &all, 200).await.unwrap();
    assert_eq!(events, ARRIVAL_PUSHES / 100);
    assert!(room.take_heard().len() <= ARRIVAL_PUSHES);
    for user in &users {
        room.close(&format!("{user}=")).await;
    }
    assert_eq!(room.announce_on(&room.store, &all, 200).await.unwrap().0, events, "those that were announced");
}

#[tokio::test]
async fn a_user_that_another_process_has_found_again_is_announced_again() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    room.hears(&["bob"], 100, &[("joined", "bob")]).await;
    room.close("bob=").await;
    let store = room.store.through(Before::new(Call::MarkOffline, || {
        let mut state = room.store.state();
        let record = state.present.get_mut(&(key("c"), "bob".parse().unwrap())).unwrap();
        record.mark = incarnation();
    }));
    room.announce_on(&store, &["bob"], 100).await.unwrap();
    let heard: Vec<String> = room.take_heard().into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(heard, ["left", "joined"]);
    assert!(store.hook().is_done());
}

#[tokio::test]
async fn listeners_that_another_process_has_changed_are_read_again() {
    let room = Room::new().await;
    room.open("bob=", "bob").await;
    let store = room.store.through(Before::new(Call::SetListeners, || {
        room.store.state().presence_listeners.insert(key("c"), (incarnation(), Vec::new()));
    }));
    assert_eq!(room.announce_on(&store, &["bob"], 100).await.unwrap().0, 1, "once");
    let state = room.store.state();
    let listeners = state.presence_listeners[&key("c")].1.iter().map(|one| one.connection.id.to_string());
    assert_eq!(listeners.collect::<Vec<_>>(), ["alice=", "bob="]);
}
