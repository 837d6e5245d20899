//! `$connect` and the changes that come between its calls. Each change is made right before a call takes effect.

use std::sync::Mutex;

use futures::FutureExt;

use super::*;
use crate::{
    memory::{Call, MemoryStore, Reliable, State},
    model::{channel::Member, error::StoreError, seq::Seq},
    ports::socket_gateway::Pushed,
    testing::{Before, CONNECT_LIMITS, TestClock, TestStore, key},
};

const USER: &str = "bob";
const HOUR: Duration = Duration::from_hours(1);

/// Gateway that knows no socket.
struct NoSockets;

impl SocketGateway for NoSockets {
    async fn push(&self, _: &ConnectionId, _: &str) -> std::result::Result<Pushed, StoreError> {
        unreachable!("a handshake pushes nothing")
    }

    async fn is_open(&self, _: &ConnectionId) -> std::result::Result<bool, StoreError> {
        Ok(false)
    }

    async fn close(&self, _: &ConnectionId) -> std::result::Result<bool, StoreError> {
        unreachable!("a handshake closes no socket")
    }
}

fn user() -> UserId {
    USER.parse().unwrap()
}

fn request(id: &str, asked: Asked, clock: &TestClock) -> Connect {
    Connect {
        connection_id: id.parse().unwrap(),
        user_id: user(),
        token_expires_at: clock.now().plus(HOUR),
        asked,
        allowed_channels: None,
    }
}

/// Opens a connection, and makes a change before the first call of a kind.
async fn connect(
    store: &TestStore,
    clock: &TestClock,
    asked: Asked,
    before: Call,
    change: impl FnOnce() + Send,
) -> Result<Connection> {
    let hooked = store.through(Before::new(before, change));
    let connector = Connector { channels: &hooked, connections: &hooked, sockets: &NoSockets, clock };
    let connected = connector.connect(request("x=", asked, clock), CONNECT_LIMITS).await;
    assert!(hooked.hook().is_done(), "{before:?} was not called");
    connected
}

/// Returns a channel with this connection's subscription, if it has one.
fn is_subscribed(state: &State, channel: &str) -> bool {
    state.subscription(&key(channel), &"x=".parse().unwrap()).is_some()
}

fn assert_nothing_remains(store: &TestStore) {
    let state = store.state();
    assert!(state.connections.is_empty() && state.token_ends.is_empty());
    assert!(state.user_connections.values().all(BTreeMap::is_empty));
    assert!(state.subscriptions.values().all(BTreeMap::is_empty));
}

/// Ends a membership, as a function does that has not looked for connections.
fn end_membership(state: &mut State, channel: &str) {
    state.members.get_mut(&key(channel)).unwrap().remove(&user()).unwrap();
    state.listed.get_mut(&user()).unwrap().remove(&key(channel)).unwrap();
}

/// Begins a membership, and subscribes the user's connections. Returns the results.
fn begin_membership(store: &MemoryStore<Reliable>, channel: &str) -> Vec<bool> {
    let member = Member {
        channel_id: channel.parse().unwrap(),
        user_id: user(),
        incarnation: crate::testing::incarnation(),
        role: crate::model::channel::MemberRole::Member,
        joined_at: Timestamp::from_secs(1),
        added_by: None,
    };
    store.state().put_member(&key(channel), member, Seq::ZERO);
    let now = Timestamp::from_secs(0);
    let follow = async {
        let mut subscribed = Vec::new();
        for connection in store.connections_of(&user(), now).await.unwrap() {
            subscribed.push(store.subscribe(&key(channel), &user(), &connection, true).await.unwrap());
        }
        subscribed
    };
    follow.now_or_never().unwrap()
}

#[tokio::test]
async fn a_membership_that_begins_after_they_were_read_is_subscribed_by_the_function_that_begins_it() {
    for before in [Call::Memberships, Call::Open] {
        let clock = TestClock::new(1);
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private).with_member("c", USER);
        let store = store.with_channel("d", Visibility::Private);
        let subscribed = Mutex::new(Vec::new());
        let begins = || *subscribed.lock().unwrap() = begin_membership(&store.through(Reliable), "d");
        let connection = connect(&store, &clock, Asked::Memberships, before, begins).await.unwrap();
        assert_eq!(*subscribed.lock().unwrap(), [true], "{before:?}");
        let channels: BTreeSet<ChannelKey> = connection.channels.into_iter().collect();
        assert_eq!(channels, BTreeSet::from([key("c"), key("d")]), "{before:?}");
        let state = store.state();
        assert!(is_subscribed(&state, "c") && is_subscribed(&state, "d"), "{before:?}");
    }
}

#[tokio::test]
async fn a_slow_handshake_reads_the_memberships_again() {
    for (seconds, is_noticed) in [(0, false), (2, true)] {
        let clock = TestClock::new(1);
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private).with_member("c", USER);
        let ends = || {
            end_membership(&mut store.state(), "c");
            _ = clock.sleep(Duration::from_secs(seconds)).now_or_never();
        };
        let connection = connect(&store, &clock, Asked::Memberships, Call::Open, ends).await.unwrap();
        // Within a second, the function that ended the membership still waits for the socket.
        assert_eq!(connection.channels.is_empty(), is_noticed, "{seconds} s");
        assert_eq!(is_subscribed(&store.state(), "c"), !is_noticed, "{seconds} s");
    }
}

#[tokio::test]
async fn a_connection_that_became_overfull_gives_channels_back() {
    let clock = TestClock::new(1);
    let mut store = TestStore::seeded(1, 0);
    for number in 0..CHANNELS_PER_CONNECTION {
        let name = format!("c{number}");
        store = store.with_channel(&name, Visibility::Public).with_member(&name, USER);
    }
    store = store.with_channel("more", Visibility::Public);
    let begins = || _ = begin_membership(&store.through(Reliable), "more");
    let connection = connect(&store, &clock, Asked::Memberships, Call::Open, begins).await.unwrap();
    assert_eq!((connection.channels.len(), connection.left_out), (CHANNELS_PER_CONNECTION, 1));
    assert!(connection.channels.contains(&key("more")), "the newest of those that the user chose");
    let state = store.state();
    let stored = &state.connections[&connection.key.id];
    assert_eq!((stored.channels.len(), stored.left_out), (CHANNELS_PER_CONNECTION, 1));
    assert_eq!(state.subscriptions.values().filter(|all| !all.is_empty()).count(), CHANNELS_PER_CONNECTION);
}

#[tokio::test]
async fn a_channel_that_is_hidden_during_the_handshake_refuses_it() {
    let named = || Asked::Channels(vec!["c".parse().unwrap()]);
    for (before, is_private) in
        [(Call::MembershipsAmong, true), (Call::MembershipsAmong, false), (Call::Open, true), (Call::Open, false)]
    {
        let clock = TestClock::new(1);
        let visibility = if is_private { Visibility::Private } else { Visibility::Public };
        let store = TestStore::seeded(1, 0).with_channel("c", visibility);
        let store = if is_private { store.with_member("c", USER) } else { store };
        let hides = || {
            let mut state = store.state();
            if is_private {
                end_membership(&mut state, "c");
            } else {
                state.channels.values_mut().for_each(|channel| channel.visibility = Visibility::Private);
            }
        };
        let refused = connect(&store, &clock, named(), before, hides).await;
        assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{before:?}, private: {is_private}");
        assert_nothing_remains(&store);
    }
}

#[tokio::test]
async fn a_channel_that_is_deleted_during_the_handshake_refuses_it() {
    let clock = TestClock::new(1);
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
    let deletes = || store.state().channels.clear();
    let asked = Asked::Channels(vec!["c".parse().unwrap()]);
    let refused = connect(&store, &clock, asked, Call::Open, deletes).await;
    assert!(matches!(refused, Err(ChatError::ChannelNotFound)));
    assert_nothing_remains(&store);
}

#[tokio::test]
async fn a_connection_that_is_closed_during_the_handshake_is_not_opened() {
    let clock = TestClock::new(1);
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public).with_member("c", USER);
    let closes = || {
        let closing = store.through(Reliable);
        let pending = closing.state().connections.values().next().cloned().unwrap();
        assert!(ConnectionStore::close(&closing, &pending.key).now_or_never().unwrap().unwrap());
    };
    let refused = connect(&store, &clock, Asked::Memberships, Call::Open, closes).await;
    assert!(matches!(refused, Err(ChatError::ConnectionNotFound)));
    let state = store.state();
    assert!(state.connections.is_empty() && !is_subscribed(&state, "c"));
}

#[tokio::test]
async fn a_refused_connection_leaves_nothing() {
    let clock = TestClock::new(1);
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public).with_member("c", USER);
    let store = store.through(Reliable);
    let connector = Connector { channels: &store, connections: &store, sockets: &NoSockets, clock: &clock };
    let limits = |burst, connections| ConnectLimits { bucket: Bucket { every: HOUR, burst }, connections };
    let connect = async |id: &str, limits: ConnectLimits| {
        connector.connect(request(id, Asked::Memberships, &clock), limits).await
    };
    connect("x=", limits(1, 1)).await.unwrap();
    let before = store.state().connections.clone();
    let refused = connect("y=", limits(1, 20)).await;
    assert!(matches!(refused, Err(ChatError::TooManyRequests(_))), "{refused:?}");
    let refused = connect("y=", limits(9, 1)).await;
    assert!(matches!(refused, Err(ChatError::TooManyConnections(1))), "{refused:?}");
    let state = store.state();
    assert_eq!(state.connections, before);
    assert_eq!(state.user_connections[&user()].len(), 1);
    assert_eq!(state.subscriptions[&key("c")].len(), 1);
}
