//! Helpers of the domain's own tests.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    app::{
        channel_messages::ChannelMessages,
        connect::{Asked, Connect, ConnectLimits, Connector},
    },
    memory::{Call, CallFault, Effect, Hook, MemoryStore, State},
    model::{
        channel::{AgentMode, AgentSettings, Channel, Member, MemberRole, Visibility},
        error::StoreError,
        id::{ChannelId, ConnectionId, MessageId},
        incarnation::{ChannelKey, Incarnation},
        limits::CHANGE_DURATION,
        message::{Change, ContentType, Message, MessageEvent, Role, StoredMessage},
        rev::Rev,
        seq::Seq,
        time::Timestamp,
        token_bucket::Bucket,
        trace::TraceContext,
    },
    ports::{
        clock::Clock,
        fan_out::{FanOut, PushBatch},
        reply_leases::LeaseRenewal,
        socket_gateway::{Pushed, SocketGateway},
    },
};

tokio::task_local! {
    /// Last step of the running task, for the assertions afterwards.
    pub(crate) static STEP: Rc<Cell<&'static str>>;
}

pub(crate) fn step(name: &'static str) {
    // Most tests do not set it.
    let _ = STEP.try_with(|step| step.set(name));
}

/// Returns the incarnation of the tests' channels and members.
pub(crate) fn incarnation() -> Incarnation {
    "01arz3ndektsv4rrffq69g5fav".parse().unwrap()
}

/// Returns the key of a test channel.
pub(crate) fn key(channel: &str) -> ChannelKey {
    ChannelKey { channel_id: channel.parse().unwrap(), incarnation: incarnation() }
}

/// Returns a message of alice.
pub(crate) fn stored_message(channel: &str, seq: u64, content: &str) -> StoredMessage {
    StoredMessage {
        message: Message {
            channel_id: channel.parse().unwrap(),
            seq: Seq::new(seq),
            message_id: MessageId::try_from("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned()).unwrap(),
            version: Message::FIRST_VERSION,
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            content: content.to_owned(),
            content_type: ContentType::Plain,
            created_at: Timestamp::from_secs(1_796_000_000),
            metadata: None,
            reply_to: None,
            agent: None,
            thread_seq: None,
            thread: None,
            edited_at: None,
            reactions: crate::model::reaction::Reactions::new(),
            deleted_at: None,
        },
        incarnation: incarnation(),
        rev: Rev::ZERO,
        trace: Some(TraceContext {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            tracestate: None,
        }),
        expires_at: None,
    }
}

/// Returns the event of that message's creation.
pub(crate) fn created(channel: &str, seq: u64, content: &str) -> MessageEvent {
    MessageEvent::of(Change::Created, stored_message(channel, seq, content))
}

/// Returns the messages of a store's channels, with their ports. Records of changes are stored for
/// [`CHANGE_DURATION`].
pub(crate) fn channel_messages<'a, Store, Time>(
    store: &'a Store,
    clock: &'a Time,
) -> ChannelMessages<'a, Store, Store, Time> {
    ChannelMessages { channels: store, messages: store, clock, change_duration: CHANGE_DURATION }
}

/// Clock that moves only during sleeps, with random numbers of a seed.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<(Timestamp, StdRng)>);

/// Time at which [`TestClock`] begins.
const START: Timestamp = Timestamp::from_secs(1_800_000_000);

impl TestClock {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new((START, StdRng::seed_from_u64(seed))))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Duration {
        START.until(self.now())
    }

    async fn sleep(&self, duration: Duration) {
        {
            let mut state = self.0.lock().unwrap();
            state.0 = state.0.plus(duration);
        }
        // Lets another task run.
        tokio::task::yield_now().await;
    }

    fn random(&self) -> u128 {
        self.0.lock().unwrap().1.random()
    }
}

/// Clock with Tokio's paused time, which advances when all tasks wait.
#[derive(Debug)]
pub(crate) struct PausedClock {
    pub(crate) start: Instant,
    chance: Mutex<StdRng>,
}

impl PausedClock {
    pub(crate) fn new(seed: u64) -> Self {
        Self { start: Instant::now(), chance: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        START.plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn random(&self) -> u128 {
        self.chance.lock().unwrap().random()
    }
}

pub(crate) fn broken() -> StoreError {
    StoreError { operation: "test", retryable: true, source: "out of order".into() }
}

/// Limits of connections in tests of other rules.
pub(crate) const CONNECT_LIMITS: ConnectLimits =
    ConnectLimits { bucket: Bucket { every: Duration::from_millis(1), burst: 1_000 }, connections: 20 };

/// Gateway at which every socket is open until it is closed. It records the frames that sockets receive.
#[derive(Debug, Default)]
pub(crate) struct OpenSockets {
    received: Mutex<Vec<(ConnectionId, Value)>>,
    closed: Mutex<Vec<ConnectionId>>,
    /// `true`: no push succeeds.
    is_down: AtomicBool,
}

impl OpenSockets {
    /// Returns the types of the frames that a socket has received since the last call.
    pub(crate) fn types(&self, id: &str) -> Vec<String> {
        self.frames(id).iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the frames that a socket has received since the last call.
    pub(crate) fn frames(&self, id: &str) -> Vec<Value> {
        let mut received = self.received.lock().unwrap();
        received.extract_if(.., |(of, _)| of.as_str() == id).map(|(_, frame)| frame).collect()
    }

    /// Opens a socket of a user, with a token of an hour.
    pub(crate) async fn open(&self, store: &TestStore, clock: &PausedClock, id: &str, user: &str, asked: Asked) {
        let connector = Connector { channels: store, connections: store, sockets: self, clock };
        let connect = Connect {
            connection_id: id.parse().unwrap(),
            user_id: user.parse().unwrap(),
            token_expires_at: clock.now().plus(Duration::from_hours(1)),
            asked,
            allowed_channels: None,
        };
        connector.connect(connect, CONNECT_LIMITS).await.unwrap();
    }

    pub(crate) fn is_closed(&self, id: &str) -> bool {
        self.closed.lock().unwrap().iter().any(|closed| closed.as_str() == id)
    }

    pub(crate) fn break_down(&self) {
        self.is_down.store(true, Ordering::Relaxed);
    }
}

impl SocketGateway for OpenSockets {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(broken());
        }
        if self.is_closed(id.as_str()) {
            return Ok(Pushed::Gone);
        }
        self.received.lock().unwrap().push((id.clone(), serde_json::from_str(frame).unwrap()));
        Ok(Pushed::Delivered)
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        Ok(!self.is_closed(id.as_str()))
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        let was_open = !self.is_closed(id.as_str());
        self.closed.lock().unwrap().push(id.clone());
        Ok(was_open)
    }
}

impl FanOut for OpenSockets {
    async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::Relaxed) { Err(broken()) } else { panic!("every socket accepts its frames") }
    }
}

/// Hook that lets other tasks run before and after each call, and makes some calls fail.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Number of failing calls of 100. Half of them fail after they have taken effect.
    in_100: u32,
    /// Maximum number of turns of other tasks before a call.
    turns: u32,
    chance: Mutex<StdRng>,
}

impl Faults {
    /// Decides whether a call fails at this point.
    fn strikes(&self) -> bool {
        self.in_100 > 0 && self.chance.lock().unwrap().random_range(0..200) < self.in_100
    }
}

impl Hook for Faults {
    async fn before(&self, _: Call) -> CallFault {
        let turns = if self.turns == 0 { 1 } else { self.chance.lock().unwrap().random_range(0..=self.turns) };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if self.strikes() { CallFault::Fails } else { CallFault::Arrives }
    }

    async fn after(&self, _: Call) -> bool {
        // The response: a caller that is stopped here does not learn of its change.
        tokio::task::yield_now().await;
        self.in_100 < 100 && !self.strikes()
    }

    fn commits(&self, _: &State, effect: &Effect) {
        match effect {
            Effect::MessageAppended { .. } => step("appended"),
            Effect::LeaseAcquired { .. } => step("claimed"),
            Effect::LeaseRenewed { renewal: LeaseRenewal::CallModel { .. }, .. } => step("calling"),
            _ => {}
        }
    }
}

/// Hook that runs a function once, right before the first call of a kind takes effect.
pub(crate) struct Before<F>(Mutex<Option<(Call, F)>>);

impl<F: FnOnce() + Send> Before<F> {
    pub(crate) fn new(call: Call, act: F) -> Self {
        Self(Mutex::new(Some((call, act))))
    }

    /// Returns whether the function has run.
    pub(crate) fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl<F: FnOnce() + Send> Hook for Before<F> {
    async fn before(&self, call: Call) -> CallFault {
        let act = self.0.lock().unwrap().take_if(|(wanted, _)| *wanted == call);
        if let Some((_, act)) = act {
            act();
        }
        CallFault::Arrives
    }

    async fn after(&self, _: Call) -> bool {
        true
    }
}

pub(crate) type TestStore = MemoryStore<Faults>;

impl TestStore {
    /// Returns empty stores, some of whose calls fail.
    pub(crate) fn seeded(seed: u64, faults_in_100: u32) -> Self {
        Self::new(Faults { in_100: faults_in_100, turns: 0, chance: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    /// Returns empty stores that give other tasks up to `turns` turns before each call.
    pub(crate) fn scheduled(seed: u64, turns: u32) -> Self {
        Self::new(Faults { in_100: 0, turns, chance: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    pub(crate) fn with_channel(self, id: &str, visibility: Visibility) -> Self {
        self.state().put_channel(Channel {
            channel_id: id.parse().unwrap(),
            incarnation: incarnation(),
            name: id.to_owned(),
            visibility,
            agent: AgentSettings::default(),
            read_receipts: false,
            last_seq: Seq::ZERO,
            last_message_at: None,
            created_by: "alice".parse().unwrap(),
            created_at: Timestamp::from_secs(0),
            archived_at: None,
            retention_days: None,
            version: 1,
        });
        self
    }

    pub(crate) fn with_member(self, channel: &str, user: &str) -> Self {
        self.with_role(channel, user, MemberRole::Member)
    }

    pub(crate) fn with_role(self, channel: &str, user: &str, role: MemberRole) -> Self {
        let member = Member {
            channel_id: channel.parse().unwrap(),
            user_id: user.parse().unwrap(),
            incarnation: incarnation(),
            role,
            joined_at: Timestamp::from_secs(0),
            added_by: None,
        };
        self.state().put_member(&key(channel), member, Seq::ZERO);
        self
    }

    pub(crate) fn with_agent(self, channel: &str, mode: AgentMode) -> Self {
        self.set_agent(channel, mode);
        self
    }

    pub(crate) fn set_agent(&self, channel: &str, mode: AgentMode) {
        self.set(channel, |channel| channel.agent.mode = mode);
    }

    pub(crate) fn archive(&self, channel: &str) {
        self.set(channel, |channel| channel.archived_at = Some(Timestamp::from_secs(1)));
    }

    fn set(&self, channel: &str, set: impl FnOnce(&mut Channel)) {
        let mut state = self.state();
        let channel = state.channels.get_mut(&channel.parse::<ChannelId>().unwrap()).unwrap();
        set(channel);
        channel.version += 1;
    }

    /// Returns all messages, in the order of their channels and numbers.
    pub(crate) fn all(&self) -> Vec<Message> {
        self.state().messages.values().flatten().map(|(_, item)| item.stored.message.clone()).collect()
    }
}
