//! One process with its own clock, and its view of the stores, sockets and functions. Each of its calls may fail.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chat::{
    app::{
        agent::draft::DraftAudience,
        channel_messages::ChannelMessages,
        connect::Connector,
        delivery::{Delivery, Reach},
        maintenance::Maintenance,
        membership::Membership,
        presence::Presence,
    },
    memory::{Call, CallFault, Effect, Hook, MemoryStore, Reading, State},
    model::{
        draft::Delta,
        error::StoreError,
        id::{ConnectionId, MessageId},
        incarnation::ChannelKey,
        limits::PUSH_DURATION,
        time::Timestamp,
    },
    ports::{
        clock::Clock,
        draft_sink::DraftSink,
        fan_out::{FanOut, PushBatch},
        reply_leases::{MessageKey, ReplyLeases},
        socket_gateway::{Pushed, SocketGateway},
    },
};

use crate::{
    executor::lock,
    mutant::Mutant,
    oracle::{self, Caller},
    world::{START, World},
};

/// One in so many calls of a store fails before its effect, and one after it.
const CALLS: u64 = 60;
/// One in so many readings of the clock finds that it has jumped.
const LOOKS: u64 = 400;
/// Maximum offset of a clock, in milliseconds: less than half of a reply lease.
const OFF_MILLIS: u64 = 5_000;
/// Maximum duration of a slow call of a store, in milliseconds.
const SLOW_MILLIS: u64 = 3_000;
/// Longer than every wait of a request except the wait for the ends of its change.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// Maximum number of sockets that one process pushes to; a larger audience is dispatched.
pub(crate) const THRESHOLD: usize = 2;

/// The same for stored messages, and the pace of a crowd.
pub(crate) const REACH: Reach = Reach { threshold: THRESHOLD, rate: 200 };

/// Hook that injects a process's faults into its calls of the stores.
pub(crate) struct Process {
    world: Arc<World>,
    pub(crate) caller: Caller,
    pub(crate) number: u64,
    /// Offset of the process's clock, in milliseconds.
    off: AtomicI64,
    /// Channels of which the process has read something that its caller has not been allowed to see since.
    misread: Mutex<BTreeSet<ChannelKey>>,
}

pub(crate) struct Node {
    pub(crate) world: Arc<World>,
    /// The stores, called through the process.
    pub(crate) store: MemoryStore<Process>,
    /// Subscriptions that receive drafts, and the time when they were read.
    drafts: DraftAudience,
    /// Frames that the process pushed or dispatched.
    frames: Mutex<Vec<String>>,
    /// Channel whose guests the process announces.
    pub(crate) announces: Option<ChannelKey>,
}

impl Node {
    pub(crate) fn new(world: &Arc<World>, caller: Caller) -> Self {
        let process = Process {
            world: Arc::clone(world),
            caller,
            number: world.next_process(),
            off: AtomicI64::new(0),
            misread: Mutex::default(),
        };
        if world.time.one_in(4) {
            process.jump();
        }
        let (store, drafts) = (world.store.through(process), DraftAudience::new(world.draft_pace));
        Self { world: Arc::clone(world), store, drafts, frames: Mutex::default(), announces: None }
    }

    pub(crate) fn process(&self) -> &Process {
        self.store.hook()
    }

    pub(crate) fn deadline(&self, in_seconds: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(in_seconds))
    }

    pub(crate) fn delivery(&self) -> Delivery<'_, MemoryStore<Process>, Self, Self, Self> {
        let deadline = self.deadline(60);
        Delivery { connections: &self.store, sockets: self, fan_out: self, clock: self, deadline }
    }

    pub(crate) fn membership(&self) -> Membership<'_, MemoryStore<Process>, MemoryStore<Process>, Self, Self, Self> {
        let (channels, connections, deadline) = (&self.store, &self.store, self.deadline(60));
        Membership { channels, connections, sockets: self, fan_out: self, clock: self, deadline }
    }

    pub(crate) fn connector(&self) -> Connector<'_, MemoryStore<Process>, MemoryStore<Process>, Self, Self> {
        Connector { channels: &self.store, connections: &self.store, sockets: self, clock: self }
    }

    pub(crate) fn presence(&self) -> Presence<'_, MemoryStore<Process>, MemoryStore<Process>, Self, Self> {
        Presence { channels: &self.store, connections: &self.store, sockets: self, clock: self }
    }

    pub(crate) fn maintenance(
        &self,
    ) -> Maintenance<'_, MemoryStore<Process>, MemoryStore<Process>, MemoryStore<Process>, Self, Self> {
        let store = &self.store;
        Maintenance { tenants: store, expiry: store, ends: store, sockets: self, clock: self }
    }

    pub(crate) fn channel_messages(&self) -> ChannelMessages<'_, MemoryStore<Process>, MemoryStore<Process>, Self> {
        let (store, change_duration) = (&self.store, self.world.change_duration);
        ChannelMessages { channels: store, messages: store, clock: self, change_duration }
    }

    /// Tells the oracle that a request is about to respond with what it has read.
    pub(crate) fn answers_with_what_it_read(&self) {
        let Process { caller, misread, .. } = self.process();
        if !lock(misread).is_empty() {
            self.world.violation(format!(
                "{caller:?} gets a response with data that the memberships have forbidden since it was read"
            ));
        }
    }

    /// Returns the frames that the process pushed or dispatched since the last call.
    pub(crate) fn take_frames(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.frames))
    }

    /// Notes a frame, and returns it as the process sends it.
    fn sent(&self, frame: &str) -> String {
        let frame = if self.world.has(Mutant::FirstNumberLost) {
            oracle::without_first_numbers(frame)
        } else {
            frame.to_owned()
        };
        if self.process().caller == Caller::System {
            lock(&self.frames).push(frame.clone());
        }
        frame
    }

    /// Returns the stored text of a draft: that of the stored reply, or that of the stored pieces.
    async fn stored_text(&self, channel: &ChannelKey, delta: &Delta) -> Option<String> {
        let reply = self.world.tables().notes.replies.get(&delta.draft_id.to_string()).cloned();
        if let Some(reply) = reply {
            return Some(reply.content);
        }
        let question = MessageKey { channel: channel.clone(), seq: delta.reply_to };
        let now = Timestamp::from_millis(self.world.time.now());
        // Calls of the schedule's own stores take no step.
        let draft = ReplyLeases::draft(&self.world.store, &question, now).await.ok()??;
        (draft.draft_id == Some(delta.draft_id)).then_some(draft.text)
    }

    /// Waits for the gateway, which is slow in some schedules.
    async fn gateway(&self) {
        if self.world.gateway_millis > 0 {
            let millis = self.world.time.below(self.world.gateway_millis);
            self.world.time.sleep(Duration::from_millis(millis)).await;
        }
    }

    /// Calls something other than a store. The call may fail before or after its effect.
    async fn call<T: Send>(&self, effect: impl FnOnce() -> T + Send) -> Result<T, StoreError> {
        let time = &self.world.time;
        time.turn().await;
        if time.inject_fault(CALLS) {
            return Err(broken());
        }
        let answer = effect();
        time.turn().await;
        if time.inject_fault(CALLS) { Err(broken()) } else { Ok(answer) }
    }
}

pub(crate) fn broken() -> StoreError {
    StoreError { operation: "simulated call", retryable: true, source: "out of order".into() }
}

impl Process {
    async fn fate(&self, call: Call) -> CallFault {
        let time = &self.world.time;
        if !self.world.throttle.accepts_call(time.now()) {
            return CallFault::Fails;
        }
        if matches!(call, Call::Append | Call::Revise | Call::React) && time.inject_fault(CALLS) {
            return CallFault::Conflicts;
        }
        // The response to an append is lost, and the SDK repeats the request.
        if call == Call::Append && time.inject_fault(CALLS) {
            return CallFault::Repeated;
        }
        if !time.inject_fault(CALLS) {
            return CallFault::Arrives;
        }
        match time.below(4) {
            0 => CallFault::Repeated,
            // Reply leases do not hold for a worker that is slow and has a wrong clock.
            1 if self.caller != Caller::Agent => {
                let millis = time.below(SLOW_MILLIS);
                time.sleep(Duration::from_millis(millis)).await;
                CallFault::Arrives
            }
            _ => CallFault::Fails,
        }
    }

    fn jump(&self) {
        let off = i64::try_from(self.world.time.below(2 * OFF_MILLIS + 1)).unwrap_or_default();
        self.off.store(off - i64::try_from(OFF_MILLIS).unwrap_or_default(), Ordering::Relaxed);
    }
}

impl Hook for Process {
    async fn before(&self, call: Call) -> CallFault {
        self.world.time.turn().await;
        let fate = self.fate(call).await;
        self.world.tell(|| format!("{} {}: {fate:?}", self.number, call.name()));
        fate
    }

    async fn after(&self, call: Call) -> bool {
        if matches!(call, Call::Open | Call::Withdraw | Call::Close | Call::Subscribe | Call::Unsubscribe) {
            self.world.note_guests();
            self.world.subscribed.raise();
        }
        // Runs at the instant of the call's effect. A caller that may see the channel at this instant could read the
        // same again.
        if !lock(&self.misread).is_empty() {
            let state = self.world.store.state();
            lock(&self.misread).retain(|channel| oracle::is_misread(&state, &self.caller, channel));
        }
        self.world.time.turn().await;
        let is_lost = self.world.time.inject_fault(CALLS);
        if is_lost {
            self.world.tell(|| format!("{} {}: the response is lost", self.number, call.name()));
        }
        !is_lost
    }

    fn commits(&self, state: &State, effect: &Effect) {
        oracle::commits(&self.world, &self.caller, self.number, state, effect);
    }

    fn reads(&self, state: &State, channel: &ChannelKey, _: Reading) {
        if oracle::is_misread(state, &self.caller, channel) {
            lock(&self.misread).insert(channel.clone());
        }
    }
}

impl Clock for Node {
    fn now(&self) -> Timestamp {
        let process = self.process();
        if self.world.time.inject_fault(LOOKS) {
            process.jump();
        }
        Timestamp::from_millis(self.world.time.now() + process.off.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        if self.world.has(Mutant::DecisionForEver) && self.process().caller == Caller::System {
            return Duration::ZERO;
        }
        Duration::from_millis((self.world.time.now() - START).unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        let is_request = matches!(self.process().caller, Caller::User(_));
        if is_request && duration > LONG_WAIT && self.world.has(Mutant::AnsweredAtOnce) {
            return self.world.time.turn().await;
        }
        self.world.time.sleep(duration).await;
    }

    fn random(&self) -> u128 {
        self.world.time.random()
    }
}

impl SocketGateway for Node {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        let (time, frame) = (&self.world.time, &self.sent(frame));
        if let Some(key) = &self.announces {
            oracle::announces(&self.world, key, id, frame, false);
        }
        let until = time.now() + i64::try_from(PUSH_DURATION.as_millis()).unwrap_or_default();
        time.turn().await;
        if time.inject_fault(40) {
            let now = time.now();
            let until = now + i64::try_from(time.below(3_000)).unwrap_or_default();
            if let Some(socket) = self.world.tables().sockets.get_mut(id) {
                socket.throttled_until = until;
            }
        }
        if time.inject_fault(60) {
            let stall = time.below(4_000);
            time.sleep(Duration::from_millis(stall)).await;
        }
        self.gateway().await;
        if time.inject_fault(CALLS) || time.now() >= until {
            return Err(broken());
        }
        if !self.world.throttle.accepts_push(time.now()) {
            return if self.world.has(Mutant::RefusalSwallowed) { Ok(Pushed::Delivered) } else { Err(broken()) };
        }
        let pushed = {
            let state = self.world.store.state();
            let mut tables = self.world.tables();
            let now = time.now();
            match tables.sockets.get_mut(id).filter(|socket| socket.open) {
                None => Pushed::Gone,
                Some(socket) if now < socket.throttled_until => return Err(broken()),
                Some(socket) => {
                    if let Some(inbox) = &mut socket.inbox {
                        inbox.push_back(frame.clone());
                    }
                    let who = socket.user.clone();
                    oracle::pushed(&state, &mut tables, &who, frame);
                    Pushed::Delivered
                }
            }
        };
        self.world.tell(|| {
            format!("{} push to {id}: {pushed:?} {}", self.process().number, frame.get(..90).unwrap_or(frame))
        });
        if let Some(key) = self.announces.as_ref().filter(|_| pushed == Pushed::Delivered) {
            oracle::announces(&self.world, key, id, frame, true);
        }
        self.world.pushed.raise();
        time.turn().await;
        if time.inject_fault(CALLS) { Err(broken()) } else { Ok(pushed) }
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.call(|| self.world.tables().sockets.get(id).is_some_and(|socket| socket.open)).await
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.gateway().await;
        self.call(|| {
            self.world.tell(|| format!("{} closes {id}", self.process().number));
            self.world.pushed.raise();
            let mut tables = self.world.tables();
            let open = tables.sockets.get_mut(id).filter(|socket| socket.open);
            open.map(|socket| socket.open = self.world.has(Mutant::SocketsLeft)).is_some()
        })
        .await
    }
}

impl FanOut for Node {
    async fn dispatch(&self, batch: &PushBatch) -> Result<(), StoreError> {
        let dispatched = self.call(|| {
            let frames = batch.frames.iter().map(|frame| self.sent(frame)).collect();
            if !self.world.has(Mutant::HandOverLost) {
                (self.world.send_message)(&self.world, PushBatch { frames, ..batch.clone() });
            }
        });
        let dispatched = dispatched.await;
        if self.world.has(Mutant::ShardLost) { Ok(()) } else { dispatched }
    }
}

impl DraftSink for Node {
    async fn show(&self, channel: &ChannelKey, delta: &Delta) {
        let stored = self.stored_text(channel, delta).await;
        oracle::shown(&self.world, channel, delta, stored.unwrap_or_default());
        self.drafts.push(&self.delivery(), channel, delta, THRESHOLD).await;
    }

    async fn resume(&self, channel: &ChannelKey, draft_id: MessageId, text: &str, renewed_at: Timestamp) {
        oracle::resumed(&self.world, channel, draft_id, text);
        self.drafts.resume(draft_id, text, renewed_at);
    }
}
