//! How many requests a message costs. Each is money and time: one more has to be meant, and is written down in
//! `docs/calls.json`, from which docs/cost.md has its figures.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::config::{
    ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
};
use chat::{
    agent::{self, Agent, Budgets, BuiltInResponder, Delta, DraftSink},
    channel::AgentMode,
    clock::Clock,
    delivery::{Broadcast, Delivery, FanOut, Outcome, Pushed, SocketPusher},
    error::{ChatError, StoreError},
    message::{Change, Draft, MessageEvent},
    rate::Bucket,
    send::{Memory, Send, Sent, send},
};

use serde_json::Value;

use super::*;

/// Notes the operation of each attempt at a call, of how many items a transaction is, and whether it has a token.
#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    /// The operations since the last look.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), aws_sdk_dynamodb::error::BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let (_, operation) = target.rsplit_once('.').unwrap();
        let body: Value = serde_json::from_slice(context.request().body().bytes().unwrap()).unwrap();
        let items = body["TransactItems"].as_array().map(|items| format!(" of {}", items.len()));
        let token = if body["ClientRequestToken"].is_string() { " with a token" } else { "" };
        self.0.lock().unwrap().push(format!("{operation}{}{token}", items.unwrap_or_default()));
        Ok(())
    }
}

/// Sockets that take everything.
#[derive(Debug, Default)]
struct Sockets(AtomicUsize);

impl SocketPusher for Sockets {
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
    async fn hand_over(&self, _: &Broadcast) -> Result<(), StoreError> {
        panic!("so few are pushed to from here");
    }
}

impl DraftSink for Sockets {
    async fn show(&self, _: &Delta) {
        panic!("nobody asks");
    }
}

/// Time stands still, and chance decides nothing.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep(&self, _: Duration) {}

    fn random(&self) -> u128 {
        0
    }
}

impl Tables {
    /// The same tables, with every request noted.
    fn counted(mut self) -> (Self, Calls) {
        let calls = Calls::default();
        let config = self.client.config().to_builder().interceptor(calls.clone()).build();
        self.client = Client::from_conf(config);
        (self, calls)
    }
}

/// As a user of a REST client sends it.
fn message(channel: &str, key: Option<&str>, bucket: Bucket) -> Send {
    Send {
        channel_id: channel_id(channel),
        sender_id: user("alice"),
        role: Role::User,
        draft: Draft { content: "hi".to_owned(), ..Draft::default() },
        idempotency_key: key.map(|key| key.parse().unwrap()),
        bucket: Some(bucket),
        trace: None,
    }
}

/// What is written down of a case.
fn documented(case: &str) -> Value {
    let calls: Value = serde_json::from_str(include_str!("../../../../docs/calls.json")).unwrap();
    calls[case].clone()
}

const WIDE: Bucket = Bucket { every: Duration::from_millis(1), burst: 1_000 };

#[tokio::test]
async fn a_message_is_one_request_and_two_when_nothing_is_remembered() {
    let (tables, calls) = Tables::new().await.counted();
    for (id, visibility) in [("public", Visibility::Public), ("private", Visibility::Private)] {
        tables.channel(id, visibility).await;
        calls.take();
        let mut memory = Memory::default();
        for (case, key) in [
            ("message_when_nothing_is_remembered", None),
            ("message", None),
            ("message", None),
            ("message_with_a_key", Some("k")),
        ] {
            send(&tables.messages(), &SystemClock, message(id, key, WIDE), &mut memory).await.unwrap();
            assert_eq!(json!(calls.take()), documented(case)[id], "{case}, {id}");
        }
    }
}

#[tokio::test]
async fn a_wrong_memory_is_one_request_more_and_a_repeated_message_one_read() {
    let (tables, calls) = Tables::new().await.counted();
    tables.channel("c", Visibility::Public).await;
    let (messages, slow) = (tables.messages(), Bucket { every: Duration::from_mins(1), burst: 3 });
    let (mut one, mut other) = (Memory::default(), Memory::default());
    send(&messages, &SystemClock, message("c", Some("k"), slow), &mut one).await.unwrap();
    // It knows the channel, and believes its bucket to be full.
    other.head.clone_from(&one.head);
    calls.take();
    send(&messages, &SystemClock, message("c", None, slow), &mut other).await.unwrap();
    assert_eq!(calls.take(), ["TransactWriteItems of 3"; 2], "the bucket is not full");
    send(&messages, &SystemClock, message("c", None, slow), &mut one).await.unwrap();
    // The head and the bucket have moved; the refusal tells of both.
    assert_eq!(calls.take(), ["TransactWriteItems of 3"; 2]);

    let refused = send(&messages, &SystemClock, message("c", None, slow), &mut one).await;
    assert!(matches!(refused, Err(ChatError::TooManyRequests { .. })));
    assert!(!calls.take().iter().any(|call| call.starts_with("Transact")), "it is known that the bucket is empty");
    let again = send(&messages, &SystemClock, message("c", Some("k"), slow), &mut one).await.unwrap();
    assert!(matches!(again, Sent::Replayed(_)), "an empty bucket keeps nobody from an answer");
    calls.take();

    let mut memory = Memory { head: messages.head(&channel_id("c")).await.unwrap(), full_at: None };
    calls.take();
    let again = send(&messages, &SystemClock, message("c", Some("k"), WIDE), &mut memory).await.unwrap();
    assert!(matches!(again, Sent::Replayed(_)));
    assert_eq!(calls.take(), ["TransactWriteItems of 4", "GetItem"]);
}

#[tokio::test]
async fn a_batch_of_one_channel_is_one_query_and_a_post_for_each_connection() {
    let (tables, calls) = Tables::new().await.counted();
    let connections = tables.connections();
    for number in 0..3 {
        connections.open(&connection(&format!("{number}="), 1, NOW)).await.unwrap();
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
    let event = |seq| MessageEvent { change: Change::Created, stored: stored(channel.as_str(), seq) };
    let events: Vec<MessageEvent> = (1..=10).map(event).collect();
    let outcome = delivery.deliver(&channel, &events, 200).await.unwrap();
    assert_eq!(outcome, Outcome { delivered: 3, ..Outcome::default() });
    assert_eq!(json!(calls.take()), documented("delivery_of_a_batch"));
    assert_eq!(sockets.0.into_inner(), 3, "ten messages of one channel share a frame");
}

#[tokio::test]
async fn a_batch_of_one_channel_that_wants_no_reply_is_one_look_at_it() {
    let (tables, calls) = Tables::new().await.counted();
    let mut channel = sample("c", Visibility::Public);
    channel.agent.mode = AgentMode::Off;
    assert!(tables.channels().create(&channel, &member("c", "alice", MemberRole::Owner), None).await.unwrap());
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
        let outcome = agent.answer(&stored("c", seq), &mut known).await.unwrap();
        assert_eq!(outcome, agent::Outcome::NotWanted);
    }
    assert_eq!(json!(calls.take()), documented("batch_without_a_reply"));
}
