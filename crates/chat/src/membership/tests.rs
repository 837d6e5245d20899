//! Membership and live sockets under every order of events that a seed can make: connecting beside removal, removal
//! beside delivery, joining beside both.
//!
//! The world below is API Gateway and the tables as far as they matter: a socket opens after `$connect` has
//! answered, what is pushed to an open socket is received, and every step of everybody is a turn of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use futures::future::join;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    connect::{Connect, connect},
    connection::{Connection, Subscription},
    delivery::Pushed,
    testing::{MemoryStore, TestClock},
};

const CHANNEL: &str = "c";
const USER: &str = "bob";

struct World {
    store: MemoryStore,
    clock: TestClock,
    chance: Mutex<StdRng>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    connections: BTreeMap<ConnectionId, Connection>,
    of_user: BTreeMap<ConnectionId, UserConnection>,
    subscriptions: BTreeSet<(ChannelId, ConnectionId)>,
    open: BTreeSet<ConnectionId>,
    closed: BTreeSet<ConnectionId>,
    /// Whether the membership's end has been answered.
    ended: bool,
    received: usize,
    received_after_the_end: usize,
}

impl World {
    fn new(seed: u64, visibility: Visibility) -> Self {
        let store =
            MemoryStore::new(seed, 0).with_channel(CHANNEL, visibility).with_role(CHANNEL, "alice", MemberRole::Owner);
        Self {
            store,
            clock: TestClock::new(seed),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            tables: Mutex::default(),
        }
    }

    /// Lets the others have some turns.
    async fn turns(&self) {
        let turns = self.chance.lock().unwrap().random_range(0..6);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn step<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        self.turns().await;
        change(&mut self.tables.lock().unwrap())
    }

    fn membership(&self) -> Membership<'_, MemoryStore, Self, Self, TestClock> {
        Membership { channels: &self.store, connections: self, sockets: self, clock: &self.clock }
    }

    /// A handshake from its request to the open socket.
    async fn handshake(&self, channels: Option<Vec<ChannelId>>) {
        self.turns().await;
        let request = Connect {
            connection_id: "x=".parse().unwrap(),
            user_id: USER.parse().unwrap(),
            token_expires_at: self.clock.now().plus(Duration::from_hours(1)),
            channels,
            limited_to: None,
        };
        let id = request.connection_id.clone();
        if connect(&self.store, self, &self.clock, request, 20).await.is_ok() {
            self.step(|tables| tables.open.insert(id)).await;
        }
    }

    /// One batch: who listens, then a push to each.
    async fn deliver(&self) {
        let listeners = self.subscriptions(&CHANNEL.parse().unwrap(), self.clock.now()).await.unwrap();
        for listener in listeners {
            self.push(&listener.connection_id, "").await.unwrap();
        }
    }

    async fn remove(&self, caller: &str) {
        let user = USER.parse().unwrap();
        let removed = self.membership().remove(&CHANNEL.parse().unwrap(), &caller.parse().unwrap(), &user).await;
        assert!(matches!(removed, Ok(()) | Err(ChatError::MemberNotFound)), "{removed:?}");
        self.tables.lock().unwrap().ended = true;
    }
}

impl SocketPusher for World {
    async fn push(&self, id: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
        self.step(|tables| {
            if !tables.open.contains(id) || tables.closed.contains(id) {
                return Ok(Pushed::Gone);
            }
            tables.received += 1;
            tables.received_after_the_end += usize::from(tables.ended);
            Ok(Pushed::Delivered)
        })
        .await
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        Ok(self.step(|tables| tables.open.contains(id)).await)
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.step(|tables| Ok(tables.open.contains(id) && tables.closed.insert(id.clone()))).await
    }
}

impl ConnectionStore for World {
    async fn announce(&self, _: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        self.step(|tables| tables.of_user.insert(connection.connection_id.clone(), connection.clone())).await;
        Ok(())
    }

    async fn withdraw(&self, _: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        self.step(|tables| tables.of_user.remove(&connection.connection_id)).await;
        Ok(())
    }

    async fn open(&self, connection: &Connection) -> Result<(), StoreError> {
        let id = &connection.connection_id;
        self.step(|tables| tables.connections.insert(id.clone(), connection.clone())).await;
        for channel in &connection.channels {
            self.step(|tables| tables.subscriptions.insert((channel.clone(), id.clone()))).await;
        }
        Ok(())
    }

    async fn renew(&self, _: &Connection) -> Result<bool, StoreError> {
        unreachable!("no test renews")
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        self.step(|tables| Ok(tables.connections.get(id).cloned())).await
    }

    async fn connections_of(&self, _: &UserId, _: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        self.step(|tables| Ok(tables.of_user.values().cloned().collect())).await
    }

    async fn close(&self, id: &ConnectionId, _: Timestamp) -> Result<bool, StoreError> {
        self.step(|tables| tables.subscriptions.retain(|(_, subscriber)| subscriber != id)).await;
        self.step(|tables| tables.of_user.remove(id)).await;
        self.step(|tables| Ok(tables.connections.remove(id).is_some())).await
    }

    async fn subscriptions(&self, channel: &ChannelId, _: Timestamp) -> Result<Vec<Subscription>, StoreError> {
        self.step(|tables| {
            let of_channel = tables.subscriptions.iter().filter(|(subscribed, _)| subscribed == channel);
            let found = of_channel.filter_map(|(_, id)| tables.connections.get(id)).map(|connection| Subscription {
                connection_id: connection.connection_id.clone(),
                user_id: connection.user_id.clone(),
                connected_at: connection.connected_at,
                expires_at: connection.expires_at,
            });
            Ok(found.collect())
        })
        .await
    }

    async fn subscribe(&self, channel: &ChannelId, _: &UserId, to: &UserConnection) -> Result<bool, StoreError> {
        if self.step(|tables| !tables.connections.contains_key(&to.connection_id)).await {
            return Ok(false);
        }
        self.step(|tables| tables.subscriptions.insert((channel.clone(), to.connection_id.clone()))).await;
        Ok(true)
    }

    async fn unsubscribe(&self, channel: &ChannelId, id: &ConnectionId, _: Timestamp) -> Result<bool, StoreError> {
        self.step(|tables| Ok(tables.subscriptions.remove(&(channel.clone(), id.clone())))).await
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_received_after_a_removal_was_answered(seed: u64, private: bool, named: bool, by_owner: bool) {
        run(async {
            let visibility = if private { Visibility::Private } else { Visibility::Public };
            let mut world = World::new(seed, visibility);
            world.store = world.store.with_member(CHANNEL, USER);
            let channels = (named && private).then(|| vec![CHANNEL.parse().unwrap()]);
            let deliveries = async { for _ in 0..8 { world.deliver().await; world.turns().await; } };
            let caller = if by_owner { "alice" } else { USER };
            let removal = async { world.turns().await; world.remove(caller).await };
            join(world.handshake(channels), join(removal, deliveries)).await;
            world.deliver().await;
            let tables = world.tables.lock().unwrap();
            assert_eq!(tables.received_after_the_end, 0);
        });
    }

    #[test]
    fn a_new_member_receives_without_connecting_again(seed: u64, already_connected: bool) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
            let membership = world.membership();
            if already_connected {
                world.handshake(None).await;
                membership.add(&channel, &alice, &bob, None).await.unwrap();
            } else {
                join(world.handshake(None), async { membership.add(&channel, &alice, &bob, None).await.unwrap() }).await;
            }
            world.deliver().await;
            assert_eq!(world.tables.lock().unwrap().received, 1);
        });
    }

    #[test]
    fn joining_beside_removal_leaves_what_the_membership_says(seed: u64) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
            let membership = world.membership();
            world.handshake(None).await;
            let removal = async {
                world.turns().await;
                while membership.remove(&channel, &alice, &bob).await.is_err() { world.turns().await; }
                world.tables.lock().unwrap().ended = true;
            };
            join(async { membership.add(&channel, &alice, &bob, None).await.unwrap() }, removal).await;
            world.deliver().await;
            assert!(world.store.member(&channel, &bob).await.unwrap().is_none());
            assert_eq!(world.tables.lock().unwrap().received_after_the_end, 0);
            assert!(world.tables.lock().unwrap().subscriptions.is_empty());
        });
    }

    #[test]
    fn a_channel_made_private_is_silent_for_strangers_from_the_answer_on(seed: u64) {
        run(async {
            let world = World::new(seed, Visibility::Public);
            let (channel, alice): (ChannelId, UserId) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap());
            let deliveries = async { for _ in 0..8 { world.deliver().await; world.turns().await; } };
            let change = async {
                world.turns().await;
                let changes = crate::settings::Changes {
                    visibility: Some(Visibility::Private),
                    ..crate::settings::Changes::default()
                };
                crate::settings::change(&world.membership(), &channel, &alice, None, &changes).await.unwrap();
                world.tables.lock().unwrap().ended = true;
            };
            join(world.handshake(Some(vec![channel.clone()])), join(change, deliveries)).await;
            world.deliver().await;
            assert_eq!(world.tables.lock().unwrap().received_after_the_end, 0);
        });
    }
}

#[test]
fn who_may_add_and_change_whom() {
    use MemberRole::{Member, Moderator, Owner};
    // The caller's role, whether the caller is the one added, what that one is, what it shall be, and whether it may.
    let cases = [
        (None, true, None, Member, true),
        (None, true, None, Owner, false),
        (None, false, None, Member, false),
        (Some(Member), false, None, Member, false),
        (Some(Member), true, Some(Member), Member, true),
        (Some(Member), true, Some(Member), Moderator, false),
        (Some(Moderator), false, None, Member, true),
        (Some(Moderator), false, None, Moderator, false),
        (Some(Moderator), false, Some(Member), Moderator, false),
        (Some(Moderator), false, Some(Owner), Member, false),
        (Some(Moderator), true, Some(Moderator), Member, true),
        (Some(Owner), false, None, Owner, true),
        (Some(Owner), false, Some(Member), Owner, true),
        (Some(Owner), true, Some(Owner), Member, true),
    ];
    for (caller, is_self, current, wanted, may) in cases {
        let checked = check_addition(caller, is_self, current, wanted);
        assert_eq!(checked.is_ok(), may, "{caller:?} {is_self} {current:?} {wanted:?}");
    }
}
