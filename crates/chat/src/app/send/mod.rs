//! Sending: a message is accepted once, gets the next `seq` of its channel, and is then durable.
//!
//! Sending uses optimistic concurrency: the transaction checks the cached channel head and token bucket. On a mismatch
//! the store returns the current values and the sender retries with them. An uncontended send costs one request. If
//! only the cache was stale, the sender retries at once with the head that the store returned. If it lost a race, it
//! waits and reads the head again: see [`Rivals`]. While a channel has many senders, each also waits and reads before
//! its first attempt, which would fail otherwise.

use crate::{
    app::{contention::Contention, rate_limit::SenderTokens},
    model::{
        agent_data::AgentData,
        channel::ChannelHead,
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        incarnation::Incarnation,
        limits::CACHED_REV_DURATION,
        message::{Message, NewMessage, Role},
        rev::Rev,
        time::Timestamp,
        token_bucket::Bucket,
        trace::TraceContext,
    },
    ports::{
        clock::Clock,
        message_store::{MessageStore, RecordKey},
    },
};

pub mod unstored;

mod attempt;

pub use crate::app::contention::Rivals;

use attempt::{Attempt, Attempts};

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct SendMessage {
    /// Channel that receives the message.
    pub channel_id: ChannelId,
    /// Sender.
    pub sender_id: UserId,
    /// Role of the author. Only a [`Role::User`] needs membership of a private channel.
    pub role: Role,
    /// Content, content type, metadata, `reply_to` and `thread_seq`.
    pub draft: NewMessage,
    /// The agent's own data, if the agent is the sender.
    pub agent: Option<AgentData>,
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
    /// Number of the last change of the head's channel, and the time when it was read. Later changes do not make it
    /// stale: it is a lower bound.
    pub rev: Option<(Rev, Timestamp)>,
    /// Number of concurrent senders of the head's channel. It determines the waits after lost races.
    pub rivals: Option<Rivals>,
    /// Tokens of the sender.
    pub tokens: SenderTokens,
}

impl SendCache {
    /// Removes the head, if the number beside it was read too long ago. The next attempt reads both.
    fn forget_old(&mut self, now: Timestamp) {
        self.rev = self.rev.filter(|(_, read_at)| read_at.until(now) < CACHED_REV_DURATION);
        if self.rev.is_none() {
            self.head = None;
        }
    }
}

/// Stored message, with a number of the channel's changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// Number of a change of the channel. It was read before the message was appended, or read again for a replay. So a
    /// client that reads the changes after it misses none.
    pub rev: Rev,
}

/// Message that was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum SendResult {
    /// Stored by this call.
    Created(Sent),
    /// Stored by an earlier call with the same key.
    Replayed(Sent),
}

impl SendResult {
    fn sent(&self) -> &Sent {
        match self {
            Self::Created(sent) | Self::Replayed(sent) => sent,
        }
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.sent().message
    }

    /// Returns the number of a change of the channel: see [`Sent::rev`].
    #[must_use]
    pub fn rev(&self) -> Rev {
        self.sent().rev
    }
}

/// Sends a message, and updates the cache.
///
/// # Errors
/// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`] (also when the sender is no member of a private channel),
/// [`ChatError::ChannelArchived`], [`ChatError::IdempotencyKeyReused`], [`ChatError::TooManyRequests`],
/// [`ChatError::Contended`], [`ChatError::Store`]. For a reply of the agent also [`ChatError::MessageNotFound`] (its
/// question is deleted) and [`ChatError::AgentOff`].
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
    cache.forget_old(clock.now());
    let mut old = UnverifiedCache { head: cache.head.is_some(), tokens: true };
    let mut contention = Contention::in_turns(clock, cache.rivals);
    let mut attempts = Attempts::new(store, clock, &send, cache);

    let mut failure = None;
    let before = attempts.last_seq();
    let mut is_behind = contention.is_alone() || contention.goes_on();
    while contention.begin(is_behind).await {
        let mut is_current = !is_behind;
        if !is_behind {
            // Under contention the head has probably moved meanwhile: reading it costs less than an attempt that fails.
            attempts.forget_head();
        }
        is_behind = false;
        match attempts.attempt().await {
            Ok(Attempt::Done(sent)) => {
                attempts.remember(contention.won(before, sent.message().seq));
                return Ok(*sent);
            }
            // The cache was stale before this call began: there is no race to wait for, unless the others of a
            // contended channel have just found the same.
            Ok(Attempt::Stale { head, bucket }) => {
                let is_only_old = (old.head || !head) && (old.tokens || !bucket);
                is_behind = is_only_old && (!head || contention.is_alone());
                old = UnverifiedCache { head: old.head && !head, tokens: old.tokens && !bucket };
                is_current |= head;
            }
            Ok(Attempt::Conflict) => {}
            // The message may be stored anyway: the next attempt finds it by its idempotency key or its `seq`.
            Err(ChatError::Store(error)) if error.retryable => failure = Some(error),
            Err(error) => return Err(error),
        }
        // A head from before this call would count messages that this sender did not wait for.
        if let Some(last) = attempts.last_seq().filter(|_| is_current) {
            contention.saw(last);
        }
    }
    attempts.remember(contention.lost());
    if let Some(error) = failure {
        tracing::warn!(%error, channel_id = %send.channel_id, "append failed: the store fails");
    }
    Err(ChatError::contended())
}

/// Values that are still cached, or assumed, from before the call.
struct UnverifiedCache {
    head: bool,
    tokens: bool,
}

#[cfg(test)]
mod tests;
