//! Who answers a message: one worker at a time.
//!
//! A claim is a lease that its holder renews while it works. One that was abandoned runs out and is taken over. It also
//! carries the wish to stop, and counts the calls of the model over all who had it.

use std::future::Future;

use crate::model::{access::Authority, error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp};

/// A message that is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    /// The channel.
    pub channel: ChannelKey,
    /// The message's number.
    pub seq: u64,
}

/// A claim that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplyLease {
    /// Calls of the model so far, by whoever had the claim.
    pub calls: u32,
    /// Whether a user wants the reply to stop.
    pub cancelled: bool,
}

/// What came of claiming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquire {
    /// It is the caller's.
    Acquired(ReplyLease),
    /// It is another's.
    Held {
        /// Until then, unless it is renewed.
        until: Timestamp,
    },
}

/// Where claims, and what the agent has spent, are kept.
pub trait ReplyLeases: Send + Sync {
    /// Claims a question for `owner` until `until`, on condition that nobody holds it at `now`.
    fn acquire(
        &self,
        question: &MessageKey,
        owner: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Acquire, StoreError>> + Send;

    /// Renews a claim, and counts a call of the model when one is about to be made. `None`: it is another's by now.
    fn renew(
        &self,
        question: &MessageKey,
        owner: &str,
        until: Timestamp,
        calls_model: bool,
    ) -> impl Future<Output = Result<Option<ReplyLease>, StoreError>> + Send;

    /// Gives a claim up, so that nobody has to wait for its end.
    fn release(&self, question: &MessageKey, owner: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes that the reply is to stop, whether it has begun or not, on condition that `by` still holds; in one
    /// transaction. `false`: the channel, or the caller's membership, is not as it was read.
    fn cancel(
        &self,
        by: &Authority<'_>,
        question: &MessageKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Tokens that the agent has spent on a user on the day of `now`, in UTC.
    fn tokens_used(&self, user: &UserId, now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Counts tokens that were spent on a user.
    fn record_tokens(
        &self,
        user: &UserId,
        tokens: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
