//! Tests of the stores on the embedded DynamoDB, with the tables of the template.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authorities;
mod buckets;
mod calls;
mod changes;
mod channels;
mod conformance;
mod connections;
mod deletion;
mod drafts;
mod gates;
mod incarnations;
mod invitations;
mod lists;
mod messages;
mod pending;
mod previews;
mod recorder;
mod sockets;
mod tenants;
mod threads;
mod transfer;
mod user_items;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use aws_sdk_dynamodb::{Client, config::Credentials, types::AttributeValue};
use chat::{
    model::{
        access::Authority,
        channel::{
            AgentMode, AgentSettings, Channel, ChannelHead, Instructions, Member, MemberAdded, MemberRole, Visibility,
        },
        connection::{Connection, ConnectionKey, UserConnection},
        id::{ChannelId, ConnectionId, MessageId, UserId},
        incarnation::{ChannelKey, Incarnation},
        message::{ContentType, Message, Role, StoredMessage},
        pending_end::{EndCause, PendingEnd},
        reaction::Reactions,
        rev::{ChangeNumber, Rev},
        seq::Seq,
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
        let added = self.channels().add_member(&reader(channel), member, Seq::ZERO).await.unwrap();
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

    /// Returns a user's channels, in the order of their ids.
    async fn own(&self, id: &str) -> Vec<Channel> {
        let memberships = self.channels().memberships(&user(id), MANY).await.unwrap().channels;
        let mut own = self.channels().channels_among(&memberships).await.unwrap();
        own.sort_unstable_by(|one, other| one.channel_id.cmp(&other.channel_id));
        own
    }

    /// Returns the number of a channel's last change. A channel that does not exist has none.
    async fn last_rev(&self, id: &str) -> Rev {
        self.messages().head(&channel_id(id)).await.unwrap().map(|(_, rev)| rev).unwrap_or_default()
    }

    /// Returns the number that the next change in a channel takes.
    async fn next_number(&self, id: &str) -> ChangeNumber {
        number_after(self.last_rev(id).await.get())
    }

    /// Appends a message.
    async fn put(&self, message: &StoredMessage) {
        let Message { channel_id, seq, .. } = &message.message;
        let head = head(channel_id.as_str(), seq.get() - 1, Visibility::Public);
        let record = record(message, &format!("key-{seq}"));
        let append = Append { record: Some(&record), ..unkeyed(&head, message) };
        assert_eq!(self.messages().append(append).await.unwrap(), AppendResult::Stored);
    }

    /// Appends alice's next message to `head`.
    async fn append(&self, head: &ChannelHead, key: &str, member: Option<&str>, now: Timestamp) -> AppendResult {
        let message = stored(head.channel_id.as_str(), head.last_seq.next().get());
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
        read_receipts: false,
        last_seq: Seq::ZERO,
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
        last_seq: Seq::new(last_seq),
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
            seq: Seq::new(seq),
            message_id: MessageId::generate(SystemClock.seed()),
            version: Message::FIRST_VERSION,
            sender_id: user("alice"),
            role: Role::User,
            content: format!("message {seq}"),
            content_type: ContentType::Markdown,
            created_at: NOW,
            metadata: metadata.as_object().cloned(),
            reply_to: (seq > 1).then_some(Seq::FIRST),
            agent: None,
            thread_seq: None,
            thread: None,
            edited_at: None,
            reactions: Reactions::new(),
            deleted_at: None,
        },
        incarnation: life(1),
        rev: Rev::ZERO,
        trace: Some(trace()),
        expires_at: None,
    }
}

/// Returns the number of a change after `last`.
fn number_after(last: u64) -> ChangeNumber {
    ChangeNumber { last: Rev::new(last), expires_at: LATER }
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

fn announced(connection: &Connection) -> UserConnection {
    UserConnection::from(connection)
}

/// Returns a connection of alice.
fn connection(id: &str, channels: usize, connected_at: Timestamp) -> Connection {
    Connection {
        key: ConnectionKey { id: id.parse().unwrap(), connected_at },
        user_id: user("alice"),
        // In the order of their ids, as the store returns them.
        channels: (0..channels).map(|number| key(&format!("c{number:03}"))).collect(),
        auto_subscribe: false,
        allowed_channels: None,
        left_out: 0,
        token_expires_at: LATER,
        expires_at: LATER,
    }
}
