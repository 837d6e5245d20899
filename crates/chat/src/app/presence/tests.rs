//! Lists of present users, and announcements of users that come and go.

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
    model::{
        channel::Visibility,
        connection::{Connection, ConnectionKey},
        id::ConnectionId,
    },
    ports::{fan_out::PushBatch, socket_gateway::Pushed},
    testing::{TestClock, TestStore, broken, key},
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
async fn a_socket_in_its_handshake_is_there_and_one_that_has_vanished_is_forgotten() {
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
    let clock = TestClock::new(1);
    for (id, user, age) in [("old=", "bob", HANDSHAKE_DURATION), ("new=", "carol", HANDSHAKE_DURATION / 2)] {
        let connected_at = Timestamp::from_millis(clock.now().as_millis() - i64::try_from(age.as_millis()).unwrap());
        let ends_at = clock.now().plus(HANDSHAKE_DURATION);
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
    let there = presence.list(&channel, &caller, None, 9).await.unwrap().users;
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
    // The sockets are in their handshakes, so the gateway is not asked.
    let presence =
        Presence { channels: &room.store, connections: &room.store, sockets: &NothingOpen, clock: &room.clock };
    for limit in 1..=5 {
        let (mut found, mut after, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let page = presence.list(&channel, &caller, after.as_ref(), limit).await.unwrap();
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
        let deadline = self.clock.now().plus(Duration::from_mins(1));
        let delivery =
            Delivery { connections: &self.store, sockets: self, fan_out: self, clock: &self.clock, deadline };
        let users = users.iter().map(|user| user.parse().unwrap()).collect();
        delivery.announce_presence(&key("c"), users, most, 100).await?;
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let of_alice = heard.into_iter().filter(|(id, ..)| id == "alice=");
        Ok(of_alice.map(|(_, kind, user)| (kind, user)).collect())
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
