//! Stores messages.

use std::future::Future;

use crate::model::{
    access::Authority,
    channel::ChannelHead,
    error::StoreError,
    id::{ChannelId, IdempotencyKey, MessageId, UserId},
    incarnation::ChannelKey,
    message::{Message, StoredMessage},
    message_ref::MessageRef,
    time::Timestamp,
};

/// What a message is stored under at most once. The two kinds are in spaces of their own: no caller can name a reply's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// A request of a sender.
    Request {
        /// The sender.
        sender_id: UserId,
        /// The key that the sender chose.
        key: IdempotencyKey,
    },
    /// The end of a question to the agent: its reply, or the notice that there is none.
    Reply {
        /// Number of the question.
        seq: u64,
    },
}

/// What is kept of a request under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key.
    pub key: RecordKey,
    /// Hash of all that the sender chose.
    pub fingerprint: String,
    /// The message that it became.
    pub message_id: MessageId,
    /// That message's number.
    pub seq: u64,
    /// From when on the record counts as absent.
    pub expires_at: Timestamp,
}

/// A token that an append takes from its sender's bucket ([`Action::Send`](crate::app::rate_limit::Action::Send)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// When the bucket will be full, as the sender believes; `None`: it is full.
    pub full_at: Option<Timestamp>,
    /// When it will be full without the token.
    pub next: Timestamp,
}

/// One try to append: one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The channel as the sender believes it to be; the transaction is the judge.
    pub head: &'a ChannelHead,
    /// The message, numbered `head.last_seq + 1`.
    pub message: &'a StoredMessage,
    /// Whether the agent has to look at the message. Who marks those it need not see saves it an invocation.
    pub for_agent: bool,
    /// Written with it, on condition that there is none under the key. Without a key there is none: the message's own id
    /// tells whether an earlier attempt, whose answer was lost, has stored it.
    pub record: Option<&'a IdempotencyRecord>,
    /// A member that must exist, when the channel is private and the sender is a user.
    pub member: Option<&'a UserId>,
    /// Taken with it, when the sender's rate is limited.
    pub token: Option<Token>,
    /// Now, to tell an expired record from a live one.
    pub now: Timestamp,
}

/// What came of an [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendResult {
    /// The message is stored, by this attempt or by an earlier one of the same number.
    Stored,
    /// No channel has the id.
    ChannelNotFound,
    /// The channel or the sender's bucket is not as believed. At least one of the two is given.
    Stale {
        /// The channel's head as it is, unless it is as believed.
        head: Option<ChannelHead>,
        /// When the sender's bucket will be full, unless that is as believed.
        bucket_full_at: Option<Timestamp>,
    },
    /// The key has been used.
    KeyTaken(IdempotencyRecord),
    /// The sender is no member.
    NotAMember,
    /// Another transaction was under way on the same items.
    Conflict,
}

/// What came of changing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateResult {
    /// It is stored.
    Done,
    /// The message is not there, or deleted.
    MessageNotFound,
    /// The channel, or the caller's membership, is not as it was read.
    Stale,
}

/// Which part of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest messages, newest first.
    Newest,
    /// Those with a smaller `seq`, newest first.
    Before(u64),
    /// Those with a larger `seq`, oldest first.
    After(u64),
}

/// Stores messages. All reads are strongly consistent.
pub trait MessageStore: Send + Sync {
    /// The head of the channel that has an id now.
    fn head(&self, channel: &ChannelId) -> impl Future<Output = Result<Option<ChannelHead>, StoreError>> + Send;

    /// Whether a user is a member of a channel.
    fn is_member(&self, channel: &ChannelKey, user: &UserId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Appends in one transaction, or changes nothing. After an error it is unknown which.
    fn append(&self, append: Append<'_>) -> impl Future<Output = Result<AppendResult, StoreError>> + Send;

    /// What is kept under a key, expired or not.
    fn idempotency_record(
        &self,
        channel: &ChannelKey,
        key: &RecordKey,
    ) -> impl Future<Output = Result<Option<IdempotencyRecord>, StoreError>> + Send;

    /// One message that has not expired by `now`.
    fn message(
        &self,
        channel: &ChannelKey,
        seq: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Message>, StoreError>> + Send;

    /// Replaces what a message of the channel in `by` holds, and the trace context, on condition that it is there and not
    /// deleted, and that `by` still holds; in one transaction.
    fn update_message(
        &self,
        by: &Authority<'_>,
        revised: &StoredMessage,
    ) -> impl Future<Output = Result<UpdateResult, StoreError>> + Send;

    /// Adds the reaction of `revision.caller` to a message that is there, neither expired nor deleted, or takes it back;
    /// replaces the trace context; on condition that `by` still holds, in one transaction. What is as asked for already is
    /// left alone.
    fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &str,
        add: bool,
        now: Timestamp,
    ) -> impl Future<Output = Result<ReactionResult, StoreError>> + Send;

    /// Up to `limit` answers to the message `seq` after the number `after`, the oldest first; what has expired by `now` is
    /// left out.
    fn replies(
        &self,
        channel: &ChannelKey,
        seq: u64,
        after: u64,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Message>, StoreError>> + Send;

    /// Up to `limit` messages that have not expired by `now`, in the range's order.
    fn messages(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Message>, StoreError>> + Send;
}

/// What came of a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReactionResult {
    /// It is as asked for.
    Done,
    /// The message is not there, or deleted.
    MessageNotFound,
    /// There are too many already.
    Full,
    /// The channel, or the caller's membership, is not as it was read.
    Stale,
}
