//! Sending: a message is accepted once, gets the next `seq` of its channel, and is then durable.
//!
//! Sending uses optimistic concurrency: the transaction checks the cached channel head and token bucket. On a mismatch
//! the store returns the current values and the sender retries with them. An uncontended send costs one request. If
//! only the cache was stale, the sender retries at once. If it lost a race, it waits with jitter and reads the head
//! again.

use std::time::Duration;

use crate::{
    model::{
        agent_data::AgentData,
        channel::ChannelHead,
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        incarnation::Incarnation,
        limits::{APPEND_ATTEMPTS, APPEND_DURATION},
        message::{Message, NewMessage, Role},
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

use attempt::{Attempt, Attempts};

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
    let started = clock.now();
    let mut old = UnverifiedCache { head: cache.head.is_some(), full_at: true };
    let mut attempts = Attempts::new(store, clock, &send, cache);

    let mut failure = None;
    let mut wait = FIRST_WAIT;
    let mut is_behind = true;
    let mut took = Duration::ZERO;
    for _ in 0..APPEND_ATTEMPTS {
        if !is_behind {
            let (least, most) = ATTEMPT_DURATION;
            clock.sleep(clock.jitter(took.clamp(least, most) * wait / 100)).await;
            wait = (wait * 3 / 4).max(LAST_WAIT);
            // Under contention the head has probably moved meanwhile: reading it costs less than an attempt that fails.
            attempts.forget_head();
            if clock.now() >= started.plus(APPEND_DURATION) {
                break;
            }
        }
        is_behind = false;
        let began = clock.now();
        let step = attempts.attempt().await;
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

/// Values that are still cached, or assumed, from before the call.
struct UnverifiedCache {
    head: bool,
    full_at: bool,
}

#[cfg(test)]
mod tests;
