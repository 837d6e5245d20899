//! Sending: a message is accepted once, gets the next `seq` of its channel, and is then durable.
//!
//! Sending uses optimistic concurrency: the transaction checks the cached channel head and token bucket. On a mismatch
//! the store returns the current values and the sender retries with them. An uncontended send costs one request. If
//! only the cache was stale, the sender retries at once. If it lost a race, it waits with jitter and reads the head
//! again.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{
    model::{
        channel::{AgentMode, ChannelHead, Visibility},
        error::{ChatError, Result},
        id::{ChannelId, MessageId, UserId},
        incarnation::Incarnation,
        limits::{APPEND_ATTEMPTS, APPEND_DURATION, IDEMPOTENCY_DURATION},
        message::{Message, NewMessage, Role, StoredMessage},
        reaction::Reactions,
        time::Timestamp,
        token_bucket::Bucket,
        trace::TraceContext,
        validation::Violation,
    },
    ports::{
        clock::Clock,
        message_store::{Append, AppendResult, IdempotencyRecord, MessageStore, RecordKey, Token},
    },
};

/// Upper bound of the wait after the first lost race, in percent of the failed attempt's duration. Each further loss
/// shrinks it by a quarter, down to [`LAST_WAIT`]. Writers that lost often wait least, which prevents starvation. The
/// floor limits failing attempts under contention.
const FIRST_WAIT: u32 = 600;

/// Lower bound of [`FIRST_WAIT`] after many losses, in percent.
const LAST_WAIT: u32 = 200;

/// Minimum and maximum of the duration that an attempt counts with. The clock has whole milliseconds, and one response
/// may be late.
const ATTEMPT_DURATION: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct SendMessage {
    /// Channel that receives the message.
    pub channel_id: ChannelId,
    /// Sender.
    pub sender_id: UserId,
    /// Role of the author. Only a [`Role::User`] needs membership of a private channel.
    pub role: Role,
    /// Content, content type, metadata and `reply_to`.
    pub draft: NewMessage,
    /// Idempotency key. A repeated request with it returns the stored message.
    pub record_key: Option<RecordKey>,
    /// Incarnation of the channel, if the message replies to something in it.
    pub incarnation: Option<Incarnation>,
    /// Token bucket that the message takes a token from. `None`: the sender is not limited. A replayed request takes no
    /// token.
    pub bucket: Option<Bucket>,
    /// Trace context that is stored with the message.
    pub trace: Option<TraceContext>,
}

/// State cached between sends. A stale cache costs one extra transaction and never changes the result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendCache {
    /// Channel head.
    pub head: Option<ChannelHead>,
    /// Time when the sender's bucket is full. It is never earlier than the cached value, since only sending moves it.
    pub full_at: Option<Timestamp>,
}

/// Message that was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum SendResult {
    /// Stored by this call.
    Created(Message),
    /// Stored by an earlier call with the same key.
    Replayed(Message),
}

impl SendResult {
    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &Message {
        match self {
            Self::Created(message) | Self::Replayed(message) => message,
        }
    }
}

/// Sends a message, and updates the cache.
///
/// # Errors
/// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`] (also when the sender is no member of a private channel),
/// [`ChatError::ChannelArchived`], [`ChatError::IdempotencyKeyReused`], [`ChatError::TooManyRequests`],
/// [`ChatError::Contended`], [`ChatError::Store`].
pub async fn send(
    store: &impl MessageStore,
    clock: &impl Clock,
    mut send: SendMessage,
    cache: &mut SendCache,
) -> Result<SendResult> {
    let violations = send.draft.check();
    if !violations.is_empty() {
        return Err(ChatError::Invalid(violations));
    }
    let started = clock.now();
    let message_id = MessageId::generate(clock.seed());
    let keyed = send.record_key.clone().map(|key| Idempotency { key, fingerprint: fingerprint(&send) });
    let mut request = SendState { idempotency: keyed, message_id, incarnation: send.incarnation, in_doubt_seq: None };

    let mut failure = None;
    let mut wait = FIRST_WAIT;
    let mut old = UnverifiedCache { head: cache.head.is_some(), full_at: true };
    let mut is_behind = true;
    let mut took = Duration::ZERO;
    for _ in 0..APPEND_ATTEMPTS {
        if !is_behind {
            let (least, most) = ATTEMPT_DURATION;
            clock.sleep(clock.jitter(took.clamp(least, most) * wait / 100)).await;
            wait = (wait * 3 / 4).max(LAST_WAIT);
            // Under contention the head has probably moved meanwhile: reading it costs less than an attempt that fails.
            cache.head = None;
            if clock.now() >= started.plus(APPEND_DURATION) {
                break;
            }
        }
        is_behind = false;
        let began = clock.now();
        let step = attempt_to_send(store, clock, &send, &mut request, cache).await;
        took = began.until(clock.now());
        match step {
            Ok(Attempt::Done(sent)) => return Ok(*sent),
            // The cache was stale before this call began: there is no race to wait for.
            Ok(Attempt::Stale { head, bucket }) => {
                is_behind = (old.head || !head) && (old.full_at || !bucket);
                old = UnverifiedCache { head: old.head && !head, full_at: old.full_at && !bucket };
            }
            Ok(Attempt::Conflict) => {}
            // The message may be stored anyway: the next attempt finds it by its idempotency key or its `seq`.
            Err(ChatError::Store(error)) if error.retryable => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = failure {
        tracing::warn!(%error, channel_id = %send.channel_id, "append failed: the store fails");
    }
    Err(ChatError::contended())
}

/// State of one call over all its attempts.
struct SendState {
    idempotency: Option<Idempotency>,
    message_id: MessageId,
    /// Incarnation of the channel that the call is about. If the id is reused meanwhile, it names another channel.
    incarnation: Option<Incarnation>,
    /// `seq` under which the message may be stored, since the response was lost. Not needed with an idempotency key.
    in_doubt_seq: Option<u64>,
}

impl SendState {
    /// Whether a head can belong to the channel that the call is about.
    fn is_about(&self, head: &ChannelHead) -> bool {
        self.incarnation.is_none_or(|incarnation| incarnation == head.incarnation)
    }

    /// Returns the head, if it belongs to the channel that the call is about. The first head that is read fixes the
    /// incarnation. A cached head does not, since it may belong to an earlier incarnation.
    fn same(&mut self, head: ChannelHead) -> Result<ChannelHead> {
        if !self.is_about(&head) {
            return Err(ChatError::ChannelNotFound);
        }
        self.incarnation = Some(head.incarnation);
        Ok(head)
    }
}

/// Idempotency key of a request, and a hash that identifies a repeated request.
struct Idempotency {
    key: RecordKey,
    fingerprint: String,
}

/// Values that are still cached, or assumed, from before the call.
struct UnverifiedCache {
    head: bool,
    full_at: bool,
}

/// Result of one attempt.
enum Attempt {
    /// The message is stored.
    Done(Box<SendResult>),
    /// The channel's head, the sender's bucket, or both differ from the cached values.
    Stale { head: bool, bucket: bool },
    /// Another transaction is writing the same items.
    Conflict,
}

impl Attempt {
    fn done(sent: SendResult) -> Self {
        Self::Done(Box::new(sent))
    }
}

/// Makes one attempt, and caches the values that it reads.
async fn attempt_to_send(
    store: &impl MessageStore,
    clock: &impl Clock,
    send: &SendMessage,
    request: &mut SendState,
    cache: &mut SendCache,
) -> Result<Attempt> {
    let cached = cache.head.take().filter(|head| request.is_about(head));
    let mut head = match &cached {
        Some(head) => head.clone(),
        None => load_head(store, send, request).await?,
    };
    let key = head.key();
    // A `seq` is never reused. Until it is taken, an earlier attempt may still commit, so the retry must use the same
    // `seq`.
    if let Some(seq) = request.in_doubt_seq.filter(|seq| *seq <= head.last_seq) {
        let there = store.message(&key, seq, clock.now()).await?;
        if let Some(message) = there.filter(|message| message.message_id == request.message_id) {
            cache.head = Some(head);
            return Ok(Attempt::done(SendResult::Created(message)));
        }
        request.in_doubt_seq = None;
    }
    if precondition_error(send, &head, cache.full_at, clock.now()).is_some() {
        // A replay returns its message even if the channel has changed or the sender exceeds its rate.
        if let Some(keyed) = &request.idempotency {
            let earlier = store.idempotency_record(&key, &keyed.key).await?;
            if let Some(earlier) = earlier.filter(|earlier| earlier.expires_at > clock.now()) {
                return replay(store, clock, send, request, cache, &earlier, &head, cached.is_some()).await;
            }
        }
        if cached.is_some() {
            head = load_head(store, send, request).await?;
        }
        if let Some(refusal) = precondition_error(send, &head, cache.full_at, clock.now()) {
            // The reason reveals that the channel exists, so non-members of a private channel do not get it.
            let is_private = head.visibility == Visibility::Private && send.role == Role::User;
            if is_private && !store.is_member(&head.key(), &send.sender_id).await? {
                return Err(ChatError::ChannelNotFound);
            }
            return Err(refusal);
        }
    }

    let now = clock.now();
    let token = token(send, cache.full_at, now)?;
    let message = message(send, &head, request.message_id, now);
    let seq = message.message.seq;
    let record = request.idempotency.as_ref().map(|keyed| IdempotencyRecord {
        key: keyed.key.clone(),
        fingerprint: keyed.fingerprint.clone(),
        message_id: request.message_id,
        seq,
        expires_at: now.plus(IDEMPOTENCY_DURATION),
    });
    let append = Append {
        head: &head,
        message: &message,
        for_agent: send.role == Role::User && head.agent != AgentMode::Off,
        record: record.as_ref(),
        member: (head.visibility == Visibility::Private && send.role == Role::User).then_some(&send.sender_id),
        token,
        now,
    };
    match store.append(append).await {
        Ok(AppendResult::Stored) => {
            cache.head = Some(ChannelHead { last_seq: seq, ..head });
            cache.full_at = token.map(|token| token.next);
            Ok(Attempt::done(SendResult::Created(message.message)))
        }
        Ok(AppendResult::KeyTaken(earlier)) => {
            let is_cached = cached.is_some_and(|cached| cached == head);
            replay(store, clock, send, request, cache, &earlier, &head, is_cached).await
        }
        Ok(AppendResult::Stale { head: current, bucket_full_at }) => {
            let stale = Attempt::Stale { head: current.is_some(), bucket: bucket_full_at.is_some() };
            cache.head = Some(current.map_or(Ok(head), |current| request.same(current))?);
            cache.full_at = bucket_full_at.or(cache.full_at);
            Ok(stale)
        }
        Ok(AppendResult::ChannelNotFound | AppendResult::NotAMember) => Err(ChatError::ChannelNotFound),
        Ok(AppendResult::Conflict) => {
            cache.head = Some(head);
            Ok(Attempt::Conflict)
        }
        Err(error) => {
            request.in_doubt_seq = request.idempotency.is_none().then_some(seq);
            request.incarnation = Some(head.incarnation);
            cache.head = Some(head);
            Err(error.into())
        }
    }
}

async fn load_head(store: &impl MessageStore, send: &SendMessage, request: &mut SendState) -> Result<ChannelHead> {
    let head = store.head(&send.channel_id).await?.ok_or(ChatError::ChannelNotFound)?;
    request.same(head)
}

/// Returns the reason why the message cannot follow `head`, if there is one.
fn precondition_error(
    send: &SendMessage,
    head: &ChannelHead,
    full_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<ChatError> {
    if head.archived {
        return Some(ChatError::ChannelArchived);
    }
    if send.draft.reply_to.is_some_and(|reply_to| reply_to > head.last_seq) {
        let message = format!("must be the seq of a message of the channel, which has {}", head.last_seq);
        return Some(ChatError::invalid(Violation::new("reply_to", "unknown_message", message)));
    }
    token(send, full_at, now).err()
}

/// Returns the token that the message takes, if its sender's rate is limited.
fn token(send: &SendMessage, full_at: Option<Timestamp>, now: Timestamp) -> Result<Option<Token>> {
    let Some(bucket) = send.bucket else { return Ok(None) };
    let next = bucket.take(full_at, now).map_err(|retry_after| ChatError::TooManyRequests { retry_after })?;
    Ok(Some(Token { full_at: full_at.filter(|full_at| *full_at > now), next }))
}

/// Replays a request whose key was used in the channel of `head`. A cached head may belong to a deleted channel, whose
/// records stay until they are removed. These are not replayed, since the request addresses the id's current channel.
#[expect(clippy::too_many_arguments, reason = "the state of one attempt")]
async fn replay(
    store: &impl MessageStore,
    clock: &impl Clock,
    send: &SendMessage,
    request: &mut SendState,
    cache: &mut SendCache,
    earlier: &IdempotencyRecord,
    head: &ChannelHead,
    is_cached: bool,
) -> Result<Attempt> {
    if is_cached {
        let current = load_head(store, send, request).await?;
        let is_current = current.incarnation == head.incarnation;
        cache.head = Some(current);
        if !is_current {
            return Ok(Attempt::Stale { head: true, bucket: false });
        }
    }
    if request.idempotency.as_ref().is_none_or(|keyed| keyed.fingerprint != earlier.fingerprint) {
        return Err(ChatError::IdempotencyKeyReused);
    }
    let Some(message) = store.message(&head.key(), earlier.seq, clock.now()).await? else {
        // The message has expired, or the channel has been deleted meanwhile.
        load_head(store, send, request).await?;
        return Err(ChatError::IdempotencyKeyReused);
    };
    // An earlier attempt of this call stored it, and its response was lost.
    let own = earlier.message_id == request.message_id;
    Ok(Attempt::done(if own { SendResult::Created(message) } else { SendResult::Replayed(message) }))
}

fn message(send: &SendMessage, head: &ChannelHead, message_id: MessageId, now: Timestamp) -> StoredMessage {
    let NewMessage { content, content_type, metadata, reply_to } = send.draft.clone();
    StoredMessage {
        message: Message {
            channel_id: send.channel_id.clone(),
            seq: head.last_seq + 1,
            message_id,
            sender_id: send.sender_id.clone(),
            role: send.role,
            content,
            content_type,
            created_at: now,
            metadata,
            reply_to,
            edited_at: None,
            reactions: Reactions::new(),
            deleted_at: None,
        },
        incarnation: head.incarnation,
        trace: send.trace.clone(),
        expires_at: head.retention_days.map(|days| now.plus(Duration::from_hours(24 * u64::from(days)))),
    }
}

/// Returns a hash of all values that the sender chose. It distinguishes a replay from another request with the same
/// key.
fn fingerprint(send: &SendMessage) -> String {
    let NewMessage { content, content_type, metadata, reply_to } = &send.draft;
    let chosen = serde_json::json!([content, content_type, metadata, reply_to]).to_string();
    format!("{:x}", Hex(&Sha256::digest(chosen)))
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::channel::Channel,
        ports::channel_store::ChannelStore,
        testing::{TestClock, TestStore},
    };

    fn by(sender: &str, content: &str, key: Option<&str>) -> SendMessage {
        SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: sender.parse().unwrap(),
            role: Role::User,
            draft: NewMessage { content: content.to_owned(), ..NewMessage::default() },
            record_key: key
                .map(|key| RecordKey::Request { sender_id: sender.parse().unwrap(), key: key.parse().unwrap() }),
            incarnation: None,
            bucket: None,
            trace: None,
        }
    }

    fn public(faults_in_100: u32) -> TestStore {
        TestStore::seeded(1, faults_in_100).with_channel("c", Visibility::Public)
    }

    #[tokio::test]
    async fn a_key_stands_for_one_request_of_one_sender() {
        let (store, clock) = (public(0), TestClock::new(1));
        let first = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        assert!(matches!(first, SendResult::Created(_)));
        let again = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        assert_eq!(again, SendResult::Replayed(first.message().clone()));
        let other = send(&store, &clock, by("alice", "ho", Some("k")), &mut SendCache::default()).await;
        assert!(matches!(other, Err(ChatError::IdempotencyKeyReused)));
        let bob = send(&store, &clock, by("bob", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        assert_eq!(bob.message().seq, 2);
    }

    #[tokio::test]
    async fn a_key_may_be_used_again_when_its_time_is_over() {
        let (store, clock) = (public(0), TestClock::new(1));
        send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        clock.sleep(IDEMPOTENCY_DURATION).await;
        let later = send(&store, &clock, by("alice", "ho", Some("k")), &mut SendCache::default()).await.unwrap();
        assert!(matches!(later, SendResult::Created(message) if message.seq == 2));
    }

    #[tokio::test]
    async fn an_archived_channel_takes_nothing_but_answers_replays() {
        let (store, clock) = (public(0), TestClock::new(1));
        let first = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        let mut cached = SendCache::default();
        send(&store, &clock, by("alice", "ho", None), &mut cached).await.unwrap();
        store.archive("c");
        let again = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        assert_eq!(again, SendResult::Replayed(first.message().clone()));
        for mut known in [SendCache::default(), cached] {
            let refused = send(&store, &clock, by("alice", "new", None), &mut known).await;
            assert!(matches!(refused, Err(ChatError::ChannelArchived)));
        }
    }

    /// A deleted channel's items stay until they are removed, and a warm function still caches its head.
    #[tokio::test]
    async fn a_key_that_was_used_in_a_deleted_channel_is_free_in_the_one_that_took_its_id() {
        let (store, clock) = (public(0), TestClock::new(1));
        let first = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
        let old = store.channel(&"c".parse().unwrap()).await.unwrap().unwrap();
        let cached = SendCache { head: Some(ChannelHead::from(&old)), full_at: None };
        store.state().channels.clear();
        let gone = send(&store, &clock, by("alice", "hi", Some("k")), &mut cached.clone()).await;
        assert!(matches!(gone, Err(ChatError::ChannelNotFound)), "{gone:?}");
        // The same request, and another one under the same key.
        for content in ["hi", "ho"] {
            let anew = Channel { incarnation: Incarnation::generate(clock.seed()), last_seq: 0, ..old.clone() };
            store.state().put_channel(anew);
            let sent = send(&store, &clock, by("alice", content, Some("k")), &mut cached.clone()).await.unwrap();
            assert!(matches!(&sent, SendResult::Created(message) if message.seq == 1), "{content}: {sent:?}");
            assert_ne!(sent.message().message_id, first.message().message_id);
        }
    }

    #[tokio::test]
    async fn private_channels_are_for_members_and_the_agent() {
        let clock = TestClock::new(1);
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private).with_member("c", "alice");
        let refused = send(&store, &clock, by("mallory", "hi", None), &mut SendCache::default()).await;
        assert!(matches!(refused, Err(ChatError::ChannelNotFound)));
        send(&store, &clock, by("alice", "hi", None), &mut SendCache::default()).await.unwrap();
        let agent = SendMessage { role: Role::Assistant, ..by("assistant", "hello", None) };
        send(&store, &clock, agent, &mut SendCache::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_reply_needs_a_message_to_reply_to() {
        let (store, clock) = (public(0), TestClock::new(1));
        let reply = |reply_to| {
            let mut message = by("alice", "hi", None);
            message.draft.reply_to = Some(reply_to);
            message
        };
        assert!(matches!(send(&store, &clock, reply(1), &mut SendCache::default()).await, Err(ChatError::Invalid(_))));
        // A stale cache does not refuse a reply to a message that exists.
        let head = store.head(&"c".parse().unwrap()).await.unwrap();
        let mut behind = SendCache { head, full_at: None };
        send(&store, &clock, by("alice", "first", None), &mut SendCache::default()).await.unwrap();
        assert_eq!(send(&store, &clock, reply(1), &mut behind).await.unwrap().message().reply_to, Some(1));
    }

    #[tokio::test]
    async fn who_sends_too_often_waits_but_a_repeated_request_is_answered() {
        let (store, clock) = (public(0), TestClock::new(1));
        let bucket = Bucket::per_second(1, 2);
        let limited = |content, key| SendMessage { bucket: Some(bucket), ..by("alice", content, key) };
        let mut cache = SendCache::default();
        let first = send(&store, &clock, limited("1", Some("k")), &mut cache).await.unwrap();
        send(&store, &clock, limited("2", None), &mut cache).await.unwrap();
        // A warm cache refuses without a request; with a cold cache the store refuses.
        for mut cache in [cache.clone(), SendCache::default()] {
            let refused = send(&store, &clock, limited("3", None), &mut cache).await;
            let Err(ChatError::TooManyRequests { retry_after }) = refused else { panic!("{refused:?}") };
            assert!(retry_after <= bucket.every);
            let again = send(&store, &clock, limited("1", Some("k")), &mut cache).await.unwrap();
            assert_eq!(again, SendResult::Replayed(first.message().clone()));
        }
        clock.sleep(bucket.every).await;
        assert_eq!(send(&store, &clock, limited("3", None), &mut cache).await.unwrap().message().seq, 3);
        // Other users have their own buckets.
        let bob = SendMessage { bucket: Some(bucket), ..by("bob", "hi", None) };
        send(&store, &clock, bob, &mut SendCache::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_memory_that_is_behind_costs_a_request_and_no_wait() {
        let (store, clock) = (public(0), TestClock::new(1));
        let limited = |content| SendMessage { bucket: Some(Bucket::per_second(5, 50)), ..by("alice", content, None) };
        // Two environments of a function take turns: each finds that the other has sent.
        let mut caches = [SendCache::default(), SendCache::default()];
        let started = clock.now();
        for number in 0..10 {
            send(&store, &clock, limited("hi"), &mut caches[number % 2]).await.unwrap();
        }
        assert_eq!(clock.now(), started, "no sender has slept");
        assert_eq!(store.all().len(), 10);
    }

    #[tokio::test]
    async fn a_message_whose_answer_was_lost_is_found_under_its_number() {
        for seed in 0..50 {
            let store = TestStore::seeded(seed, 40).with_channel("c", Visibility::Public);
            let clock = TestClock::new(seed);
            let mut cache = SendCache::default();
            for number in 1..=10 {
                let sent = send(&store, &clock, by("alice", &format!("m{number}"), None), &mut cache).await;
                let stored = store.all();
                let contents: BTreeSet<&str> = stored.iter().map(|message| message.content.as_str()).collect();
                assert_eq!(contents.len(), stored.len(), "seed {seed}: a message is stored twice");
                if let Ok(sent) = sent {
                    assert!(matches!(&sent, SendResult::Created(message) if stored.contains(message)), "seed {seed}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_never_answers_is_given_up_in_time() {
        let (store, clock) = (public(100), TestClock::new(1));
        let started = clock.now();
        let given_up = send(&store, &clock, by("alice", "hi", None), &mut SendCache::default()).await;
        assert!(matches!(given_up, Err(ChatError::Contended { .. })));
        assert!(started.until(clock.now()) <= APPEND_DURATION + ATTEMPT_DURATION.1 * FIRST_WAIT / 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Many concurrent senders, each retrying with its key, on a store that loses calls and responses.
        #[test]
        fn every_message_is_stored_once_in_order_without_gaps(seed in any::<u64>(), faults in 0..40_u32, senders in 1..20_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let clock = TestClock::new(seed);
                let store = TestStore::seeded(seed, faults).with_channel("c", Visibility::Public);
                let sends = (0..senders).map(async |number| {
                    let mut known = SendCache::default();
                    loop {
                        let message = by("alice", &format!("m{number}"), Some(&format!("k{number}")));
                        if let Ok(sent) = send(&store, &clock, message, &mut known).await {
                            return sent.message().clone();
                        }
                    }
                });
                let sent = join_all(sends).await;
                let stored = store.all();
                let numbers: Vec<u64> = stored.iter().map(|message| message.seq).collect();
                assert_eq!(numbers, (1..=senders as u64).collect::<Vec<_>>());
                let contents: BTreeSet<&str> = stored.iter().map(|message| message.content.as_str()).collect();
                assert_eq!(contents.len(), senders);
                assert!(sent.iter().all(|message| stored.contains(message)));
            });
        }
    }
}
