//! Port for reply leases: one worker at a time replies to a message.
//!
//! The holder renews the lease while it works. An expired lease can be acquired by another worker. The lease also
//! carries a cancellation, and counts the model calls of all its holders.

use std::{fmt, future::Future};

use crate::model::{
    access::Authority, error::StoreError, id::UserId, incarnation::ChannelKey, seq::Seq, time::Timestamp,
};

/// Message that is to get a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    /// The channel.
    pub channel: ChannelKey,
    /// `seq` of the message.
    pub seq: Seq,
}

/// Owner of a reply lease: one attempt of a worker to reply. Random bits distinguish it from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOwner(u128);

impl LeaseOwner {
    /// Returns the owner with these random bits.
    #[must_use]
    pub const fn new(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for LeaseOwner {
    /// Writes 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Reply lease that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplyLease {
    /// Number of model calls so far, by all holders.
    pub calls: u32,
    /// `true` if a user has cancelled the reply.
    pub cancelled: bool,
}

/// Kind of a reply lease's renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRenewal {
    /// The holder keeps the lease.
    Keep,
    /// The holder keeps the lease, and is about to call a model. The call is counted.
    CallModel,
}

impl LeaseRenewal {
    /// Returns the number of model calls that the renewal adds to the count.
    #[must_use]
    pub fn calls(self) -> u32 {
        u32::from(self == Self::CallModel)
    }
}

/// Result of acquiring a reply lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquire {
    /// The caller holds the lease.
    Acquired(ReplyLease),
    /// Another worker holds the lease.
    Held {
        /// Time when the lease expires, unless it is renewed.
        until: Timestamp,
    },
}

/// Result of cancelling a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelResult {
    /// The holder of the lease will learn that the reply is cancelled.
    Done,
    /// No worker holds the lease.
    NoReply,
    /// The authority has changed since it was read.
    Stale,
}

/// Store of reply leases and of token usage.
pub trait ReplyLeases: Send + Sync {
    /// Acquires the reply lease of a question for `owner` until `until`, if no other worker holds it at `now`.
    fn acquire(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Acquire, StoreError>> + Send;

    /// Renews a reply lease. Returns `None` if another worker holds the lease.
    fn renew(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        renewal: LeaseRenewal,
    ) -> impl Future<Output = Result<Option<ReplyLease>, StoreError>> + Send;

    /// Releases a reply lease, so that no worker has to wait for its expiry.
    fn release(&self, question: &MessageKey, owner: LeaseOwner) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns those of the questions of a channel whose lease a worker holds at `now`, oldest first.
    fn held(
        &self,
        channel: &ChannelKey,
        questions: &[Seq],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Seq>, StoreError>> + Send;

    /// Cancels the reply, if a worker holds the lease at `now`, in one transaction that checks `by`.
    fn cancel(
        &self,
        by: &Authority<'_>,
        question: &MessageKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<CancelResult, StoreError>> + Send;

    /// Returns the number of tokens that the agent used for a user on the day of `now`, in UTC.
    fn tokens_used(&self, user: &UserId, now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Adds tokens that were used for a user.
    fn record_tokens(
        &self,
        user: &UserId,
        tokens: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
