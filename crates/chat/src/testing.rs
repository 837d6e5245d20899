//! What the domain's own tests share.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    agent::{Claim, ClaimStore, Claimed, Question},
    channel::{
        AgentMode, AgentSettings, Channel, ChannelPage, ChannelStore, Creation, Member, MemberAdded, MemberChanged,
        MemberPage, MemberRole, PublicPage, Visibility,
    },
    clock::{Clock, Timestamp},
    error::StoreError,
    id::{ChannelId, IdempotencyKey, MessageId, UserId},
    message::{
        Append, Appended, Change, ContentType, Head, IdempotencyRecord, Message, MessageEvent, MessageStore, Range,
        Role, StoredMessage,
    },
    rate::{Action, Bucket, RateLimiter},
    reaction::Reacted,
    revision::Revision,
    trace::TraceContext,
};

tokio::task_local! {
    /// How far the task at work has come with its question, for those who ask afterwards.
    pub(crate) static STEP: std::rc::Rc<std::cell::Cell<&'static str>>;
}

pub(crate) fn step(name: &'static str) {
    // Most tests do not ask.
    let _ = STEP.try_with(|step| step.set(name));
}

#[derive(Debug, Default)]
struct KeptClaim {
    owner: String,
    until: Option<Timestamp>,
    claim: Claim,
}

/// A message of alice's.
pub(crate) fn stored_message(channel: &str, seq: u64, content: &str) -> StoredMessage {
    StoredMessage {
        message: Message {
            channel_id: channel.parse().unwrap(),
            seq,
            message_id: MessageId::try_from("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned()).unwrap(),
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            content: content.to_owned(),
            content_type: ContentType::Plain,
            created_at: Timestamp::from_secs(1_796_000_000),
            metadata: None,
            reply_to: None,
            edited_at: None,
            reactions: crate::reaction::Reactions::new(),
            deleted_at: None,
        },
        trace: Some(TraceContext {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            tracestate: None,
        }),
        expires_at: None,
    }
}

/// That message, just appended.
pub(crate) fn created(channel: &str, seq: u64, content: &str) -> MessageEvent {
    MessageEvent { change: Change::Created, stored: stored_message(channel, seq, content) }
}

/// A clock that only moves when somebody sleeps, and whose chance is a seed's.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<(Timestamp, StdRng)>);

impl TestClock {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new((Timestamp::from_secs(1_800_000_000), StdRng::seed_from_u64(seed))))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    async fn sleep(&self, duration: Duration) {
        {
            let mut state = self.0.lock().unwrap();
            state.0 = state.0.plus(duration);
        }
        // Somebody else's turn.
        tokio::task::yield_now().await;
    }

    fn random(&self) -> u128 {
        self.0.lock().unwrap().1.random()
    }
}

/// What goes wrong with a call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never arrives.
    Before,
    /// It takes effect, and the answer is lost.
    After,
}

/// Channels and messages in memory, with the rules of the real transaction and faults on the way.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    state: Mutex<State>,
    /// Of 100 calls, how many fail.
    faults_in_100: u32,
    chance: Mutex<StdRng>,
}

#[derive(Debug, Default)]
struct State {
    heads: HashMap<ChannelId, Head>,
    messages: Vec<Message>,
    records: HashMap<(ChannelId, UserId, IdempotencyKey), IdempotencyRecord>,
    members: HashMap<(ChannelId, UserId), MemberRole>,
    agents: HashMap<ChannelId, AgentSettings>,
    claims: HashMap<(ChannelId, u64), KeptClaim>,
    spent: HashMap<UserId, u64>,
    buckets: HashMap<String, Timestamp>,
}

impl MemoryStore {
    pub(crate) fn new(seed: u64, faults_in_100: u32) -> Self {
        Self { state: Mutex::default(), faults_in_100, chance: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    pub(crate) fn with_channel(self, id: &str, visibility: Visibility) -> Self {
        let channel_id: ChannelId = id.parse().unwrap();
        let head = Head {
            channel_id: channel_id.clone(),
            last_seq: 0,
            version: 1,
            visibility,
            archived: false,
            retention_days: None,
            agent: AgentMode::Off,
        };
        self.state.lock().unwrap().heads.insert(channel_id, head);
        self
    }

    pub(crate) fn with_member(self, channel: &str, user: &str) -> Self {
        self.with_role(channel, user, MemberRole::Member)
    }

    pub(crate) fn with_role(self, channel: &str, user: &str, role: MemberRole) -> Self {
        self.state.lock().unwrap().members.insert((channel.parse().unwrap(), user.parse().unwrap()), role);
        self
    }

    pub(crate) fn with_agent(self, channel: &str, mode: AgentMode) -> Self {
        let agent = AgentSettings { mode, ..AgentSettings::default() };
        self.state.lock().unwrap().agents.insert(channel.parse().unwrap(), agent);
        self
    }

    pub(crate) fn archive(&self, channel: &str) {
        let mut state = self.state.lock().unwrap();
        let head = state.heads.get_mut(&channel.parse::<ChannelId>().unwrap()).unwrap();
        head.archived = true;
        head.version += 1;
    }

    pub(crate) fn all(&self) -> Vec<Message> {
        self.state.lock().unwrap().messages.clone()
    }

    fn fault(&self) -> Option<Fault> {
        let mut chance = self.chance.lock().unwrap();
        let fails = chance.random_range(0..100) < self.faults_in_100;
        fails.then(|| if chance.random() { Fault::Before } else { Fault::After })
    }

    /// Runs a call with whatever goes wrong on its way.
    async fn call<T>(&self, call: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        let fault = self.fault();
        if fault == Some(Fault::Before) {
            return Err(broken());
        }
        let answer = call(&mut self.state.lock().unwrap());
        // The way back: whoever dies here has changed something and does not know it.
        tokio::task::yield_now().await;
        if fault == Some(Fault::After) { Err(broken()) } else { Ok(answer) }
    }
}

pub(crate) fn broken() -> StoreError {
    StoreError { operation: "test", retryable: true, source: "out of order".into() }
}

impl MessageStore for MemoryStore {
    async fn head(&self, channel: &ChannelId) -> Result<Option<Head>, StoreError> {
        self.call(|state| state.heads.get(channel).cloned()).await
    }

    async fn is_member(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        self.call(|state| state.members.contains_key(&(channel.clone(), user.clone()))).await
    }

    async fn append(&self, append: Append<'_>) -> Result<Appended, StoreError> {
        self.call(|state| {
            let Append { head, message, for_agent: _, record, member, token, now } = append;
            let (channel, sender) = (&head.channel_id, &message.message.sender_id);
            let key = record.map(|record| (channel.clone(), sender.clone(), record.key.clone()));
            let taken = key.as_ref().and_then(|key| state.records.get(key));
            if let Some(taken) = taken.filter(|taken| taken.expires_at > now) {
                return Appended::KeyTaken(taken.clone());
            }
            if record.is_none() && state.messages.iter().any(|there| there.message_id == message.message.message_id) {
                return Appended::Stored;
            }
            let current = state.heads.get(channel);
            if current != Some(head) || head.archived {
                return Appended::HeadMoved(current.cloned());
            }
            if member.is_some_and(|user| !state.members.contains_key(&(channel.clone(), user.clone()))) {
                return Appended::NotAMember;
            }
            if let Some(token) = token {
                let full_at = state.buckets.entry(bucket_name(sender, &Action::Send)).or_insert(now);
                if token.full_at.map_or(*full_at > now, |believed| believed != *full_at) {
                    return Appended::BucketMoved(*full_at);
                }
                *full_at = token.next;
            }
            state.heads.insert(channel.clone(), Head { last_seq: message.message.seq, ..head.clone() });
            state.messages.push(message.message.clone());
            state.records.extend(key.zip(record.cloned()));
            step("appended");
            Appended::Stored
        })
        .await
    }

    async fn idempotency_record(
        &self,
        channel: &ChannelId,
        sender: &UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        self.call(|state| state.records.get(&(channel.clone(), sender.clone(), key.clone())).cloned()).await
    }

    async fn message(&self, channel: &ChannelId, seq: u64, _: Timestamp) -> Result<Option<Message>, StoreError> {
        let found = |state: &mut State| {
            state.messages.iter().find(|message| message.channel_id == *channel && message.seq == seq).cloned()
        };
        self.call(found).await
    }

    async fn revise(&self, revised: &StoredMessage) -> Result<bool, StoreError> {
        let revised = &revised.message;
        self.call(|state| {
            let of = |message: &&mut Message| message.channel_id == revised.channel_id && message.seq == revised.seq;
            match state.messages.iter_mut().find(of) {
                Some(message) if message.deleted_at.is_none() => {
                    message.clone_from(revised);
                    true
                }
                _ => false,
            }
        })
        .await
    }

    async fn react(&self, _: &Revision, _: &str, _: bool, _: Timestamp) -> Result<Reacted, StoreError> {
        unreachable!("no test reacts through the port")
    }

    async fn replies(&self, _: &ChannelId, _: u64, _: u64, _: u16, _: Timestamp) -> Result<Vec<Message>, StoreError> {
        unreachable!("no test reads replies through the port")
    }

    async fn messages(
        &self,
        channel: &ChannelId,
        range: Range,
        limit: u16,
        _: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        self.call(|state| {
            let mut found: Vec<Message> =
                state.messages.iter().filter(|message| message.channel_id == *channel).cloned().collect();
            match range {
                Range::Newest => found.reverse(),
                Range::Before(seq) => {
                    found.retain(|message| message.seq < seq);
                    found.reverse();
                }
                Range::After(seq) => found.retain(|message| message.seq > seq),
            }
            found.truncate(usize::from(limit));
            found
        })
        .await
    }
}

impl ChannelStore for MemoryStore {
    async fn create(&self, _: &Channel, _: &Member, _: Option<&Creation>) -> Result<bool, StoreError> {
        unreachable!("no test creates a channel through the port")
    }

    async fn creation(&self, _: &ChannelId, _: &UserId, _: &IdempotencyKey) -> Result<Option<Creation>, StoreError> {
        unreachable!("no test creates a channel through the port")
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        self.call(|state| {
            let head = state.heads.get(id)?;
            Some(Channel {
                channel_id: id.clone(),
                name: id.to_string(),
                visibility: head.visibility,
                agent: state.agents.get(id).cloned().unwrap_or_default(),
                last_seq: head.last_seq,
                last_message_at: None,
                created_by: "alice".parse().unwrap(),
                created_at: Timestamp::from_secs(0),
                archived_at: head.archived.then_some(Timestamp::from_secs(1)),
                retention_days: head.retention_days,
                version: head.version,
            })
        })
        .await
    }

    async fn update(&self, _: &Channel, changed: &Channel) -> Result<bool, StoreError> {
        self.call(|state| {
            let Some(head) = state.heads.get_mut(&changed.channel_id) else { return false };
            if head.version + 1 != changed.version {
                return false;
            }
            *head = Head { last_seq: head.last_seq, ..Head::from(changed) };
            true
        })
        .await
    }

    async fn member(&self, channel: &ChannelId, user: &UserId) -> Result<Option<Member>, StoreError> {
        let (channel_id, user_id) = (channel.clone(), user.clone());
        self.call(|state| {
            let role = *state.members.get(&(channel_id.clone(), user_id.clone()))?;
            Some(Member { channel_id, user_id, role, joined_at: Timestamp::from_secs(0) })
        })
        .await
    }

    async fn members(&self, _: &ChannelId, _: Option<&UserId>, _: u16) -> Result<MemberPage, StoreError> {
        unreachable!("no test lists members through the port")
    }

    async fn channels_of(&self, _: &UserId, _: Option<&ChannelId>, _: u16) -> Result<ChannelPage, StoreError> {
        unreachable!("no test lists channels through the port")
    }

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Vec<ChannelId>, StoreError> {
        self.call(|state| {
            let mut ids: Vec<ChannelId> =
                state.members.keys().filter(|(_, member)| member == user).map(|(channel, _)| channel.clone()).collect();
            ids.sort_unstable();
            ids.truncate(limit);
            ids
        })
        .await
    }

    async fn delete(&self, channel: &Channel, _: Timestamp) -> Result<bool, StoreError> {
        self.call(|state| {
            let is_as_known = state.heads.get(&channel.channel_id).is_some_and(|head| head.version == channel.version);
            is_as_known && state.heads.remove(&channel.channel_id).is_some()
        })
        .await
    }

    async fn public_channels(&self, _: &str, _: Option<&str>, _: u16) -> Result<PublicPage, StoreError> {
        unreachable!("no test lists channels through the port")
    }

    async fn mark_read(&self, _: &ChannelId, _: &UserId, _: u64) -> Result<Option<u64>, StoreError> {
        unreachable!("no test marks anything read through the port")
    }

    async fn add_member(&self, member: &Member, visibility: Visibility, _: u64) -> Result<MemberAdded, StoreError> {
        self.call(|state| {
            let key = (member.channel_id.clone(), member.user_id.clone());
            if let Some(role) = state.members.get(&key) {
                return MemberAdded::Already(Member { role: *role, ..member.clone() });
            }
            match state.heads.get(&member.channel_id) {
                Some(head) if head.visibility == visibility && !head.archived => {
                    state.members.insert(key, member.role);
                    MemberAdded::Added
                }
                _ => MemberAdded::ChannelChanged,
            }
        })
        .await
    }

    async fn change_role(&self, member: &Member, role: MemberRole) -> Result<MemberChanged, StoreError> {
        self.change_member(member, Some(role)).await
    }

    async fn remove_member(&self, member: &Member) -> Result<MemberChanged, StoreError> {
        self.change_member(member, None).await
    }
}

fn key(question: &Question) -> (ChannelId, u64) {
    (question.channel_id.clone(), question.seq)
}

impl ClaimStore for MemoryStore {
    async fn claim(
        &self,
        question: &Question,
        owner: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.call(|state| {
            let kept = state.claims.entry(key(question)).or_default();
            if kept.until.is_some_and(|until| until > now) {
                return Claimed::Held { until: kept.until.unwrap() };
            }
            (kept.owner, kept.until) = (owner.to_owned(), Some(until));
            step("claimed");
            Claimed::Ours(kept.claim)
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
        self.call(|state| {
            let kept = state.claims.get_mut(&key(question)).filter(|kept| kept.owner == owner)?;
            kept.until = Some(until);
            kept.claim.calls += u32::from(calls_model);
            if calls_model {
                step("calling");
            }
            Some(kept.claim)
        })
        .await
    }

    async fn release(&self, question: &Question, owner: &str) -> Result<(), StoreError> {
        self.renew(question, owner, Timestamp::from_secs(0), false).await?;
        Ok(())
    }

    async fn cancel(&self, question: &Question, _: Timestamp) -> Result<(), StoreError> {
        self.call(|state| state.claims.entry(key(question)).or_default().claim.cancelled = true).await
    }

    async fn spent(&self, user: &UserId, _: Timestamp) -> Result<u64, StoreError> {
        self.call(|state| state.spent.get(user).copied().unwrap_or_default()).await
    }

    async fn spend(&self, user: &UserId, tokens: u64, _: Timestamp) -> Result<(), StoreError> {
        self.call(|state| *state.spent.entry(user.clone()).or_default() += tokens).await
    }
}

fn bucket_name(user: &UserId, action: &Action<'_>) -> String {
    format!("{user} {action:?}")
}

impl RateLimiter for MemoryStore {
    async fn take(
        &self,
        user: &UserId,
        action: &Action<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        self.call(|state| {
            let full_at = state.buckets.entry(bucket_name(user, action)).or_insert(now);
            match bucket.take(Some(*full_at), now) {
                Ok(next) => {
                    *full_at = next;
                    None
                }
                Err(wait) => Some(wait),
            }
        })
        .await
    }
}

impl MemoryStore {
    async fn change_member(&self, member: &Member, role: Option<MemberRole>) -> Result<MemberChanged, StoreError> {
        self.call(|state| {
            let key = (member.channel_id.clone(), member.user_id.clone());
            if state.members.get(&key) != Some(&member.role) {
                return MemberChanged::Lost;
            }
            let owners = state
                .members
                .iter()
                .filter(|((channel, _), role)| *channel == member.channel_id && **role == MemberRole::Owner)
                .count();
            if member.role == MemberRole::Owner && role != Some(MemberRole::Owner) && owners < 2 {
                return MemberChanged::LastOwner;
            }
            match role {
                Some(role) => state.members.insert(key, role),
                None => state.members.remove(&key),
            };
            MemberChanged::Done
        })
        .await
    }
}
