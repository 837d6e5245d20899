//! Tests of the stores on the embedded DynamoDB, with the tables of the template.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authorities;
mod buckets;
mod calls;
mod conformance;
mod connections;
mod deletion;
mod gates;
mod incarnations;
mod invitations;
mod lists;
mod pending;
mod sockets;
mod tenants;
mod threads;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use aws_sdk_dynamodb::{Client, config::Credentials, types::AttributeValue};
use chat::{
    model::{
        access::Authority,
        channel::{
            AgentMode, AgentSettings, Channel, ChannelHead, Member, MemberAdded, MemberRole, OwnChannel, Visibility,
        },
        connection::{Connection, UserConnection},
        id::{ChannelId, ConnectionId, MessageId, UserId},
        incarnation::{ChannelKey, Incarnation},
        message::{ContentType, Message, Role, StoredMessage},
        pending_end::{EndCause, PendingEnd},
        reaction::Reactions,
        time::Timestamp,
        trace::TraceContext,
    },
    ports::{
        channel_store::{ChannelCreated, ChannelStore, MemberChanged},
        clock::{Clock, SystemClock},
        connection_store::ConnectionStore,
        message_store::{Append, AppendResult, IdempotencyRecord, MessageStore, Range, RecordKey, UpdateResult},
    },
};
use chat_aws::{DynamoChannels, DynamoConnections, DynamoMessages};
use emulator::{
    dynamodb::{Engine, Options, Storage},
    template::{self, Deployment},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_800_003_600);

/// Maximum number of channels of a user, in tests of other rules.
const MANY: usize = 1_000;

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
        DynamoChannels::new(self.client.clone(), "chat_channels").with_connections("chat_connections")
    }

    fn connections(&self) -> DynamoConnections {
        DynamoConnections::new(self.client.clone(), "chat_connections")
    }

    /// Creates a channel of alice.
    async fn channel(&self, id: &str, visibility: Visibility) -> Channel {
        let channel = sample(id, visibility);
        assert_eq!(
            self.channels().create(&channel, &member(id, "alice", MemberRole::Owner), None, MANY).await.unwrap(),
            ChannelCreated::Done
        );
        channel
    }

    /// Adds a member to a channel.
    async fn join(&self, channel: &Channel, member: &Member) {
        let added = self.channels().add_member(&reader(channel), member, 0).await.unwrap();
        assert_eq!(added, MemberAdded::Added);
    }

    /// Replaces the settings of a channel of alice.
    async fn change(&self, before: &Channel, after: Channel) -> Channel {
        let changed = Channel { version: before.version + 1, ..after };
        assert!(self.channels().update(&reader(before), &changed, None, NOW).await.unwrap());
        changed
    }

    /// Deletes an item without any check.
    async fn delete(&self, table: &str, partition: &str, pk: &str, sort: &str, sk: &str) {
        let delete = self.client.delete_item().table_name(table).key(partition, AttributeValue::S(pk.into()));
        delete.key(sort, AttributeValue::S(sk.into())).send().await.unwrap();
    }

    /// Returns all items, by table and key.
    async fn dump(&self) -> BTreeMap<(&'static str, String, String), HashMap<String, AttributeValue>> {
        let keys = [
            ("chat_events", "channel_id", "seq"),
            ("chat_channels", "channel_id", "sk"),
            ("chat_connections", "pk", "sk"),
        ];
        let plain = |value: &AttributeValue| value.as_s().or(value.as_n()).cloned().unwrap();
        let mut items = BTreeMap::new();
        for (table, partition, sort) in keys {
            let mut found = self.client.scan().table_name(table).into_paginator().items().send();
            while let Some(item) = found.next().await {
                let item = item.unwrap();
                items.insert((table, plain(&item[partition]), plain(&item[sort])), item);
            }
        }
        items
    }

    /// Appends a message.
    async fn put(&self, message: &StoredMessage) {
        let Message { channel_id, seq, .. } = &message.message;
        let head = head(channel_id.as_str(), seq - 1, Visibility::Public);
        let record = record(message, &format!("key-{seq}"));
        let append = Append { record: Some(&record), ..unkeyed(&head, message) };
        assert_eq!(self.messages().append(append).await.unwrap(), AppendResult::Stored);
    }

    /// Appends alice's next message to `head`.
    async fn append(&self, head: &ChannelHead, key: &str, member: Option<&str>, now: Timestamp) -> AppendResult {
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
        incarnation: life(1),
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

/// Returns an incarnation for each digit.
fn life(number: u8) -> Incarnation {
    format!("01arz3ndektsv4rrffq69g5fa{number}").parse().unwrap()
}

/// Returns the key of a [`sample`].
fn key(id: &str) -> ChannelKey {
    ChannelKey { channel_id: channel_id(id), incarnation: life(1) }
}

fn member(channel: &str, id: &str, role: MemberRole) -> Member {
    Member {
        channel_id: channel_id(channel),
        user_id: user(id),
        incarnation: life(1),
        role,
        joined_at: NOW,
        added_by: None,
    }
}

/// Returns the authority of every user who can see a public channel.
fn reader(channel: &Channel) -> Authority<'_> {
    Authority { channel, member: None }
}

/// Returns the authority of a member.
fn with<'a>(channel: &'a Channel, member: &'a Member) -> Authority<'a> {
    Authority { channel, member: Some(member) }
}

/// Returns the end of a removed member's subscriptions.
fn removal(member: &Member) -> PendingEnd {
    let cause = EndCause::MemberRemoved { user_id: member.user_id.clone() };
    pending(7, key(member.channel_id.as_str()), cause)
}

/// Returns a pending end that no lease holds at [`NOW`].
fn pending(id: u8, channel: ChannelKey, cause: EndCause) -> PendingEnd {
    PendingEnd { id: life(id), channel, cause, after: None, lease_until: NOW }
}

fn head(channel: &str, last_seq: u64, visibility: Visibility) -> ChannelHead {
    let channel_id = channel_id(channel);
    ChannelHead {
        channel_id,
        incarnation: life(1),
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
            message_id: MessageId::generate(SystemClock.seed()),
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
        incarnation: life(1),
        trace: Some(trace()),
        expires_at: None,
    }
}

/// Returns an append without a key, a bucket and a membership.
fn unkeyed<'a>(head: &'a ChannelHead, message: &'a StoredMessage) -> Append<'a> {
    Append { head, message, for_agent: true, record: None, member: None, token: None, now: NOW }
}

fn request(sender: &str, key: &str) -> RecordKey {
    RecordKey::Request { sender_id: user(sender), key: key.parse().unwrap() }
}

fn record(stored: &StoredMessage, key: &str) -> IdempotencyRecord {
    IdempotencyRecord {
        key: request(stored.message.sender_id.as_str(), key),
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
    assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored);
    assert_eq!(messages.message(&head.key(), 1, NOW).await.unwrap().unwrap(), message.message);
    assert_eq!(messages.head(&head.channel_id).await.unwrap().unwrap(), ChannelHead { last_seq: 1, ..head.clone() });
    let kept = messages.idempotency_record(&head.key(), &record.key).await.unwrap();
    assert_eq!(kept, Some(record));
    assert_eq!(messages.head(&channel_id("nowhere")).await.unwrap(), None);
    assert_eq!(messages.message(&head.key(), 2, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_append_changes_nothing_and_tells_how_things_are() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let start = head("c", 0, Visibility::Public);
    assert_eq!(tables.append(&start, "a", None, NOW).await, AppendResult::Stored);
    let now = head("c", 1, Visibility::Public);
    // With an earlier `seq`, the current head is returned.
    assert_eq!(
        tables.append(&start, "b", None, NOW).await,
        AppendResult::Stale { head: Some(now.clone()), bucket_full_at: None }
    );
    // With other settings than the current ones.
    let other = ChannelHead { version: 2, visibility: Visibility::Private, ..now.clone() };
    assert_eq!(
        tables.append(&other, "b", None, NOW).await,
        AppendResult::Stale { head: Some(now.clone()), bucket_full_at: None }
    );
    // The channel does not exist.
    assert_eq!(tables.append(&head("x", 0, Visibility::Public), "b", None, NOW).await, AppendResult::ChannelNotFound);
    // A used key decides, even if the head is stale too.
    for believed in [&now, &start] {
        let AppendResult::KeyTaken(taken) = tables.append(believed, "a", None, NOW).await else { panic!("not taken") };
        assert_eq!(taken.seq, 1);
    }
    assert_eq!(tables.messages().head(&now.channel_id).await.unwrap(), Some(now.clone()));
    // An expired record counts as absent, even if it is still stored.
    assert_eq!(tables.append(&now, "a", None, LATER).await, AppendResult::Stored);
}

#[tokio::test]
async fn a_message_that_is_there_already_is_known_again_without_a_record() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let (messages, start) = (tables.messages(), head("c", 0, Visibility::Public));
    let (ours, theirs) = (stored("c", 1), stored("c", 1));
    // Like the SDK after a lost response: this message itself has moved the head.
    for _ in 0..2 {
        assert_eq!(messages.append(unkeyed(&start, &ours)).await.unwrap(), AppendResult::Stored);
    }
    let moved = messages.append(unkeyed(&start, &theirs)).await.unwrap();
    assert_eq!(moved, AppendResult::Stale { head: Some(head("c", 1, Visibility::Public)), bucket_full_at: None });
    assert_eq!(messages.message(&start.key(), 1, NOW).await.unwrap(), Some(ours.message));
}

#[tokio::test]
async fn what_the_agent_need_not_see_is_marked() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for (seq, for_agent) in [(1, true), (2, false)] {
        let (before, message) = (head("c", seq - 1, Visibility::Public), stored("c", seq));
        let append = Append { for_agent, ..unkeyed(&before, &message) };
        assert_eq!(tables.messages().append(append).await.unwrap(), AppendResult::Stored);
        let (channel, number) = (AttributeValue::S(key("c").to_string()), AttributeValue::N(seq.to_string()));
        let get = tables.client.get_item().table_name("chat_events").key("channel_id", channel).key("seq", number);
        let item = get.send().await.unwrap().item.unwrap();
        assert_eq!(item.get("agent"), (!for_agent).then(|| AttributeValue::S("off".to_owned())).as_ref());
        // The attribute is for the mapping and not part of the message.
        assert_eq!(tables.messages().message(&key("c"), seq, NOW).await.unwrap(), Some(message.message));
    }
}

#[tokio::test]
async fn only_members_append_to_private_channels() {
    let tables = Tables::new().await;
    tables.channel("p", Visibility::Private).await;
    let head = head("p", 0, Visibility::Private);
    assert_eq!(tables.append(&head, "a", Some("mallory"), NOW).await, AppendResult::NotAMember);
    assert_eq!(tables.append(&head, "a", Some("alice"), NOW).await, AppendResult::Stored);
}

#[tokio::test]
async fn of_many_appends_at_once_one_wins() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let head = head("c", 0, Visibility::Public);
    let keys: Vec<String> = (0..16).map(|number| format!("k{number}")).collect();
    let outcomes = futures::future::join_all(keys.iter().map(|key| tables.append(&head, key, None, NOW))).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AppendResult::Stored).count(), 1);
}

#[tokio::test]
async fn history_pages_both_ways() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    for seq in 0..5 {
        tables.append(&head("c", seq, Visibility::Public), &format!("k{seq}"), None, NOW).await;
    }
    let page = async |range, limit| -> Vec<u64> {
        let page = tables.messages().messages(&key("c"), range, limit, NOW).await.unwrap();
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
    assert_eq!(
        channels.create(&created, &member("a", "bob", MemberRole::Owner), None, MANY).await.unwrap(),
        ChannelCreated::Taken
    );
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(created.clone()));
    tables.channel("b", Visibility::Private).await;
    tables.channel("c", Visibility::Public).await;

    let bob = member("a", "bob", MemberRole::Member);
    tables.join(&created, &bob).await;
    let again = channels.add_member(&reader(&created), &bob, 0).await.unwrap();
    assert_eq!(again, MemberAdded::Already(bob.clone()));
    assert_eq!(channels.member(&key("a"), &bob.user_id).await.unwrap(), Some(bob.clone()));

    let ids = |channels: &[OwnChannel]| -> Vec<String> {
        channels.iter().map(|own| own.channel.channel_id.to_string()).collect()
    };
    let first = channels.channels_of(&user("alice"), None, 2).await.unwrap();
    assert_eq!(ids(&first.channels), ["a", "b"]);
    let rest = channels.channels_of(&user("alice"), first.next_after.as_ref(), 2).await.unwrap();
    assert_eq!(ids(&rest.channels), ["c"]);
    assert!(channels.channels_of(&user("nobody"), None, 2).await.unwrap().channels.is_empty());

    assert_eq!(channels.memberships(&user("alice"), 9).await.unwrap().channels, ["a", "b", "c"].map(key));
    // Channels that a user chose at the same time have no order.
    let some = channels.memberships(&user("alice"), 1).await.unwrap();
    assert_eq!((some.channels, some.left_out), (vec![key("c")], 2));

    let first = channels.members(&key("a"), None, 1).await.unwrap();
    assert_eq!(first.members, [member("a", "alice", MemberRole::Owner)]);
    let rest = channels.members(&key("a"), first.next_after.as_ref(), 1).await.unwrap();
    assert_eq!((rest.members, rest.next_after), (vec![bob.clone()], None));
    let among = ["bob", "alice", "nobody", "bob"].map(user);
    let mut among = channels.members_among(&key("a"), &among).await.unwrap();
    among.sort_unstable_by(|one, other| one.user_id.cmp(&other.user_id));
    assert_eq!(among, [member("a", "alice", MemberRole::Owner), bob.clone()]);
    assert!(channels.members_among(&key("a"), &[]).await.unwrap().is_empty());

    let remove = async || channels.remove_member(&with(&created, &bob), &bob, &removal(&bob), NOW).await.unwrap();
    assert_eq!(remove().await, MemberChanged::Done);
    assert_eq!(remove().await, MemberChanged::Stale);
    assert!(channels.memberships(&user("bob"), 9).await.unwrap().channels.is_empty());
}

#[tokio::test]
async fn a_channel_keeps_an_owner_whoever_leaves_at_once() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("a", Visibility::Public).await;
    let alice = member("a", "alice", MemberRole::Owner);
    let remove = async |owner: &Member| {
        channels.remove_member(&with(&channel, owner), owner, &removal(owner), NOW).await.unwrap()
    };
    let change =
        async |by: &Member, of: &Member, role| channels.change_role(&with(&channel, by), of, role).await.unwrap();
    assert_eq!(remove(&alice).await, MemberChanged::LastOwner);
    assert_eq!(change(&alice, &alice, MemberRole::Member).await, MemberChanged::LastOwner);

    let bob = member("a", "bob", MemberRole::Member);
    tables.join(&channel, &bob).await;
    assert_eq!(change(&alice, &bob, MemberRole::Owner).await, MemberChanged::Done);
    assert_eq!(change(&alice, &bob, MemberRole::Owner).await, MemberChanged::Stale, "no longer a member");
    let carol = member("a", "carol", MemberRole::Owner);
    assert_eq!(channels.add_member(&with(&channel, &alice), &carol, 0).await.unwrap(), MemberAdded::Added);

    let owners = [alice, member("a", "bob", MemberRole::Owner), carol];
    let mut left = Vec::new();
    while left.len() < 2 {
        let ends = futures::future::join_all(owners.iter().map(&remove)).await;
        left.extend(ends.into_iter().filter(|end| *end == MemberChanged::Done));
    }
    assert_eq!(left.len(), 2);
    let last = channels.members(&key("a"), None, 9).await.unwrap().members;
    assert_eq!(last.len(), 1);
    assert_eq!(remove(&last[0]).await, MemberChanged::LastOwner);
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
        ..created.clone()
    };
    let changed = tables.change(&created, changed).await;
    assert!(!channels.update(&reader(&created), &changed, None, NOW).await.unwrap(), "the version is stale");
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(changed.clone()));
    let AppendResult::Stale { head: Some(now), .. } = tables.append(&head, "a", None, NOW).await else {
        panic!("appended")
    };
    assert_eq!(now, ChannelHead::from(&changed));
    assert!(now.archived);

    let restored =
        tables.change(&changed, Channel { archived_at: None, retention_days: None, ..changed.clone() }).await;
    assert_eq!(channels.channel(&created.channel_id).await.unwrap(), Some(restored));
}

#[tokio::test]
async fn a_message_past_its_retention_is_not_read_though_it_is_still_there() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let message = StoredMessage { expires_at: Some(LATER), ..stored("c", 1) };
    let (head, record, messages) = (head("c", 0, Visibility::Public), record(&message, "k"), tables.messages());
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored);
    for (now, there) in [(NOW, 1), (LATER, 0)] {
        assert_eq!(messages.messages(&head.key(), Range::Newest, 9, now).await.unwrap().len(), there);
        assert_eq!(messages.message(&head.key(), 1, now).await.unwrap().is_some(), there == 1);
    }
}

#[tokio::test]
async fn a_revision_replaces_what_a_message_holds_until_it_is_deleted() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let (message, messages) = (stored("c", 1), tables.messages());
    let (head, record) = (head("c", 0, Visibility::Public), record(&message, "k"));
    let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
    assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored);
    let revise = async |message: Message| {
        let revised = StoredMessage { message, incarnation: life(1), trace: None, expires_at: None };
        messages.update_message(&reader(&channel), &revised).await.unwrap()
    };

    let edited = Message { content: "better".into(), edited_at: Some(LATER), ..message.message.clone() };
    assert_eq!(revise(edited.clone()).await, UpdateResult::Done);
    assert_eq!(messages.message(&head.key(), 1, NOW).await.unwrap(), Some(edited.clone()));
    let tombstone = Message { content: String::new(), metadata: None, deleted_at: Some(LATER), ..edited.clone() };
    assert_eq!(revise(tombstone.clone()).await, UpdateResult::Done);
    assert_eq!(revise(edited.clone()).await, UpdateResult::MessageNotFound, "the message is deleted");
    assert_eq!(messages.message(&head.key(), 1, NOW).await.unwrap(), Some(tombstone));
    assert_eq!(revise(Message { seq: 2, ..edited }).await, UpdateResult::MessageNotFound, "the message does not exist");
    assert_eq!(messages.message(&head.key(), 2, NOW).await.unwrap(), None);
}

fn announced(connection: &Connection) -> UserConnection {
    UserConnection::from(connection)
}

/// Returns a connection of alice.
fn connection(id: &str, channels: usize, connected_at: Timestamp) -> Connection {
    Connection {
        connection_id: id.parse::<ConnectionId>().unwrap(),
        user_id: user("alice"),
        // In the order of their ids, as the store returns them.
        channels: (0..channels).map(|number| key(&format!("c{number:03}"))).collect(),
        auto_subscribe: false,
        allowed_channels: None,
        left_out: 0,
        connected_at,
        token_expires_at: LATER,
        expires_at: LATER,
    }
}
