//! The stores against the embedded DynamoDB, on the tables of the real template.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod buckets;
mod calls;
mod deletion;
mod lists;
mod sockets;
mod tenants;
mod threads;

use std::{collections::BTreeMap, path::Path};

use aws_sdk_dynamodb::{Client, config::Credentials, types::AttributeValue};
use chat::{
    channel::{
        AgentMode, AgentSettings, Channel, ChannelStore, Member, MemberAdded, MemberChanged, MemberRole, OwnChannel,
        Visibility,
    },
    clock::{SystemClock, Timestamp},
    connection::{Connection, ConnectionStore, UserConnection},
    id::{ChannelId, ConnectionId, IdempotencyKey, MessageId, UserId},
    limits::CHANNELS_PER_CONNECTION,
    message::{
        Append, Appended, ContentType, Head, IdempotencyRecord, Message, MessageStore, Range, Role, StoredMessage,
    },
    reaction::Reactions,
    trace::TraceContext,
};
use chat_aws::{DynamoChannels, DynamoConnections, DynamoMessages};
use local::{
    dynamodb::{Engine, Options, Storage},
    template::{self, Deployment},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_800_003_600);

struct Tables {
    client: Client,
    stop: CancellationToken,
}

impl Tables {
    async fn new() -> Self {
        let address = "http://127.0.0.1:1".to_owned();
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/backend.yaml");
        let deployment = Deployment {
            stack_name: "test".into(),
            region: "us-east-1".into(),
            account_id: "000000000000".into(),
            parameters: BTreeMap::from([("TablePrefix".into(), String::new())]),
            rest_url: address.clone(),
            websocket_url: address.clone(),
            management_url: address,
        };
        let stack = template::load(&template).unwrap().resolve(&deployment).unwrap();
        let engine = Engine::open(Storage::InMemory, Options::default()).unwrap();
        engine.ensure_tables(&stack.tables).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { engine.serve(listener, stopped).await });
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .region("us-east-1")
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(url)
            .load()
            .await;
        Self { client: Client::new(&config), stop }
    }

    fn messages(&self) -> DynamoMessages {
        DynamoMessages::new(self.client.clone(), "chat_events", "chat_channels")
    }

    fn channels(&self) -> DynamoChannels {
        DynamoChannels::new(self.client.clone(), "chat_channels")
    }

    fn connections(&self) -> DynamoConnections {
        DynamoConnections::new(self.client.clone(), "chat_connections")
    }

    /// A channel of alice's.
    async fn channel(&self, id: &str, visibility: Visibility) -> Channel {
        let channel = sample(id, visibility);
        assert!(self.channels().create(&channel, &member(id, "alice", MemberRole::Owner), None).await.unwrap());
        channel
    }

    /// Appends a message.
    async fn put(&self, message: &StoredMessage) {
        let Message { channel_id, seq, .. } = &message.message;
        let head = head(channel_id.as_str(), seq - 1, Visibility::Public);
        let record = record(message, &format!("key-{seq}"));
        let append = Append { record: Some(&record), ..unkeyed(&head, message) };
        assert_eq!(self.messages().append(append).await.unwrap(), Appended::Stored);
    }

    /// Appends alice's next message to `head`.
    async fn append(&self, head: &Head, key: &str, member: Option<&str>, now: Timestamp) -> Appended {
        let message = stored(head.channel_id.as_str(), head.last_seq + 1);
        let record = record(&message, key);
        let member = member.map(user);
        let append = Append { record: Some(&record), member: member.as_ref(), now, ..unkeyed(head, &message) };
        self.messages().append(append).await.unwrap()
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn sample(id: &str, visibility: Visibility) -> Channel {
    Channel {
        channel_id: channel_id(id),
        name: id.to_owned(),
        visibility,
        agent: AgentSettings::default(),
        last_seq: 0,
        last_message_at: None,
        created_by: user("alice"),
        created_at: NOW,
        archived_at: None,
        retention_days: None,
        version: 1,
    }
}

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

fn channel_id(id: &str) -> ChannelId {
    id.parse().unwrap()
}

fn member(channel: &str, id: &str, role: MemberRole) -> Member {
    Member { channel_id: channel_id(channel), user_id: user(id), role, joined_at: NOW }
}

fn head(channel: &str, last_seq: u64, visibility: Visibility) -> Head {
    let channel_id = channel_id(channel);
    Head {
        channel_id,
        last_seq,
        version: 1,
        visibility,
        archived: false,
        retention_days: None,
        agent: AgentMode::Always,
    }
}

fn trace() -> TraceContext {
    TraceContext {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        tracestate: Some("congo=t61rcWkgMzE".into()),
    }
}

fn stored(channel: &str, seq: u64) -> StoredMessage {
    let metadata = json!({ "n": [1, 2.5, -3], "s": "", "o": { "null": null, "yes": true } });
    StoredMessage {
        message: Message {
            channel_id: channel_id(channel),
            seq,
            message_id: MessageId::generate(&SystemClock),
            sender_id: user("alice"),
            role: Role::User,
            content: format!("message {seq}"),
            content_type: ContentType::Markdown,
            created_at: NOW,
            metadata: metadata.as_object().cloned(),
            reply_to: (seq > 1).then_some(1),
            edited_at: None,
            reactions: Reactions::new(),
            deleted_at: None,
        },
        trace: Some(trace()),
        expires_at: None,
    }
}

/// Without a key, a bucket and a membership.
fn unkeyed<'a>(head: &'a Head, message: &'a StoredMessage) -> Append<'a> {
    Append { head, message, for_agent: true, record: None, member: None, token: None, now: NOW }
}

fn record(stored: &StoredMessage, key: &str) -> IdempotencyRecord {
    IdempotencyRecord {
        sender_id: stored.message.sender_id.clone(),
        key: key.parse::<IdempotencyKey>().unwrap(),
        fingerprint: "f".into(),
        message_id: stored.message.message_id,
        seq: stored.message.seq,
        expires_at: LATER,
    }
}

#[tokio::test]
async fn an_append_reads_back_as_it_was_and_moves_the_head() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (message, messages) = (stored("c", 1), tables.messages());
    let (head, record) = (head("c", 0, Visibility::Public), record(&message, "k"));
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), Appended::Stored);
    assert_eq!(messages.message(&head.channel_id, 1, NOW).await.unwrap().unwrap(), message.message);
    assert_eq!(messages.head(&head.channel_id).await.unwrap().unwrap(), Head { last_seq: 1, ..head.clone() });
    let kept = messages.idempotency_record(&head.channel_id, &user("alice"), &record.key).await.unwrap();
    assert_eq!(kept, Some(record));
    assert_eq!(messages.head(&channel_id("nowhere")).await.unwrap(), None);
    assert_eq!(messages.message(&head.channel_id, 2, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_append_changes_nothing_and_tells_how_things_are() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let start = head("c", 0, Visibility::Public);
    assert_eq!(tables.append(&start, "a", None, NOW).await, Appended::Stored);
    let now = head("c", 1, Visibility::Public);
    // Behind: the current head comes back.
    assert_eq!(tables.append(&start, "b", None, NOW).await, Appended::HeadMoved(Some(now.clone())));
    // Of other settings than believed.
    let other = Head { version: 2, visibility: Visibility::Private, ..now.clone() };
    assert_eq!(tables.append(&other, "b", None, NOW).await, Appended::HeadMoved(Some(now.clone())));
    // No such channel.
    assert_eq!(tables.append(&head("x", 0, Visibility::Public), "b", None, NOW).await, Appended::HeadMoved(None));
    // The key was used; that is the answer even when the head is behind as well.
    for believed in [&now, &start] {
        let Appended::KeyTaken(taken) = tables.append(believed, "a", None, NOW).await else { panic!("not taken") };
        assert_eq!(taken.seq, 1);
    }
    assert_eq!(tables.messages().head(&now.channel_id).await.unwrap(), Some(now.clone()));
    // A record whose time is over is as good as none, though it is still there.
    assert_eq!(tables.append(&now, "a", None, LATER).await, Appended::Stored);
}

#[tokio::test]
async fn a_message_that_is_there_already_is_known_again_without_a_record() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (messages, start) = (tables.messages(), head("c", 0, Visibility::Public));
    let (ours, theirs) = (stored("c", 1), stored("c", 1));
    // As the SDK does when an answer is lost: the head has moved, by this very message.
    for _ in 0..2 {
        assert_eq!(messages.append(unkeyed(&start, &ours)).await.unwrap(), Appended::Stored);
    }
    let moved = messages.append(unkeyed(&start, &theirs)).await.unwrap();
    assert_eq!(moved, Appended::HeadMoved(Some(head("c", 1, Visibility::Public))));
    assert_eq!(messages.message(&start.channel_id, 1, NOW).await.unwrap(), Some(ours.message));
}

#[tokio::test]
async fn what_the_agent_need_not_see_is_marked() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for (seq, for_agent) in [(1, true), (2, false)] {
        let (before, message) = (head("c", seq - 1, Visibility::Public), stored("c", seq));
        let append = Append { for_agent, ..unkeyed(&before, &message) };
        assert_eq!(tables.messages().append(append).await.unwrap(), Appended::Stored);
        let (channel, number) = (AttributeValue::S("c".to_owned()), AttributeValue::N(seq.to_string()));
        let get = tables.client.get_item().table_name("chat_events").key("channel_id", channel).key("seq", number);
        let item = get.send().await.unwrap().item.unwrap();
        assert_eq!(item.get("agent"), (!for_agent).then(|| AttributeValue::S("off".to_owned())).as_ref());
        // The mark is the mapping's, and no part of the message.
        assert_eq!(tables.messages().message(&channel_id("c"), seq, NOW).await.unwrap(), Some(message.message));
    }
}

#[tokio::test]
async fn only_members_append_to_private_channels() {
    let tables = Tables::new().await;
    tables.channel("p", Visibility::Private).await;
    let head = head("p", 0, Visibility::Private);
    assert_eq!(tables.append(&head, "a", Some("mallory"), NOW).await, Appended::NotAMember);
    assert_eq!(tables.append(&head, "a", Some("alice"), NOW).await, Appended::Stored);
}

#[tokio::test]
async fn of_many_appends_at_once_one_wins() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let head = head("c", 0, Visibility::Public);
    let keys: Vec<String> = (0..16).map(|number| format!("k{number}")).collect();
    let outcomes = futures::future::join_all(keys.iter().map(|key| tables.append(&head, key, None, NOW))).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Appended::Stored).count(), 1);
}

#[tokio::test]
async fn history_pages_both_ways() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for seq in 0..5 {
        tables.append(&head("c", seq, Visibility::Public), &format!("k{seq}"), None, NOW).await;
    }
    let page = async |range, limit| -> Vec<u64> {
        let page = tables.messages().messages(&channel_id("c"), range, limit, NOW).await.unwrap();
        page.into_iter().map(|message| message.seq).collect()
    };
    assert_eq!(page(Range::Newest, 2).await, [5, 4]);
    assert_eq!(page(Range::Before(4), 9).await, [3, 2, 1]);
    assert_eq!(page(Range::After(2), 2).await, [3, 4]);
    assert_eq!(page(Range::After(5), 2).await, Vec::<u64>::new());
}

#[tokio::test]
async fn channels_have_members() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let created = tables.channel("a", Visibility::Public).await;
    assert!(!channels.create(&created, &member("a", "bob", MemberRole::Owner), None).await.unwrap(), "the id is taken");
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(created));
    tables.channel("b", Visibility::Private).await;
    tables.channel("c", Visibility::Public).await;

    let bob = member("a", "bob", MemberRole::Member);
    assert_eq!(channels.add_member(&bob, Visibility::Public, 0).await.unwrap(), MemberAdded::Added);
    assert_eq!(channels.add_member(&bob, Visibility::Public, 0).await.unwrap(), MemberAdded::Already(bob.clone()));
    let carol = member("b", "carol", MemberRole::Member);
    assert_eq!(channels.add_member(&carol, Visibility::Public, 0).await.unwrap(), MemberAdded::ChannelChanged);
    assert_eq!(channels.member(&bob.channel_id, &bob.user_id).await.unwrap(), Some(bob.clone()));

    let ids = |channels: &[OwnChannel]| -> Vec<String> {
        channels.iter().map(|own| own.channel.channel_id.to_string()).collect()
    };
    let first = channels.channels_of(&user("alice"), None, 2).await.unwrap();
    assert_eq!(ids(&first.channels), ["a", "b"]);
    let rest = channels.channels_of(&user("alice"), first.next_after.as_ref(), 2).await.unwrap();
    assert_eq!(ids(&rest.channels), ["c"]);
    assert!(channels.channels_of(&user("nobody"), None, 2).await.unwrap().channels.is_empty());

    assert_eq!(channels.memberships(&user("alice"), 9).await.unwrap(), ["a", "b", "c"].map(channel_id));
    assert_eq!(channels.memberships(&user("alice"), 1).await.unwrap(), [channel_id("a")]);

    let first = channels.members(&bob.channel_id, None, 1).await.unwrap();
    assert_eq!(first.members, [member("a", "alice", MemberRole::Owner)]);
    let rest = channels.members(&bob.channel_id, first.next_after.as_ref(), 1).await.unwrap();
    assert_eq!((rest.members, rest.next_after), (vec![bob.clone()], None));

    assert_eq!(channels.remove_member(&bob).await.unwrap(), MemberChanged::Done);
    assert_eq!(channels.remove_member(&bob).await.unwrap(), MemberChanged::Lost);
    assert!(channels.memberships(&user("bob"), 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_channel_keeps_an_owner_whoever_leaves_at_once() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    tables.channel("a", Visibility::Public).await;
    let alice = member("a", "alice", MemberRole::Owner);
    assert_eq!(channels.remove_member(&alice).await.unwrap(), MemberChanged::LastOwner);
    assert_eq!(channels.change_role(&alice, MemberRole::Member).await.unwrap(), MemberChanged::LastOwner);

    let bob = member("a", "bob", MemberRole::Member);
    channels.add_member(&bob, Visibility::Public, 0).await.unwrap();
    assert_eq!(channels.change_role(&bob, MemberRole::Owner).await.unwrap(), MemberChanged::Done);
    assert_eq!(channels.change_role(&bob, MemberRole::Owner).await.unwrap(), MemberChanged::Lost, "no member any more");
    let carol = member("a", "carol", MemberRole::Owner);
    channels.add_member(&carol, Visibility::Public, 0).await.unwrap();

    let owners = [alice, member("a", "bob", MemberRole::Owner), carol];
    let mut left = Vec::new();
    while left.len() < 2 {
        // Whoever meets another transaction may try again.
        let ends = futures::future::join_all(owners.iter().map(|owner| channels.remove_member(owner))).await;
        left.extend(ends.into_iter().flatten().filter(|end| *end == MemberChanged::Done));
    }
    assert_eq!(left.len(), 2);
    let last = channels.members(&channel_id("a"), None, 9).await.unwrap().members;
    assert_eq!(last.len(), 1);
    assert_eq!(channels.remove_member(&last[0]).await.unwrap(), MemberChanged::LastOwner);
}

#[tokio::test]
async fn settings_change_from_one_version_to_the_next_and_appends_notice() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let created = tables.channel("c", Visibility::Public).await;
    let head = head("c", 0, Visibility::Public);
    let changed = Channel {
        name: "Changed".into(),
        visibility: Visibility::Private,
        archived_at: Some(NOW),
        retention_days: Some(7),
        version: 2,
        ..created.clone()
    };
    assert!(channels.update(&created, &changed).await.unwrap());
    assert!(!channels.update(&created, &changed).await.unwrap(), "that version has gone by");
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(changed.clone()));
    let Appended::HeadMoved(Some(now)) = tables.append(&head, "a", None, NOW).await else { panic!("appended") };
    assert_eq!(now, Head::from(&changed));
    assert!(now.archived);

    let restored = Channel { archived_at: None, retention_days: None, version: 3, ..changed.clone() };
    assert!(channels.update(&changed, &restored).await.unwrap());
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(restored));
}

#[tokio::test]
async fn a_message_past_its_retention_is_not_read_though_it_is_still_there() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let message = StoredMessage { expires_at: Some(LATER), ..stored("c", 1) };
    let (head, record, messages) = (head("c", 0, Visibility::Public), record(&message, "k"), tables.messages());
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), Appended::Stored);
    for (now, there) in [(NOW, 1), (LATER, 0)] {
        assert_eq!(messages.messages(&head.channel_id, Range::Newest, 9, now).await.unwrap().len(), there);
        assert_eq!(messages.message(&head.channel_id, 1, now).await.unwrap().is_some(), there == 1);
    }
}

#[tokio::test]
async fn a_revision_replaces_what_a_message_holds_until_it_is_deleted() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (message, messages) = (stored("c", 1), tables.messages());
    let (head, record) = (head("c", 0, Visibility::Public), record(&message, "k"));
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), Appended::Stored);
    let revised = |message: Message| StoredMessage { message, trace: None, expires_at: None };

    let edited = Message { content: "better".into(), edited_at: Some(LATER), ..message.message.clone() };
    assert!(messages.revise(&revised(edited.clone())).await.unwrap());
    assert_eq!(messages.message(&head.channel_id, 1, NOW).await.unwrap(), Some(edited.clone()));
    let tombstone = Message { content: String::new(), metadata: None, deleted_at: Some(LATER), ..edited.clone() };
    assert!(messages.revise(&revised(tombstone.clone())).await.unwrap());
    assert!(!messages.revise(&revised(edited.clone())).await.unwrap(), "it is deleted");
    assert_eq!(messages.message(&head.channel_id, 1, NOW).await.unwrap(), Some(tombstone));
    assert!(!messages.revise(&revised(Message { seq: 2, ..edited })).await.unwrap(), "there is none");
    assert_eq!(messages.message(&head.channel_id, 2, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn live_connections_gain_and_lose_channels() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let opened = Connection { follows: true, ..connection("x=", 0, NOW) };
    connections.announce(&opened.user_id, &announced(&opened)).await.unwrap();
    connections.open(&opened).await.unwrap();
    let of_user = connections.connections_of(&user("alice"), NOW).await.unwrap();
    assert_eq!(of_user.len(), 1);
    assert!(of_user[0].follows);
    assert!(connections.connections_of(&user("alice"), LATER).await.unwrap().is_empty(), "expired by then");

    let channel = channel_id("c");
    for _ in ["once", "again"] {
        assert!(connections.subscribe(&channel, &user("alice"), &of_user[0]).await.unwrap());
    }
    assert_eq!(connections.subscriptions(&channel, NOW).await.unwrap().len(), 1);
    assert_eq!(
        connections.connection(&opened.connection_id).await.unwrap().unwrap().channels,
        std::slice::from_ref(&channel)
    );
    assert!(connections.unsubscribe(&channel, &opened.connection_id, NOW).await.unwrap());
    assert!(!connections.unsubscribe(&channel, &opened.connection_id, NOW).await.unwrap());
    assert_eq!(connections.connection(&opened.connection_id).await.unwrap(), Some(opened.clone()));

    assert!(connections.subscribe(&channel, &user("alice"), &of_user[0]).await.unwrap());
    assert!(connections.close(&opened.connection_id, NOW).await.unwrap());
    assert!(connections.subscriptions(&channel, NOW).await.unwrap().is_empty());
    assert!(connections.connections_of(&user("alice"), NOW).await.unwrap().is_empty());
    assert!(!connections.subscribe(&channel, &user("alice"), &of_user[0]).await.unwrap(), "it has gone");

    connections.announce(&user("bob"), &of_user[0]).await.unwrap();
    connections.withdraw(&user("bob"), &of_user[0]).await.unwrap();
    assert!(connections.connections_of(&user("bob"), NOW).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_takes_no_more_channels_than_it_may() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let opened = connection("x=", CHANNELS_PER_CONNECTION, NOW);
    connections.open(&opened).await.unwrap();
    let of_user = announced(&opened);
    assert!(!connections.subscribe(&channel_id("more"), &user("alice"), &of_user).await.unwrap());
    assert!(connections.subscribe(&opened.channels[0], &user("alice"), &of_user).await.unwrap());
}

fn announced(connection: &Connection) -> UserConnection {
    UserConnection::from(connection)
}

fn connection(id: &str, channels: usize, connected_at: Timestamp) -> Connection {
    Connection {
        connection_id: id.parse::<ConnectionId>().unwrap(),
        user_id: user("alice"),
        // In the order of their ids, as the store gives them back.
        channels: (0..channels).map(|number| channel_id(&format!("c{number:03}"))).collect(),
        follows: false,
        limited_to: None,
        connected_at,
        token_expires_at: LATER,
        expires_at: LATER,
    }
}

#[tokio::test]
async fn a_connection_opens_with_all_its_subscriptions_and_closes_with_them() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    // More than fit one BatchWriteItem.
    let opened = connection("x=", 60, NOW);
    connections.open(&opened).await.unwrap();
    assert_eq!(connections.connection(&opened.connection_id).await.unwrap(), Some(opened.clone()));
    for channel in &opened.channels {
        let found = connections.subscriptions(channel, NOW).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].connection_id, found[0].connected_at), (&opened.connection_id, NOW));
        assert!(connections.subscriptions(channel, LATER).await.unwrap().is_empty(), "expired by then");
    }
    assert!(connections.close(&opened.connection_id, NOW).await.unwrap());
    assert!(!connections.close(&opened.connection_id, NOW).await.unwrap());
    for channel in &opened.channels {
        assert!(connections.subscriptions(channel, NOW).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn cleaning_up_an_old_connection_spares_a_new_one_of_the_same_id() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let reused = connection("x=", 2, Timestamp::from_millis(NOW.as_millis() + 1));
    connections.open(&reused).await.unwrap();
    assert!(!connections.close(&reused.connection_id, NOW).await.unwrap());
    connections.unsubscribe(&reused.channels[0], &reused.connection_id, NOW).await.unwrap();
    assert_eq!(connections.subscriptions(&reused.channels[0], NOW).await.unwrap().len(), 1);
    assert_eq!(connections.connection(&reused.connection_id).await.unwrap(), Some(reused));
}
