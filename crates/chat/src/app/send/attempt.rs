//! One attempt at sending: find the message if it is stored already, check its preconditions, append it.

use std::{ops::ControlFlow, time::Duration};

use sha2::{Digest, Sha256};

use super::{Rivals, SendCache, SendMessage, SendResult, Sent};
use crate::{
    app::rate_limit::{Payment, SenderTokens},
    model::{
        channel::{AgentMode, ChannelHead, Visibility},
        error::{ChatError, Result},
        id::MessageId,
        incarnation::Incarnation,
        limits::IDEMPOTENCY_DURATION,
        message::{Message, NewMessage, Role, StoredMessage},
        reaction::Reactions,
        rev::Rev,
        seq::Seq,
        time::Timestamp,
        validation::Violation,
    },
    ports::{
        clock::Clock,
        message_store::{Append, AppendResult, IdempotencyRecord, MessageStore, RecordKey},
        rate_limiter::LimitedAction,
    },
};

/// Result of one attempt.
pub(super) enum Attempt {
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

/// Idempotency key of a request, and a hash that identifies a repeated request.
struct Idempotency {
    key: RecordKey,
    fingerprint: String,
}

/// Attempts of one call, with the state that they share.
pub(super) struct Attempts<'a, Store, Time> {
    store: &'a Store,
    clock: &'a Time,
    send: &'a SendMessage,
    cache: &'a mut SendCache,
    idempotency: Option<Idempotency>,
    message_id: MessageId,
    /// Incarnation of the channel that the call is about. If the id is reused meanwhile, it names another channel.
    incarnation: Option<Incarnation>,
    /// `seq` under which the message may be stored, since the response was lost. Not needed with an idempotency key.
    in_doubt_seq: Option<Seq>,
    /// Payment of an attempt without a response.
    in_doubt_payment: Option<Payment>,
}

impl<'a, Store: MessageStore, Time: Clock> Attempts<'a, Store, Time> {
    pub(super) fn new(store: &'a Store, clock: &'a Time, send: &'a SendMessage, cache: &'a mut SendCache) -> Self {
        let message_id = MessageId::generate(clock.seed());
        let idempotency = send.record_key.clone().map(|key| Idempotency { key, fingerprint: fingerprint(send) });
        Self {
            store,
            clock,
            send,
            cache,
            idempotency,
            message_id,
            incarnation: send.incarnation,
            in_doubt_seq: None,
            in_doubt_payment: None,
        }
    }

    /// Removes the head from the cache: the next attempt reads it.
    pub(super) fn forget_head(&mut self) {
        self.cache.head = None;
    }

    /// Returns the last number of the cached head.
    pub(super) fn last_seq(&self) -> Option<Seq> {
        self.cache.head.as_ref().map(|head| head.last_seq)
    }

    /// Caches the number of the channel's senders.
    pub(super) fn remember(&mut self, rivals: Option<Rivals>) {
        self.cache.rivals = rivals;
    }

    /// Makes one attempt, and caches the values that it reads.
    pub(super) async fn attempt(&mut self) -> Result<Attempt> {
        let cached = self.cache.head.take().filter(|head| self.is_about(head));
        let head = match &cached {
            Some(head) => head.clone(),
            None => self.load_head().await?,
        };
        if let Some(message) = self.find_committed(&head).await? {
            self.cache.head = Some(head);
            return Ok(Attempt::done(SendResult::Created(self.sent(message))));
        }
        match self.check_preconditions(head, cached.is_some()).await? {
            ControlFlow::Continue(head) => self.append(head, cached.as_ref()).await,
            ControlFlow::Break(attempt) => Ok(attempt),
        }
    }

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

    async fn load_head(&mut self) -> Result<ChannelHead> {
        let read_at = self.clock.now();
        let (head, rev) = self.store.head(&self.send.channel_id).await?.ok_or(ChatError::ChannelNotFound)?;
        let head = self.same(head)?;
        self.cache.rev = Some((rev, read_at));
        Ok(head)
    }

    /// Returns a message with the number of the channel's last change, as it was read with the head.
    fn sent(&self, message: Message) -> Sent {
        Sent { message, rev: self.cache.rev.map_or(Rev::ZERO, |(rev, _)| rev) }
    }

    /// Returns the message that an earlier attempt stored, if its response was lost.
    ///
    /// A `seq` is never reused. Until it is taken, an earlier attempt may still commit, so the retry must use the same
    /// `seq`.
    async fn find_committed(&mut self, head: &ChannelHead) -> Result<Option<Message>> {
        let Some(seq) = self.in_doubt_seq.filter(|seq| *seq <= head.last_seq) else { return Ok(None) };
        let there = self.store.message(&head.key(), seq, self.clock.now()).await?;
        let own = there.filter(|message| message.message_id == self.message_id);
        if own.is_none() {
            self.in_doubt_seq = None;
        }
        Ok(own)
    }

    /// Returns the head that the message can follow: the given one, or the current one if a cached head refuses the
    /// message. Breaks with the attempt's result, if the request is a replay.
    async fn check_preconditions(
        &mut self,
        mut head: ChannelHead,
        is_cached: bool,
    ) -> Result<ControlFlow<Attempt, ChannelHead>> {
        if self.precondition_error(&head).is_none() {
            return Ok(ControlFlow::Continue(head));
        }
        // A replay returns its message even if the channel has changed or the sender exceeds its rate.
        if let Some(keyed) = &self.idempotency {
            let earlier = self.store.idempotency_record(&head.key(), &keyed.key).await?;
            if let Some(earlier) = earlier.filter(|earlier| earlier.expires_at > self.clock.now()) {
                return Ok(ControlFlow::Break(self.replay(&earlier, &head, is_cached).await?));
            }
        }
        if is_cached {
            head = self.load_head().await?;
        }
        let Some(refusal) = self.precondition_error(&head) else { return Ok(ControlFlow::Continue(head)) };
        // The reason reveals that the channel exists, so non-members of a private channel do not get it.
        if self.needs_member(&head) && !self.store.is_member(&head.key(), &self.send.sender_id).await? {
            return Err(ChatError::ChannelNotFound);
        }
        Err(refusal)
    }

    /// Returns the reason why the message cannot follow `head`, if there is one.
    fn precondition_error(&self, head: &ChannelHead) -> Option<ChatError> {
        if head.archived {
            return Some(ChatError::ChannelArchived);
        }
        if self.is_reply() && head.agent == AgentMode::Off {
            return Some(ChatError::AgentOff);
        }
        let NewMessage { reply_to, thread_seq, .. } = self.send.draft;
        let named = [("reply_to", reply_to), ("thread_seq", thread_seq)].into_iter();
        let unknown: Vec<Violation> = named
            .filter(|(_, seq)| seq.is_some_and(|seq| seq > head.last_seq))
            .map(|(field, _)| {
                let message = format!("must be the seq of a message of the channel, which has {}", head.last_seq);
                Violation::new(field, "unknown_message", message)
            })
            .collect();
        if !unknown.is_empty() {
            return Some(ChatError::Invalid(unknown));
        }
        self.payment(self.clock.now()).err()
    }

    /// Whether the message is the agent's reply to a question, or its notice.
    fn is_reply(&self) -> bool {
        self.send.record_key.as_ref().is_some_and(|key| key.question().is_some())
    }

    /// Whether the sender must be a member of the channel of `head`.
    fn needs_member(&self, head: &ChannelHead) -> bool {
        head.visibility == Visibility::Private && self.send.role == Role::User
    }

    /// Returns the payment for the message, if its sender's rate is limited.
    fn payment(&self, now: Timestamp) -> Result<Option<Payment>> {
        let (Some(bucket), tokens) = (self.send.bucket, self.cache.tokens) else { return Ok(None) };
        if let Some(again) = self.in_doubt_payment.and_then(|payment| payment.again(bucket, tokens, now)) {
            return Ok(Some(again));
        }
        let exhausted = |wait| ChatError::TooManyRequests(bucket.exhausted(LimitedAction::Send.name(), wait));
        tokens.pay(bucket, now).map(Some).map_err(exhausted)
    }

    /// Returns the tokens of the sender after the message is stored. An earlier attempt without a response may have
    /// stored it and taken tokens at another time, so none of these is used.
    fn tokens_after(&self, payment: &Payment) -> SenderTokens {
        match payment.token {
            Some(token) if self.in_doubt_seq.is_some() => SenderTokens::read(token.next),
            _ => payment.rest,
        }
    }

    /// Appends the message after `head`, unless the store finds it stored or a condition false.
    async fn append(&mut self, head: ChannelHead, cached: Option<&ChannelHead>) -> Result<Attempt> {
        let (send, now) = (self.send, self.clock.now());
        let payment = self.payment(now)?;
        let message = message(send, &head, self.message_id, now);
        let seq = message.message.seq;
        let record = self.record(seq, now);
        let append = Append {
            head: &head,
            message: &message,
            for_agent: send.role == Role::User && head.agent != AgentMode::Off,
            record: record.as_ref(),
            member: self.needs_member(&head).then_some(&send.sender_id),
            token: payment.and_then(|payment| payment.token),
            now,
        };
        match self.store.append(append).await {
            Ok(AppendResult::Stored) => {
                self.cache.head = Some(ChannelHead { last_seq: seq, ..head });
                self.cache.tokens = payment.map_or(self.cache.tokens, |payment| self.tokens_after(&payment));
                Ok(Attempt::done(SendResult::Created(self.sent(message.message))))
            }
            Ok(AppendResult::KeyTaken(earlier)) => {
                // The request arrived twice, and the first one stored the message.
                if earlier.message_id == self.message_id {
                    self.use_held(payment);
                }
                let is_cached = cached.is_some_and(|cached| *cached == head);
                self.replay(&earlier, &head, is_cached).await
            }
            Ok(AppendResult::Stale { head: current, bucket_full_at }) => {
                let stale = Attempt::Stale { head: current.is_some(), bucket: bucket_full_at.is_some() };
                if current.as_ref().is_some_and(|current| current.incarnation != head.incarnation) {
                    // The cached number is of an earlier channel with the id. This one begins at 0.
                    self.cache.rev = Some((Rev::ZERO, now));
                }
                self.cache.head = Some(current.map_or(Ok(head), |current| self.same(current))?);
                self.cache.tokens = bucket_full_at.map_or(self.cache.tokens, SenderTokens::read);
                Ok(stale)
            }
            Ok(AppendResult::ChannelNotFound | AppendResult::NotAMember) => Err(ChatError::ChannelNotFound),
            Ok(AppendResult::QuestionNotFound) => Err(ChatError::MessageNotFound),
            // The root of a question's thread expires before the question does.
            Ok(AppendResult::RootNotFound) if self.is_reply() => Err(ChatError::MessageNotFound),
            Ok(AppendResult::RootNotFound) => {
                Err(wrong_root("unknown_message", "must be the seq of a message of the channel that has not expired"))
            }
            Ok(AppendResult::NotARoot) => {
                Err(wrong_root("not_a_root", "must be the seq of a message that is in no thread itself"))
            }
            Ok(AppendResult::Conflict) => {
                self.cache.head = Some(head);
                Ok(Attempt::Conflict)
            }
            Err(error) => {
                self.in_doubt_seq = self.idempotency.is_none().then_some(seq);
                // The message may be stored.
                self.use_held(payment);
                self.incarnation = Some(head.incarnation);
                self.cache.head = Some(head);
                Err(error.into())
            }
        }
    }

    /// Counts a token that was held as used, since an attempt may have stored the message.
    fn use_held(&mut self, payment: Option<Payment>) {
        if let Some(payment) = payment.filter(|payment| payment.token.is_none()) {
            self.cache.tokens = payment.rest;
            self.in_doubt_payment = Some(payment);
        }
    }

    /// Returns the record of the request's key, if it has one.
    fn record(&self, seq: Seq, now: Timestamp) -> Option<IdempotencyRecord> {
        self.idempotency.as_ref().map(|keyed| IdempotencyRecord {
            key: keyed.key.clone(),
            fingerprint: keyed.fingerprint.clone(),
            message_id: self.message_id,
            seq,
            expires_at: now.plus(IDEMPOTENCY_DURATION),
        })
    }

    /// Replays a request whose key was used in the channel of `head`. A cached head may belong to a deleted channel,
    /// whose records stay until they are removed. These are not replayed, since the request addresses the id's current
    /// channel.
    async fn replay(&mut self, earlier: &IdempotencyRecord, head: &ChannelHead, is_cached: bool) -> Result<Attempt> {
        if is_cached {
            let current = self.load_head().await?;
            let is_current = current.incarnation == head.incarnation;
            self.cache.head = Some(current);
            if !is_current {
                return Ok(Attempt::Stale { head: true, bucket: false });
            }
        }
        if self.idempotency.as_ref().is_none_or(|keyed| keyed.fingerprint != earlier.fingerprint) {
            return Err(ChatError::IdempotencyKeyReused);
        }
        let Some(message) = self.store.message(&head.key(), earlier.seq, self.clock.now()).await? else {
            // The message has expired, or the channel has been deleted meanwhile.
            self.load_head().await?;
            return Err(ChatError::IdempotencyKeyReused);
        };
        // An earlier attempt of this call stored it, and its response was lost.
        let own = earlier.message_id == self.message_id;
        let sent = self.sent(message);
        Ok(Attempt::done(if own { SendResult::Created(sent) } else { SendResult::Replayed(sent) }))
    }
}

fn wrong_root(code: &'static str, message: &str) -> ChatError {
    ChatError::invalid(Violation::new("thread_seq", code, message))
}

fn message(send: &SendMessage, head: &ChannelHead, message_id: MessageId, now: Timestamp) -> StoredMessage {
    let NewMessage { content, content_type, metadata, reply_to, thread_seq } = send.draft.clone();
    StoredMessage {
        message: Message {
            channel_id: send.channel_id.clone(),
            seq: head.last_seq.next(),
            message_id,
            version: Message::FIRST_VERSION,
            sender_id: send.sender_id.clone(),
            role: send.role,
            content,
            content_type,
            created_at: now,
            metadata,
            reply_to,
            agent: send.agent.clone(),
            thread_seq,
            thread: None,
            edited_at: None,
            reactions: Reactions::new(),
            deleted_at: None,
        },
        incarnation: head.incarnation,
        rev: Rev::ZERO,
        trace: send.trace.clone(),
        expires_at: head.retention_days.map(|days| now.plus(Duration::from_hours(24 * u64::from(days)))),
    }
}

/// Returns a hash of all values that the sender chose. It distinguishes a replay from another request with the same
/// key.
fn fingerprint(send: &SendMessage) -> String {
    let NewMessage { content, content_type, metadata, reply_to, thread_seq } = &send.draft;
    let chosen = serde_json::json!([content, content_type, metadata, reply_to, thread_seq, send.agent]).to_string();
    hex::encode(Sha256::digest(chosen))
}
