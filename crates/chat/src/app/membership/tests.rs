//! Membership and open sockets, under every order of events that a seed generates: `$connect`, removal, delivery and
//! joining run concurrently.
//!
//! `World` replaces API Gateway and the stores. A socket opens after `$connect` has responded. An open socket receives
//! every push. Each step of each task is a turn of its own.

mod events;
mod instructions;
mod invited;
mod recorded;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use futures::future::join;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    app::{
        connect::{Asked, Connect, Connector},
        delivery::{Delivery, Reach},
    },
    model::{error::StoreError, id::ConnectionId, limits::DELIVERY_RATE},
    ports::{
        fan_out::{FanOut, PushBatch},
        socket_gateway::Pushed,
    },
    testing::{CONNECT_LIMITS, PausedClock, TestStore, created, key},
};

const CHANNEL: &str = "c";
const USER: &str = "bob";

struct World {
    store: TestStore,
    clock: PausedClock,
    chance: Mutex<StdRng>,
    sockets: Mutex<Sockets>,
}

#[derive(Default)]
struct Sockets {
    open: BTreeSet<ConnectionId>,
    closed: BTreeSet<ConnectionId>,
    /// `true` after the removal was acknowledged.
    ended: bool,
    /// Number of frames of messages.
    received: usize,
    /// Number of frames that tell of the channel, and not of the end itself.
    received_after_the_end: usize,
}

/// Types of frames that tell a client of an end.
const ENDS: [&str; 3] = ["member.removed", "channel.deleted", "closing"];

impl World {
    fn new(seed: u64, visibility: Visibility) -> Self {
        let store = TestStore::scheduled(seed, 6).with_channel(CHANNEL, visibility).with_role(
            CHANNEL,
            "alice",
            MemberRole::Owner,
        );
        Self {
            store,
            clock: PausedClock::new(seed),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            sockets: Mutex::default(),
        }
    }

    /// Lets other tasks run for some turns.
    async fn turns(&self) {
        let turns = self.chance.lock().unwrap().random_range(0..6);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn step<T>(&self, change: impl FnOnce(&mut Sockets) -> T) -> T {
        self.turns().await;
        change(&mut self.sockets.lock().unwrap())
    }

    fn membership(&self) -> Membership<'_, TestStore, TestStore, Self, Self, PausedClock> {
        let (store, clock) = (&self.store, &self.clock);
        let deadline = clock.now().plus(Duration::from_hours(1));
        Membership { channels: store, connections: store, sockets: self, fan_out: self, clock, deadline }
    }

    /// Runs a handshake, from its request to the open socket.
    async fn handshake(&self, asked: Asked) {
        self.turns().await;
        let request = Connect {
            connection_id: "x=".parse().unwrap(),
            user_id: USER.parse().unwrap(),
            token_expires_at: self.clock.now().plus(Duration::from_hours(1)),
            asked,
            allowed_channels: None,
        };
        let id = request.connection_id.clone();
        let connector =
            Connector { channels: &self.store, connections: &self.store, sockets: self, clock: &self.clock };
        if connector.connect(request, CONNECT_LIMITS).await.is_ok() {
            self.step(|sockets| sockets.open.insert(id)).await;
        }
    }

    async fn deliver(&self) {
        let deadline = self.clock.now().plus(Duration::from_mins(1));
        let delivery =
            Delivery { connections: &self.store, sockets: self, fan_out: self, clock: &self.clock, deadline };
        let reach = Reach { threshold: 200, rate: DELIVERY_RATE };
        delivery.deliver(&key(CHANNEL), &[created(CHANNEL, 1, "hi")], reach).await.unwrap();
    }

    async fn remove(&self, caller: &str) {
        let user = USER.parse().unwrap();
        let removed = self.membership().remove(&CHANNEL.parse().unwrap(), &caller.parse().unwrap(), &user).await;
        assert!(matches!(removed, Ok(()) | Err(ChatError::MemberNotFound)), "{removed:?}");
        self.sockets.lock().unwrap().ended = true;
    }

    /// Removes the user, and stops before the socket is closed. Waits until the user is a member.
    async fn remove_and_stop(&self) -> PendingEnd {
        let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
        loop {
            self.turns().await;
            let found = self.store.channel(&channel).await.unwrap().unwrap();
            let access = Access { channel: found, member: self.store.member(&key(CHANNEL), &alice).await.unwrap() };
            let Some(member) = self.store.member(&key(CHANNEL), &bob).await.unwrap() else { continue };
            let cause = EndCause::MemberRemoved { user_id: member.user_id.clone() };
            let pending = PendingEnd::new(key(CHANNEL), cause, self.clock.seed());
            let now = self.clock.now();
            let removed = self.store.remove_member(&access.as_member(), &member, &pending, now).await.unwrap();
            if matches!(removed, MemberChanged::Done) {
                return pending;
            }
        }
    }

    /// Returns the number of subscriptions to the channel.
    fn subscriptions(&self) -> usize {
        self.store.state().subscriptions.get(&key(CHANNEL)).map_or(0, BTreeMap::len)
    }

    fn received(&self) -> (usize, usize) {
        let sockets = self.sockets.lock().unwrap();
        (sockets.received, sockets.received_after_the_end)
    }
}

impl SocketGateway for World {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
        let kind = frame["type"].as_str().unwrap();
        self.step(|sockets| {
            if !sockets.open.contains(id) || sockets.closed.contains(id) {
                return Ok(Pushed::Gone);
            }
            sockets.received += usize::from(kind == "events");
            sockets.received_after_the_end += usize::from(sockets.ended && !ENDS.contains(&kind));
            Ok(Pushed::Delivered)
        })
        .await
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        Ok(self.step(|sockets| sockets.open.contains(id)).await)
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.step(|sockets| Ok(sockets.open.contains(id) && sockets.closed.insert(id.clone()))).await
    }
}

impl FanOut for World {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        unreachable!("every socket accepts its frames")
    }
}

/// Runs a test on paused time, which advances when all tasks wait.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_received_after_a_removal_was_answered(seed: u64, private: bool, named: bool, by_owner: bool) {
        run(async {
            let visibility = if private { Visibility::Private } else { Visibility::Public };
            let mut world = World::new(seed, visibility);
            world.store = world.store.with_member(CHANNEL, USER);
            let asked = if named && private { Asked::Channels(vec![CHANNEL.parse().unwrap()]) } else { Asked::Memberships };
            let deliveries = async { for _ in 0..8 { world.deliver().await; world.turns().await; } };
            let caller = if by_owner { "alice" } else { USER };
            let removal = async { world.turns().await; world.remove(caller).await };
            join(world.handshake(asked), join(removal, deliveries)).await;
            world.deliver().await;
            assert_eq!(world.received().1, 0);
        });
    }

    #[test]
    fn a_new_member_receives_without_connecting_again(seed: u64, already_connected: bool) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
            let membership = world.membership();
            let added = async { membership.add(&channel, &alice, &bob, None, Addition::Outright).await.unwrap() };
            if already_connected {
                world.handshake(Asked::Memberships).await;
                added.await;
            } else {
                join(world.handshake(Asked::Memberships), added).await;
            }
            world.deliver().await;
            assert_eq!(world.received().0, 1);
        });
    }

    #[test]
    fn joining_beside_removal_leaves_what_the_membership_says(seed: u64) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
            let membership = world.membership();
            world.handshake(Asked::Memberships).await;
            let removal = async {
                world.turns().await;
                while membership.remove(&channel, &alice, &bob).await.is_err() { world.turns().await; }
                world.sockets.lock().unwrap().ended = true;
            };
            join(async { membership.add(&channel, &alice, &bob, None, Addition::Outright).await.unwrap() }, removal).await;
            world.deliver().await;
            assert!(world.store.member(&key(CHANNEL), &bob).await.unwrap().is_none());
            assert_eq!(world.received().1, 0);
            assert_eq!(world.subscriptions(), 0);
        });
    }

    /// A socket without its subscription would miss events unnoticed after its user has joined again.
    #[test]
    fn a_removal_that_stops_closes_the_socket_although_the_user_was_added_beside_it(seed: u64) {
        run(async {
            let mut world = World::new(seed, Visibility::Private);
            world.store = world.store.with_member(CHANNEL, USER);
            world.handshake(Asked::Memberships).await;
            let first = world.remove_and_stop().await;
            let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
            let membership = world.membership();
            let added = async { membership.add(&channel, &alice, &bob, None, Addition::Outright).await.unwrap() };
            let (_, second) = join(added, world.remove_and_stop()).await;
            for pending in [first, second] {
                let until = world.clock.monotonic() + Duration::from_hours(1);
                let ends = membership.subscription_ends();
                assert!(ends.resume(pending, &world.store, until).await.unwrap());
            }
            assert_eq!(world.subscriptions(), 0);
            assert_eq!(world.sockets.lock().unwrap().closed.len(), 1);
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
                let changes = crate::app::channels::Changes {
                    visibility: Some(Visibility::Private),
                    ..crate::app::channels::Changes::default()
                };
                world.membership().change_channel(&channel, &alice, None, &changes).await.unwrap();
                world.sockets.lock().unwrap().ended = true;
            };
            join(world.handshake(Asked::Channels(vec![channel.clone()])), join(change, deliveries)).await;
            world.deliver().await;
            assert_eq!(world.received().1, 0);
        });
    }
}

#[test]
fn who_may_add_and_change_whom() {
    use MemberRole::{Member as Plain, Moderator, Owner};
    // Role of the caller, whether the caller adds itself, current role of the added user, new role, and whether it is
    // allowed.
    let cases = [
        (None, true, None, Plain, true),
        (None, true, None, Owner, false),
        (None, false, None, Plain, false),
        (Some(Plain), false, None, Plain, false),
        (Some(Plain), true, Some(Plain), Plain, true),
        (Some(Plain), true, Some(Plain), Moderator, false),
        (Some(Moderator), false, None, Plain, true),
        (Some(Moderator), false, None, Moderator, false),
        (Some(Moderator), false, Some(Plain), Moderator, false),
        (Some(Moderator), false, Some(Owner), Plain, false),
        (Some(Moderator), true, Some(Moderator), Plain, true),
        (Some(Owner), false, None, Owner, true),
        (Some(Owner), false, Some(Plain), Owner, true),
        (Some(Owner), true, Some(Owner), Plain, true),
    ];
    let access = |caller: Option<MemberRole>, visibility| {
        let store = TestStore::seeded(1, 0).with_channel(CHANNEL, visibility);
        let store = caller.into_iter().fold(store, |store, role| store.with_role(CHANNEL, USER, role));
        let state = store.state();
        let channel = state.channel(&key(CHANNEL)).unwrap().clone();
        Access { channel, member: state.member(&key(CHANNEL), &USER.parse().unwrap()).cloned() }
    };
    for (caller, is_self, current, wanted, may) in cases {
        let checked = check_addition(&access(caller, Visibility::Public), is_self, current, wanted);
        assert_eq!(checked.is_ok(), may, "{caller:?} {is_self} {current:?} {wanted:?}");
    }
    for wanted in [Plain, Moderator, Owner] {
        let checked = check_addition(&access(None, Visibility::Private), true, None, wanted);
        assert!(matches!(checked, Err(ChatError::ChannelNotFound)), "{wanted:?}");
    }
}
