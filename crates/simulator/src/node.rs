//! One process: the domain's ports, as it sees them. Its clock is its own, and each of its calls may fail on the way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chat::{
    agent::{Claim, ClaimStore, Claimed, Delta, DraftSink, LanguageModel, ModelError, Piece, Pieces, Prompt, Question},
    channel::{
        Channel, ChannelPage, ChannelStore, Creation, Member, MemberAdded, MemberChanged, MemberPage, MemberRole,
        PublicPage, Visibility,
    },
    clock::{Clock, Timestamp},
    connection::{Connection, ConnectionStore, Subscription, UserConnection},
    delivery::{Broadcast, Delivery, FanOut, Pushed, SocketPusher},
    error::StoreError,
    id::{ChannelId, ConnectionId, IdempotencyKey, UserId},
    message::{
        Append, Appended, Change, Head, IdempotencyRecord, Message, MessageEvent, MessageStore, Range, StoredMessage,
    },
    rate::{Action, Bucket, RateLimiter},
    reaction::Reacted,
    revision::Revision,
};
use futures::{StreamExt, stream};

use crate::{
    actors,
    plant::Plant,
    tables::{Streamed, Tables},
    world::{World, channel},
};

/// Of so many calls of a store, one fails before it takes effect, and one after.
const CALLS: u64 = 60;
/// Of so many looks at the clock, one finds that it has jumped.
const LOOKS: u64 = 400;
/// Furthest that a clock is off: less than half of what a claim lasts.
const OFF_MILLIS: u64 = 5_000;

/// Sockets that are pushed to from one process.
pub(crate) const THRESHOLD: usize = 2;

pub(crate) struct Node {
    pub(crate) world: Arc<World>,
    /// How far its clock is off.
    off: AtomicI64,
}

impl Node {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let node = Self { world: Arc::clone(world), off: AtomicI64::new(0) };
        if world.time.one_in(4) {
            node.jump();
        }
        node
    }

    fn jump(&self) {
        let off = i64::try_from(self.world.time.below(2 * OFF_MILLIS + 1)).unwrap_or_default();
        self.off.store(off - i64::try_from(OFF_MILLIS).unwrap_or_default(), Ordering::Relaxed);
    }

    pub(crate) fn deadline(&self, in_seconds: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(in_seconds))
    }

    pub(crate) fn delivery(&self) -> Delivery<'_, Self, Self, Self, Self> {
        Delivery { connections: self, sockets: self, fan_out: self, clock: self, deadline: self.deadline(60) }
    }

    /// A call: two steps, of which the second is the way back.
    async fn call<T: Send>(&self, effect: impl FnOnce(&mut Tables) -> T + Send) -> Result<T, StoreError> {
        let time = &self.world.time;
        time.turn().await;
        if time.mishap(CALLS) {
            return Err(broken());
        }
        let answer = effect(&mut self.world.tables());
        time.turn().await;
        if time.mishap(CALLS) { Err(broken()) } else { Ok(answer) }
    }

    /// The transaction of an append.
    fn transact(&self, tables: &mut Tables, append: Append<'_>) -> Appended {
        let Append { head, message, for_agent, record, member, token, now } = append;
        let (id, seq, sender) = (&head.channel_id, message.message.seq, &message.message.sender_id);
        let key = record.map(|record| (id.clone(), sender.clone(), record.key.to_string()));
        let taken = key.as_ref().and_then(|key| tables.records.get(key));
        if let Some(taken) = taken.filter(|taken| taken.expires_at > now) {
            return Appended::KeyTaken(taken.clone());
        }
        let mut there = tables.messages.get(id).into_iter().flatten();
        let is_own = |there: &Message| there.seq == seq && there.message_id == message.message.message_id;
        if record.is_none() && there.any(is_own) && !self.has(Plant::OwnMessageUnknown) {
            return Appended::Stored;
        }
        let Some(current) = tables.channels.get_mut(id) else { return Appended::HeadMoved(None) };
        if (Head::from(&*current) != *head || head.archived) && !self.has(Plant::HeadUnchecked) {
            return Appended::HeadMoved(Some(Head::from(&*current)));
        }
        let is_member = |user: &UserId| tables.members.contains_key(&(id.clone(), user.clone()));
        if member.is_some_and(|user| !is_member(user)) && !self.has(Plant::MemberUnchecked) {
            return Appended::NotAMember;
        }
        if let Some(token) = token {
            let full_at = tables.buckets.entry(sender.clone()).or_insert(now);
            if token.full_at.map_or(*full_at > now, |believed| believed != *full_at) {
                return Appended::BucketMoved(*full_at);
            }
            *full_at = token.next;
        }
        current.last_seq = seq;
        tables.messages.entry(id.clone()).or_default().push(message.message.clone());
        if !self.has(Plant::KeyForgotten) {
            tables.records.extend(key.zip(record.cloned()));
        }
        tables
            .stream
            .push(Streamed { event: MessageEvent { change: Change::Created, stored: message.clone() }, for_agent });
        self.world.tell(|| format!("append {id} {seq}: {}", message.message.content));
        // Whoever dies now is heard of all the same.
        self.world.appended.raise();
        Appended::Stored
    }

    fn has(&self, plant: Plant) -> bool {
        self.world.has(plant)
    }

    /// Takes the subscriptions as they are before a change, for who reads them late.
    fn before_change(tables: &mut Tables) {
        let now = tables.subscriptions.clone();
        tables.stale_subscriptions.push_back(now);
        if tables.stale_subscriptions.len() > 2 {
            tables.stale_subscriptions.pop_front();
        }
    }
}

pub(crate) fn broken() -> StoreError {
    StoreError { operation: "simulated call", retryable: true, source: "out of order".into() }
}

impl Clock for Node {
    fn now(&self) -> Timestamp {
        if self.world.time.mishap(LOOKS) {
            self.jump();
        }
        Timestamp::from_millis(self.world.time.now() + self.off.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        self.world.time.sleep(duration).await;
    }

    fn random(&self) -> u128 {
        self.world.time.random()
    }
}

impl MessageStore for Node {
    async fn head(&self, channel: &ChannelId) -> Result<Option<Head>, StoreError> {
        self.call(|tables| tables.channels.get(channel).map(Head::from)).await
    }

    async fn is_member(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        self.call(|tables| tables.members.contains_key(&(channel.clone(), user.clone()))).await
    }

    async fn append(&self, append: Append<'_>) -> Result<Appended, StoreError> {
        let conflict = self.world.time.mishap(CALLS);
        // The answer is lost, and the SDK repeats the request.
        let repeats = self.world.time.mishap(CALLS);
        self.call(|tables| {
            if conflict {
                return Appended::Conflict;
            }
            let first = self.transact(tables, append);
            if repeats { self.transact(tables, append) } else { first }
        })
        .await
    }

    async fn idempotency_record(
        &self,
        channel: &ChannelId,
        sender: &UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let key = (channel.clone(), sender.clone(), key.to_string());
        self.call(|tables| tables.records.get(&key).cloned()).await
    }

    async fn message(&self, channel: &ChannelId, seq: u64, _: Timestamp) -> Result<Option<Message>, StoreError> {
        self.call(|tables| tables.messages.get(channel)?.iter().find(|message| message.seq == seq).cloned()).await
    }

    async fn revise(&self, _: &StoredMessage) -> Result<bool, StoreError> {
        unreachable!("nobody revises a message")
    }

    async fn react(&self, _: &Revision, _: &str, _: bool, _: Timestamp) -> Result<Reacted, StoreError> {
        unreachable!("nobody reacts")
    }

    async fn replies(&self, _: &ChannelId, _: u64, _: u64, _: u16, _: Timestamp) -> Result<Vec<Message>, StoreError> {
        unreachable!("nobody reads a thread")
    }

    async fn messages(
        &self,
        channel: &ChannelId,
        range: Range,
        limit: u16,
        _: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        self.call(|tables| {
            let all = tables.messages.get(channel).map(Vec::as_slice).unwrap_or_default().iter();
            let limit = usize::from(limit);
            match range {
                Range::Newest => all.rev().take(limit).cloned().collect(),
                Range::Before(seq) => all.rev().filter(|message| message.seq < seq).take(limit).cloned().collect(),
                Range::After(seq) => all.filter(|message| message.seq > seq).take(limit).cloned().collect(),
            }
        })
        .await
    }
}

impl ChannelStore for Node {
    async fn create(&self, _: &Channel, _: &Member, _: Option<&Creation>) -> Result<bool, StoreError> {
        unreachable!("nobody creates a channel")
    }

    async fn creation(&self, _: &ChannelId, _: &UserId, _: &IdempotencyKey) -> Result<Option<Creation>, StoreError> {
        unreachable!("nobody creates a channel")
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        self.call(|tables| tables.channels.get(id).cloned()).await
    }

    async fn update(&self, _: &Channel, _: &Channel) -> Result<bool, StoreError> {
        unreachable!("nobody changes a channel")
    }

    async fn delete(&self, _: &Channel, _: Timestamp) -> Result<bool, StoreError> {
        unreachable!("nobody deletes a channel")
    }

    async fn public_channels(&self, _: &str, _: Option<&str>, _: u16) -> Result<PublicPage, StoreError> {
        unreachable!("nobody lists channels")
    }

    async fn mark_read(&self, _: &ChannelId, _: &UserId, _: u64) -> Result<Option<u64>, StoreError> {
        unreachable!("nobody marks anything read")
    }

    async fn member(&self, channel: &ChannelId, user: &UserId) -> Result<Option<Member>, StoreError> {
        let key = (channel.clone(), user.clone());
        self.call(|tables| {
            let role = *tables.members.get(&key)?;
            let (channel_id, user_id) = key;
            Some(Member { channel_id, user_id, role, joined_at: Timestamp::from_secs(0) })
        })
        .await
    }

    async fn members(&self, _: &ChannelId, _: Option<&UserId>, _: u16) -> Result<MemberPage, StoreError> {
        unreachable!("nobody lists members")
    }

    async fn channels_of(&self, _: &UserId, _: Option<&ChannelId>, _: u16) -> Result<ChannelPage, StoreError> {
        unreachable!("nobody lists channels")
    }

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Vec<ChannelId>, StoreError> {
        self.call(|tables| {
            let own = tables.members.keys().filter(|(_, member)| member == user);
            own.map(|(channel, _)| channel.clone()).take(limit).collect()
        })
        .await
    }

    async fn add_member(&self, member: &Member, visibility: Visibility, _: u64) -> Result<MemberAdded, StoreError> {
        self.call(|tables| {
            let key = (member.channel_id.clone(), member.user_id.clone());
            if let Some(role) = tables.members.get(&key) {
                return MemberAdded::Already(Member { role: *role, ..member.clone() });
            }
            let found = tables.channels.get(&member.channel_id);
            if found.is_none_or(|found| found.visibility != visibility) {
                return MemberAdded::ChannelChanged;
            }
            tables.members.insert(key, member.role);
            MemberAdded::Added
        })
        .await
    }

    async fn change_role(&self, _: &Member, _: MemberRole) -> Result<MemberChanged, StoreError> {
        unreachable!("nobody changes a role")
    }

    async fn remove_member(&self, member: &Member) -> Result<MemberChanged, StoreError> {
        self.call(|tables| {
            let key = (member.channel_id.clone(), member.user_id.clone());
            if tables.members.get(&key) != Some(&member.role) {
                return MemberChanged::Lost;
            }
            tables.members.remove(&key);
            MemberChanged::Done
        })
        .await
    }
}

impl ConnectionStore for Node {
    async fn announce(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let key = (user.clone(), connection.connection_id.clone());
        self.call(|tables| tables.of_user.insert(key, connection.clone())).await?;
        Ok(())
    }

    async fn withdraw(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let key = (user.clone(), connection.connection_id.clone());
        self.call(|tables| {
            let is_same = tables.of_user.get(&key).is_some_and(|one| one.connected_at == connection.connected_at);
            if is_same {
                tables.of_user.remove(&key);
            }
        })
        .await
    }

    async fn open(&self, connection: &Connection) -> Result<(), StoreError> {
        self.world.tell(|| format!("open {} of {}", connection.connection_id, connection.connected_at));
        let id = &connection.connection_id;
        self.call(|tables| {
            tables.connections.insert(id.clone(), connection.clone());
            tables.of_user.insert((connection.user_id.clone(), id.clone()), UserConnection::from(connection));
        })
        .await?;
        for channel in &connection.channels {
            let subscription = Subscription {
                connection_id: id.clone(),
                user_id: connection.user_id.clone(),
                connected_at: connection.connected_at,
                expires_at: connection.expires_at,
            };
            self.call(|tables| {
                Self::before_change(tables);
                tables.subscriptions.insert((channel.clone(), id.clone()), subscription)
            })
            .await?;
        }
        Ok(())
    }

    async fn renew(&self, _: &Connection) -> Result<bool, StoreError> {
        unreachable!("nobody renews a token")
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        self.call(|tables| tables.connections.get(id).cloned()).await
    }

    async fn connections_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        self.call(|tables| {
            let own = tables.of_user.iter().filter(|((of, _), one)| of == user && one.expires_at > now);
            own.map(|(_, one)| one.clone()).collect()
        })
        .await
    }

    async fn close(&self, id: &ConnectionId, connected_at: Timestamp) -> Result<bool, StoreError> {
        self.world.tell(|| format!("close {id} of {connected_at}"));
        self.call(|tables| {
            Self::before_change(tables);
            tables.subscriptions.retain(|(_, of), one| of != id || one.connected_at != connected_at);
        })
        .await?;
        self.call(|tables| {
            tables.of_user.retain(|(_, of), one| of != id || one.connected_at != connected_at);
            let is_same = tables.connections.get(id).is_some_and(|one| one.connected_at == connected_at);
            is_same && tables.connections.remove(id).is_some()
        })
        .await
    }

    async fn subscriptions(&self, channel: &ChannelId, now: Timestamp) -> Result<Vec<Subscription>, StoreError> {
        let stale = self.has(Plant::StaleSubscriptions);
        self.call(|tables| {
            let found = match tables.stale_subscriptions.front() {
                Some(before) if stale => before,
                _ => &tables.subscriptions,
            };
            let of_channel = found.iter().filter(|((of, _), one)| of == channel && one.expires_at > now);
            of_channel.map(|(_, one)| one.clone()).collect()
        })
        .await
    }

    async fn subscribe(
        &self,
        channel: &ChannelId,
        user: &UserId,
        connection: &UserConnection,
    ) -> Result<bool, StoreError> {
        self.call(|tables| {
            let id = &connection.connection_id;
            if tables.connections.get(id).is_none_or(|one| one.connected_at != connection.connected_at) {
                return false;
            }
            let subscription = Subscription {
                connection_id: id.clone(),
                user_id: user.clone(),
                connected_at: connection.connected_at,
                expires_at: connection.expires_at,
            };
            Self::before_change(tables);
            tables.subscriptions.insert((channel.clone(), id.clone()), subscription);
            true
        })
        .await
    }

    async fn unsubscribe(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.world.tell(|| format!("unsubscribe {id} of {connected_at} from {channel}"));
        self.call(|tables| {
            let key = (channel.clone(), id.clone());
            let is_same = tables.subscriptions.get(&key).is_some_and(|one| one.connected_at == connected_at);
            if is_same {
                Self::before_change(tables);
                tables.subscriptions.remove(&key);
            }
            is_same
        })
        .await
    }
}

impl ClaimStore for Node {
    async fn claim(
        &self,
        question: &Question,
        owner: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let unchecked = self.has(Plant::ClaimUnchecked);
        self.call(|tables| {
            let kept = tables.claims.entry(key(question)).or_default();
            match kept.until {
                Some(until) if until > now && !unchecked => Claimed::Held { until },
                _ => {
                    (kept.owner, kept.until) = (owner.to_owned(), Some(until));
                    Claimed::Ours(kept.claim)
                }
            }
        })
        .await
    }

    async fn renew(
        &self,
        question: &Question,
        owner: &str,
        until: Timestamp,
        calls_model: bool,
    ) -> Result<Option<Claim>, StoreError> {
        let unchecked = self.has(Plant::ClaimUnchecked);
        self.call(|tables| {
            let kept = tables.claims.get_mut(&key(question)).filter(|kept| unchecked || kept.owner == owner)?;
            kept.until = Some(until);
            kept.claim.calls += u32::from(calls_model);
            Some(kept.claim)
        })
        .await
    }

    async fn release(&self, question: &Question, owner: &str) -> Result<(), StoreError> {
        ClaimStore::renew(self, question, owner, Timestamp::from_secs(0), false).await?;
        Ok(())
    }

    async fn cancel(&self, question: &Question, _: Timestamp) -> Result<(), StoreError> {
        self.call(|tables| tables.claims.entry(key(question)).or_default().claim.cancelled = true).await
    }

    async fn spent(&self, user: &UserId, _: Timestamp) -> Result<u64, StoreError> {
        self.call(|tables| tables.spent.get(user).copied().unwrap_or_default()).await
    }

    async fn spend(&self, user: &UserId, tokens: u64, _: Timestamp) -> Result<(), StoreError> {
        self.call(|tables| *tables.spent.entry(user.clone()).or_default() += tokens).await
    }
}

fn key(question: &Question) -> (ChannelId, u64) {
    (question.channel_id.clone(), question.seq)
}

impl RateLimiter for Node {
    async fn take(&self, _: &UserId, _: &Action<'_>, _: Bucket, _: Timestamp) -> Result<Option<Duration>, StoreError> {
        // Nobody does anything too often.
        self.call(|_| None).await
    }
}

impl SocketPusher for Node {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        let time = &self.world.time;
        time.turn().await;
        if time.mishap(40) {
            let now = time.now();
            let until = now + i64::try_from(time.below(3_000)).unwrap_or_default();
            if let Some(socket) = self.world.tables().sockets.get_mut(id) {
                socket.throttled_until = until;
            }
        }
        if time.mishap(60) {
            let stall = time.below(4_000);
            time.sleep(Duration::from_millis(stall)).await;
        }
        if time.mishap(CALLS) {
            return Err(broken());
        }
        let pushed = {
            let mut tables = self.world.tables();
            let now = time.now();
            match tables.sockets.get_mut(id).filter(|socket| socket.open) {
                None => Pushed::Gone,
                Some(socket) if now < socket.throttled_until => return Err(broken()),
                Some(socket) => {
                    socket.inbox.push_back(frame.to_owned());
                    let who = socket.user.clone();
                    crate::oracle::pushed(&mut tables, &who, frame);
                    Pushed::Delivered
                }
            }
        };
        self.world.tell(|| format!("push to {id}: {pushed:?} {}", frame.get(..90).unwrap_or(frame)));
        self.world.pushed.raise();
        time.turn().await;
        if time.mishap(CALLS) { Err(broken()) } else { Ok(pushed) }
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.call(|tables| tables.sockets.get(id).is_some_and(|socket| socket.open)).await
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.call(|tables| {
            self.world.pushed.raise();
            let open = tables.sockets.get_mut(id).filter(|socket| socket.open);
            open.map(|socket| socket.open = self.has(Plant::SocketsLeft)).is_some()
        })
        .await
    }
}

impl FanOut for Node {
    async fn hand_over(&self, broadcast: &Broadcast) -> Result<(), StoreError> {
        let time = &self.world.time;
        time.turn().await;
        if time.mishap(CALLS) {
            return Err(broken());
        }
        if !self.has(Plant::HandOverLost) {
            actors::send_message(&self.world, broadcast.clone());
        }
        time.turn().await;
        if time.mishap(CALLS) { Err(broken()) } else { Ok(()) }
    }
}

impl DraftSink for Node {
    async fn show(&self, delta: &Delta) {
        let now = self.now();
        let Ok(listeners) = self.subscriptions(&delta.channel_id, now).await else { return };
        let Ok(frame) = serde_json::to_string(delta) else { return };
        self.delivery().push_once(&delta.channel_id, &frame, &listeners, THRESHOLD).await;
    }
}

impl LanguageModel for Node {
    async fn reply(&self, prompt: Prompt) -> Result<Pieces, ModelError> {
        let world = Arc::clone(&self.world);
        world.time.turn().await;
        let asked = prompt.turns.last().map(|turn| turn.text.clone()).unwrap_or_default();
        let question = actors::question(&mut world.tables(), &channel(crate::world::PUBLIC), &asked);
        if let Some(question) = &question {
            *world.tables().notes.calls.entry(question.clone()).or_default() += 1;
        }
        let failed = |world: &World, error: ModelError| {
            if let Some(question) = &question {
                *world.tables().notes.disturbances.entry(question.clone()).or_default() += 1;
            }
            error
        };
        if world.time.mishap(8) {
            let retry_after = world.time.one_in(2).then(|| Duration::from_secs(world.time.below(5)));
            return Err(failed(&world, ModelError::Busy { retry_after }));
        }
        let words = 1 + world.time.below(3);
        let breaks = world.time.mishap(8).then(|| failed(&world, ModelError::Unavailable("it broke off".to_owned())));
        let pieces = stream::unfold((0, breaks), move |(said, breaks)| {
            let (world, asked) = (Arc::clone(&world), asked.clone());
            async move {
                let wait = if world.time.one_in(6) { 1_500 } else { 120 };
                let wait = world.time.below(wait);
                world.time.sleep(Duration::from_millis(wait)).await;
                match breaks {
                    _ if said > words => None,
                    Some(error) if said + 1 == words => Some((Err(error), (words + 1, None))),
                    _ if said == words => None,
                    breaks => Some((Ok(Piece::Text(format!("{asked} {said} "))), (said + 1, breaks))),
                }
            }
        });
        Ok(pieces.boxed())
    }

    fn name(&self, _: Option<&str>) -> String {
        "simulated".to_owned()
    }
}
