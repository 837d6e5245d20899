//! Port for reply leases: one worker at a time replies to a message.
//!
//! The holder renews the lease while it works. An expired lease can be acquired by another worker. The lease also
//! carries a cancellation, and counts the model calls of all its holders.
//!
//! The holder stores the draft of the reply piece by piece, before subscribers see it. The lease names the draft, so that
//! another worker can continue it, and a reader can read it.

use std::{fmt, future::Future};

use crate::model::{
    access::Authority,
    draft::DraftStatus,
    error::StoreError,
    id::{MessageId, UserId},
    incarnation::ChannelKey,
    seq::Seq,
    time::Timestamp,
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
    /// Last draft of the reply, by any holder.
    pub draft_id: Option<MessageId>,
    /// Time of the last renewal by the holder before. Only [`ReplyLeases::acquire`] returns it, and only if that holder
    /// has not released the lease.
    pub renewed_at: Option<Timestamp>,
}

/// Kind of a reply lease's renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRenewal {
    /// The holder keeps the lease.
    Keep,
    /// The holder keeps the lease, and is about to call a model for a draft. The call is counted. The lease gets the
    /// draft's id, and loses the status of an ended draft.
    CallModel {
        /// The draft.
        draft_id: MessageId,
    },
}

impl LeaseRenewal {
    /// Returns the number of model calls that the renewal adds to the count.
    #[must_use]
    pub fn calls(self) -> u32 {
        u32::from(matches!(self, Self::CallModel { .. }))
    }
}

/// Next part of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftPiece {
    /// The draft.
    pub draft_id: MessageId,
    /// Number of characters (Unicode scalar values) of the draft before `text`.
    pub position: usize,
    /// Text.
    pub text: String,
}

/// Result of storing a piece of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceStored {
    /// The piece is stored, and the lease renewed.
    Stored,
    /// A user has cancelled the reply. Nothing is stored.
    Cancelled,
    /// Another worker holds the lease. Nothing is stored.
    LeaseLost,
}

/// Draft as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDraft {
    /// Id, unless no model has been called yet.
    pub draft_id: Option<MessageId>,
    /// Status, if the draft ended without a message.
    pub status: Option<DraftStatus>,
    /// Text from position 0 on, up to the first piece that is missing.
    pub text: String,
    /// `true` if a worker holds the lease.
    pub held: bool,
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
    /// No worker holds the lease, and no draft waits for the next worker.
    NoReply,
    /// The authority has changed since it was read.
    Stale,
}

/// Store of reply leases, of drafts and of token usage.
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

    /// Renews a reply lease, and stores the next piece of its draft for
    /// [`DRAFT_DURATION`](crate::model::limits::DRAFT_DURATION), in one transaction. Conditions: `owner` holds the lease,
    /// and the reply is not cancelled. The lease gets the draft's id, and loses the status of an ended draft. A piece
    /// replaces one of the same draft and position.
    fn store_piece(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        piece: &DraftPiece,
        now: Timestamp,
    ) -> impl Future<Output = Result<PieceStored, StoreError>> + Send;

    /// Ends the draft without a message: releases the lease and stores the status, if `owner` holds the lease.
    fn end_draft(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        status: DraftStatus,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the draft that the lease names, without the pieces that have expired by `now`. Returns `None` if no
    /// worker has acquired the lease.
    fn draft(
        &self,
        question: &MessageKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<StoredDraft>, StoreError>> + Send;

    /// Returns those of the questions of a channel whose lease a worker holds at `now`, oldest first.
    fn held(
        &self,
        channel: &ChannelKey,
        questions: &[Seq],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Seq>, StoreError>> + Send;

    /// Cancels the reply, if a worker holds the lease at `now` or a draft has not ended, in one transaction that checks
    /// `by`. Without a worker, the next one finds the cancellation.
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
