//! Counts the requests per message, because each costs money and time. `docs/reports/calls.json` records them, so that
//! an additional one is intended. docs/reports/cost.md has its figures from there.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use chat::{
    app::{
        access::authorize_read,
        agent::{self, Agent, Budgets, built_in::BuiltInResponder},
        channel_lists::Filter,
        channel_messages::ChannelMessages,
        connect::{Asked, Connect, ConnectLimits, Connector},
        delivery::{Delivery, Reach},
        edit::Edit,
        history::{PageRequest, Shown},
        maintenance::{Finished, Maintenance},
        membership::Membership,
        read_mark::mark_read,
        send::{SendCache, SendMessage, SendResult, send},
    },
    model::{
        access::Caller,
        draft::Delta,
        error::{ChatError, StoreError},
        invitation::Addition,
        limits::{AGENT_INSTRUCTIONS_BYTES, CHANGE_DURATION, DELIVERY_RATE, HANDFUL_TOKENS},
        message::{Change, MessageEvent, NewMessage},
        message_ref::MessageRef,
        push_report::PushReport,
        reaction::Toggle,
        token_bucket::Bucket,
    },
    ports::{
        clock::Clock,
        draft_sink::DraftSink,
        expiry_store::ExpiryStore,
        fan_out::{FanOut, PushBatch, Recipient},
        message_store::Selection,
        socket_gateway::{Pushed, SocketGateway},
    },
};

use chat_aws::{DynamoDeletedChannels, DynamoTenants};
use serde_json::Value;

use super::{recorder::Calls, *};

/// A socket gateway that accepts every push.
#[derive(Debug, Default)]
struct Sockets(AtomicUsize);

impl SocketGateway for Sockets {
    async fn push(&self, _: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Pushed::Delivered)
    }

    async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
        Ok(true)
    }
}

impl FanOut for Sockets {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        panic!("so few recipients need no dispatch");
    }
}

impl DraftSink for Sockets {
    async fn show(&self, _: &ChannelKey, _: &Delta) {
        panic!("no caller checks sockets");
    }

    async fn resume(&self, _: &ChannelKey, _: MessageId, _: &str, _: Timestamp) {
        panic!("no draft is continued");
    }
}

/// A clock whose time stands still and whose random numbers are constant.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }

    fn random(&self) -> u128 {
        0
    }
}

/// Returns a message as a REST client sends it.
fn message(channel: &str, key: Option<&str>, bucket: Bucket) -> SendMessage {
    SendMessage {
        channel_id: channel_id(channel),
        sender_id: user("alice"),
        role: Role::User,
        draft: NewMessage { content: "hi".to_owned(), ..NewMessage::default() },
        agent: None,
        record_key: key.map(|key| request("alice", key)),
        incarnation: None,
        bucket: Some(bucket),
        trace: None,
    }
}

/// Returns the recorded costs of a case.
fn documented(case: &str) -> Value {
    let calls: Value = serde_json::from_str(include_str!("../../../../docs/reports/calls.json")).unwrap();
    calls[case].clone()
}

const WIDE: Bucket = Bucket { every: Duration::from_millis(1), burst: 1_000 };
/// Bucket with so few tokens that each message takes its own.
const NARROW: Bucket = Bucket { every: Duration::from_millis(1), burst: 7 };
/// Bucket that regains nothing during a test.
const SLOW: Bucket = Bucket { every: Duration::from_mins(1), burst: 100 };

#[tokio::test]
async fn a_message_is_one_request_and_two_when_nothing_is_remembered() {
    let (tables, calls) = Tables::new().await.counted();
    for (id, visibility) in [("public", Visibility::Public), ("private", Visibility::Private)] {
        tables.channel(id, visibility).await;
        calls.take();
        let mut cache = SendCache::default();
        let first = Some(Seq::FIRST);
        for (case, key, reply_to, thread_seq) in [
            ("message_when_nothing_is_remembered", None, None, None),
            ("message", None, None, None),
            ("message", None, None, None),
            ("message_with_a_key", Some("k"), None, None),
            // A quote costs nothing.
            ("message", None, first, None),
            ("message_in_a_thread", None, None, first),
        ] {
            let mut message = message(id, key, NARROW);
            (message.draft.reply_to, message.draft.thread_seq) = (reply_to, thread_seq);
            send(&tables.messages(), &SystemClock, message, &mut cache).await.unwrap();
            let cost = calls.cost();
            assert_eq!(json!(cost.calls), documented(case)[id], "{case}, {id}");
            // Each item of a transaction has at most 1 KB, and so costs two units.
            let items: u32 = cost.calls.iter().filter_map(|call| call.rsplit(' ').next()?.parse::<u32>().ok()).sum();
            assert!((cost.write_units - 2.0 * f64::from(items)).abs() < f64::EPSILON, "{case}, {id}: {cost:?}");
        }
    }
}

/// A busy sender pays for the message and the head of its channel. The agent's instructions are beside the head.
#[tokio::test]
async fn a_busy_sender_writes_its_bucket_once_for_a_handful_of_messages() {
    for (id, visibility) in [("public", Visibility::Public), ("private", Visibility::Private)] {
        let (tables, calls) = Tables::new().await.counted();
        let mut channel = sample(id, visibility);
        channel.agent.instructions = Instructions::Text("a".repeat(AGENT_INSTRUCTIONS_BYTES));
        let owner = member(id, "alice", MemberRole::Owner);
        assert_eq!(tables.channels().create(&channel, &owner, None, MANY).await.unwrap(), ChannelCreated::Done);
        let mut cache = SendCache::default();
        send(&tables.messages(), &SystemClock, message(id, None, SLOW), &mut cache).await.unwrap();
        calls.take();
        for number in 0..=HANDFUL_TOKENS {
            let is_written = number % HANDFUL_TOKENS == 0;
            send(&tables.messages(), &SystemClock, message(id, None, SLOW), &mut cache).await.unwrap();
            let (cost, case) = (calls.cost(), if is_written { "message" } else { "message_of_a_handful" });
            assert_eq!(json!(cost.calls), documented(case)[id], "message {number}, {id}");
            let items = 2 + u32::from(is_written) + u32::from(visibility == Visibility::Private);
            assert!((cost.write_units - 2.0 * f64::from(items)).abs() < f64::EPSILON, "{id}: {cost:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_memory_is_one_request_more_and_a_repeated_message_one_read() {
    let (tables, calls) = Tables::new().await.counted();
    tables.channel("c", Visibility::Public).await;
    let (messages, slow) = (tables.messages(), Bucket { every: Duration::from_mins(1), burst: 3 });
    let (mut one, mut other) = (SendCache::default(), SendCache::default());
    send(&messages, &SystemClock, message("c", Some("k"), slow), &mut one).await.unwrap();
    // Its cache has the channel head, the number of the last change and a full bucket.
    other.head.clone_from(&one.head);
    other.rev = one.rev;
    calls.take();
    send(&messages, &SystemClock, message("c", None, slow), &mut other).await.unwrap();
    assert_eq!(calls.take(), ["TransactWriteItems of 3"; 2], "the bucket is not full");
    send(&messages, &SystemClock, message("c", None, slow), &mut one).await.unwrap();
    // The head and the bucket are stale. One refusal returns both.
    assert_eq!(calls.take(), ["TransactWriteItems of 3"; 2]);

    let refused = send(&messages, &SystemClock, message("c", None, slow), &mut one).await;
    assert!(matches!(refused, Err(ChatError::TooManyRequests(_))));
    assert!(!calls.take().iter().any(|call| call.starts_with("Transact")), "the cached bucket is empty");
    let again = send(&messages, &SystemClock, message("c", Some("k"), slow), &mut one).await.unwrap();
    assert!(matches!(again, SendResult::Replayed(_)), "a replay needs no token");
    calls.take();

    let (head, rev) = messages.head(&channel_id("c")).await.unwrap().unwrap();
    let mut cache = SendCache { head: Some(head), rev: Some((rev, SystemClock.now())), ..SendCache::default() };
    calls.take();
    let again = send(&messages, &SystemClock, message("c", Some("k"), WIDE), &mut cache).await.unwrap();
    assert!(matches!(again, SendResult::Replayed(_)));
    // The record and its message, and the check of the channel's incarnation.
    assert_eq!(calls.take(), ["TransactWriteItems of 4", "BatchGetItem", "GetItem"]);
}

#[tokio::test]
async fn a_batch_of_one_channel_is_one_query_and_a_post_for_each_connection() {
    let (tables, calls) = Tables::new().await.counted();
    let connections = tables.connections();
    for number in 0..3 {
        let opened = connection(&format!("{number}="), 1, NOW);
        connections.register_pending(&opened).await.unwrap();
        connections.activate(&opened, &BTreeSet::new()).await.unwrap();
    }
    let channel = connection("x=", 1, NOW).channels.remove(0);
    calls.take();
    let sockets = Sockets::default();
    let delivery = Delivery {
        connections: &connections,
        sockets: &sockets,
        fan_out: &sockets,
        clock: &At(NOW),
        deadline: Timestamp::from_millis(NOW.as_millis() + 60_000),
    };
    let event = |seq| MessageEvent::of(Change::Created, stored("c000", seq));
    let events: Vec<MessageEvent> = (1..=10).map(event).collect();
    let outcome = delivery.deliver(&channel, &events, Reach { threshold: 200, rate: DELIVERY_RATE }).await.unwrap();
    assert_eq!(outcome, PushReport { delivered: 3, ..PushReport::default() });
    assert_eq!(json!(calls.take()), documented("delivery_of_a_batch"));
    assert_eq!(sockets.0.load(Ordering::Relaxed), 3, "ten messages of one channel share a frame");

    // A requeued batch is checked against the current gate.
    let recipients =
        connections.audience(&channel, NOW).await.unwrap().admitted().into_iter().map(Recipient::from).collect();
    calls.take();
    let requeued = PushBatch { channel, frames: vec!["{}".to_owned()], recipients, attempt: 0 };
    assert_eq!(delivery.push_batch(requeued).await.unwrap().delivered, 3);
    assert_eq!(json!(calls.take()), documented("delivery_of_what_was_handed_over"));
}

#[tokio::test]
async fn an_arrival_and_a_departure_read_a_limited_audience_once() {
    let (tables, calls) = Tables::new().await.counted();
    let connections = tables.connections();
    let opened = ["alice", "bob", "carol"].map(|name| {
        let id = format!("{name}=");
        Connection { user_id: user(name), ..connection(&id, 1, NOW) }
    });
    for one in &opened {
        connections.register_pending(one).await.unwrap();
        connections.activate(one, &BTreeSet::new()).await.unwrap();
    }
    let (channel, sockets) = (opened[0].channels[0].clone(), Sockets::default());
    let delivery = Delivery {
        connections: &connections,
        sockets: &sockets,
        fan_out: &sockets,
        clock: &At(NOW),
        deadline: Timestamp::from_millis(NOW.as_millis() + 60_000),
    };
    let announce = async |name: &str, most| {
        calls.take();
        let (events, report) =
            delivery.announce_presence(&channel, BTreeSet::from([user(name)]), most, 200).await.unwrap();
        (events, report.delivered, json!(calls.take()))
    };
    assert_eq!(announce("alice", 2).await, (0, 0, documented("arrival_in_a_large_channel")));
    assert_eq!(announce("bob", 200).await, (1, 2, documented("arrival")));
    connections.close(&opened[1].key).await.unwrap();
    assert_eq!(announce("bob", 200).await, (1, 2, documented("departure")));
    assert_eq!(announce("alice", 200).await, (1, 1, documented("arrival")));
    connections.close(&opened[0].key).await.unwrap();
    assert_eq!(announce("alice", 0).await, (1, 1, documented("departure_from_a_large_channel")));
}

/// Returns the messages of all channels.
fn messages_of<'a>(
    channels: &'a DynamoChannels,
    messages: &'a DynamoMessages,
    clock: &'a At,
) -> ChannelMessages<'a, DynamoChannels, DynamoMessages, At> {
    ChannelMessages { channels, messages, clock, change_duration: CHANGE_DURATION }
}

/// Opens a connection of a user, whose bucket is full at that time.
async fn open(tables: &Tables, user_id: &UserId, asked: Asked, now: Timestamp) {
    let asked = Connect {
        connection_id: format!("{user_id}=").parse().unwrap(),
        user_id: user_id.clone(),
        token_expires_at: LATER,
        asked,
        allowed_channels: None,
    };
    let (channels, connections) = (&tables.channels(), &tables.connections());
    let connector = Connector { channels, connections, sockets: &Sockets::default(), clock: &At(now) };
    connector.connect(asked, ConnectLimits { bucket: WIDE, connections: 20 }).await.unwrap();
}

/// Opens and closes a socket of bob, and runs the maintenance. Returns the costs by case.
async fn costs_of_connections(tables: &Tables, calls: &Calls, connections: &DynamoConnections) -> Vec<(String, Value)> {
    let bob = user("bob");
    let at = |seconds| Timestamp::from_secs(NOW.as_secs() + seconds);
    let mut costs = Vec::new();
    let mut note = |case: &str| costs.push((case.to_owned(), calls.cost().json_with_round_trips()));
    open(tables, &bob, Asked::Memberships, at(1)).await;
    note("connect_to_two_memberships");
    open(tables, &bob, Asked::Channels(["public", "private"].map(channel_id).to_vec()), at(2)).await;
    note("connect_to_two_named_channels");
    let (_, found) = connections.find(&"bob=".parse().unwrap()).await.unwrap().unwrap();
    assert!(connections.close_found(&found).await.unwrap());
    note("disconnect_with_two_channels");
    connections.worked_off(Timestamp::from_secs(NOW.as_secs() - 60)).await.unwrap();
    calls.take();
    let deleted = DynamoDeletedChannels::new(tables.client.clone(), "chat_events", "chat_channels");
    let tenants = DynamoTenants { channels: tables.channels(), connections: connections.clone(), deleted };
    let (expiry, ends) = (&tenants.connections, &tenants.deleted);
    let maintenance = Maintenance { tenants: &tenants, expiry, ends, sockets: &Sockets::default(), clock: &At(NOW) };
    assert_eq!(maintenance.run(Duration::from_secs(1)).await.unwrap(), Finished { closed: 0, ended: 0 });
    note("idle_upkeep");
    costs
}

/// The operations that are less frequent than sends, in a public and in a private channel. Alice owns both, and bob is
/// a member of both. Each has a socket with `auto_subscribe`.
#[tokio::test]
async fn what_other_operations_cost_is_written_down() {
    let (tables, calls) = Tables::new().await.counted();
    let connections = tables.connections().with_parts_known_for(Duration::MAX);
    let (channels, messages) = (tables.channels(), tables.messages());
    let (clock, sockets) = (At(NOW), Sockets::default());
    let deadline = Timestamp::from_millis(NOW.as_millis() + 60_000);
    let delivery =
        Delivery { connections: &connections, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
    let members = Membership {
        channels: &channels,
        connections: &connections,
        sockets: &sockets,
        fan_out: &sockets,
        clock: &clock,
        deadline,
    };
    let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
    let mut costs = serde_json::Map::new();
    for (id, visibility) in [("public", Visibility::Public), ("private", Visibility::Private)] {
        let channel = tables.channel(id, visibility).await;
        tables.join(&channel, &member(id, "bob", MemberRole::Member)).await;
    }
    for name in [&alice, &bob, &carol] {
        open(&tables, name, Asked::Memberships, NOW).await;
    }
    // The list of divided channels is read here, and not for each channel.
    let unknown = connection("unknown=", 1, NOW);
    let subscribed = connections.subscribe(&unknown.channels[0], &alice, &UserConnection::from(&unknown), true).await;
    assert!(!subscribed.unwrap(), "there is no such connection");
    for (id, joins, by) in [("public", &carol, &carol), ("private", &carol, &alice)] {
        let channel = channel_id(id);
        let mut cache = SendCache::default();
        send(&messages, &clock, message(id, None, WIDE), &mut cache).await.unwrap();
        let change = |caller: &UserId| MessageRef {
            channel_id: channel.clone(),
            seq: Seq::FIRST,
            caller: caller.clone(),
            trace: Some(trace()),
        };
        let mut note = |case: &str| {
            let of_case = costs.entry(case).or_insert_with(|| json!({}));
            of_case[id] = calls.cost().json();
        };
        let of_channels = messages_of(&channels, &messages, &clock);
        calls.take();
        let edited = Edit { content: Some("better".to_owned()), ..Edit::default() };
        of_channels.edit(&change(&alice), None, &edited).await.unwrap();
        note("edit");
        of_channels.react(&change(&bob), &"👍".parse().unwrap(), Toggle::Add).await.unwrap();
        note("reaction");
        let missed = of_channels.changes(&channel, &bob, Rev::ZERO, 50).await.unwrap();
        assert_eq!((missed.changes.len(), missed.rev), (1, Rev::new(2)), "both changes are of one message");
        note("page_of_changes");
        of_channels.changes(&channel, &bob, missed.rev, 50).await.unwrap();
        note("page_without_a_change");
        mark_read(&channels, &delivery, &channel, &bob, Seq::FIRST, 200).await.unwrap();
        note("read_mark");
        members.add(&channel, by, joins, None, Addition::Outright).await.unwrap();
        note("join");
        members.remove(&channel, by, joins).await.unwrap();
        note("removal");
        members.add(&channel, &alice, joins, None, Addition::Invite).await.unwrap();
        note("invitation");
        members.add(&channel, joins, joins, None, Addition::Invite).await.unwrap();
        note("acceptance");
        let mut reply = message(id, None, WIDE);
        reply.draft.thread_seq = Some(Seq::FIRST);
        send(&messages, &clock, reply, &mut cache).await.unwrap();
        calls.take();
        for (case, shown) in [
            ("page_of_the_history", Shown::All),
            ("page_without_replies", Shown::Part(Selection::OutsideThreads)),
            ("page_of_a_thread", Shown::Part(Selection::Thread(Seq::FIRST))),
            ("page_of_threads", Shown::Part(Selection::Roots)),
        ] {
            let request = PageRequest { shown, ..PageRequest::of_history(Range::Newest, 50) };
            of_channels.page(&channel, &alice, request).await.unwrap();
            note(case);
        }
        // With the reply, three unread messages of bob: the preview decides about one of them.
        for _ in 0..2 {
            send(&messages, &clock, message(id, None, WIDE), &mut cache).await.unwrap();
        }
        calls.take();
        let access = authorize_read(&channels, &channel, &bob).await.unwrap();
        let view = of_channels.view(access.channel, &bob).await.unwrap().unwrap();
        assert_eq!(view.membership.unwrap().unread_count, 3);
        note("one_channel_with_unread_messages");
    }
    let mut note = |case: &str| costs.insert(case.to_owned(), calls.cost().json());
    let lists = messages_of(&channels, &messages, &clock);
    let caller = Caller { user_id: bob.clone(), tenant: None, allowed_channels: None };
    calls.take();
    assert_eq!(lists.own_channels(&caller, &Filter::default(), None, 50).await.unwrap().channels.len(), 2);
    note("list_of_two_own_channels_with_unread_messages");
    assert_eq!(lists.public_channels(&caller, &Filter::default(), None, 50).await.unwrap().channels.len(), 1);
    note("list_of_one_public_channel_with_unread_messages");
    costs.extend(costs_of_connections(&tables, &calls, &connections).await);
    let expected: serde_json::Map<String, Value> = costs.keys().map(|case| (case.clone(), documented(case))).collect();
    assert_eq!(costs, expected, "{}", serde_json::to_string_pretty(&costs).unwrap());
}

#[tokio::test]
async fn a_batch_of_one_channel_that_wants_no_reply_is_one_look_at_it() {
    let (tables, calls) = Tables::new().await.counted();
    let mut channel = sample("c", Visibility::Public);
    channel.agent.mode = AgentMode::Mention;
    let owner = member("c", "alice", MemberRole::Owner);
    assert_eq!(tables.channels().create(&channel, &owner, None, MANY).await.unwrap(), ChannelCreated::Done);
    let (channels, messages, sockets) = (tables.channels(), tables.messages(), Sockets::default());
    let agent = Agent {
        channels: &channels,
        messages: &messages,
        model: &BuiltInResponder,
        drafts: &sockets,
        clock: &At(NOW),
        name: agent::NAME,
        budgets: Budgets { context_tokens: 1_000, user: WIDE, channel: WIDE, tokens_per_day: 1_000 },
        deadline: Timestamp::from_millis(NOW.as_millis() + 60_000),
    };
    calls.take();
    let mut known = None;
    for seq in 1..=10 {
        assert_eq!(agent.answer(&stored("c", seq), &mut known).await.unwrap(), agent::ReplyOutcome::NotWanted);
    }
    assert_eq!(json!(calls.take()), documented("batch_without_a_reply"));
}
