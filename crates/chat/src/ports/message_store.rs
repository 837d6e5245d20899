//! Port that stores messages.

use std::future::Future;

use crate::model::{
    access::Authority,
    channel::ChannelHead,
    error::StoreError,
    id::{ChannelId, IdempotencyKey, MessageId, UserId},
    incarnation::ChannelKey,
    message::{Message, StoredMessage},
    message_ref::MessageRef,
    preview::{MessageOutline, MessagePreview},
    reaction::Toggle,
    rev::{ChangeNumber, Rev},
    seq::Seq,
    text::emoji::Emoji,
    time::Timestamp,
};

/// Maximum number of reads of a range for one [`Excerpt`]. Each reads more than the one before it, so that a page of
/// messages outside of threads is full unless thousands of replies stand between them.
pub const SELECTION_READS: u32 = 8;

/// Key under which at most one message is stored. Each kind has its own key space, so no caller can name the key of a
/// reply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// Request of a sender.
    Request {
        /// The sender.
        sender_id: UserId,
        /// Idempotency key of the request.
        key: IdempotencyKey,
    },
    /// Reply to a question, or the notice that there is none.
    Reply {
        /// `seq` of the question.
        seq: Seq,
    },
}

impl RecordKey {
    /// Returns the `seq` of the question, if the message under the key belongs to one.
    #[must_use]
    pub fn question(&self) -> Option<Seq> {
        match self {
            Self::Request { .. } => None,
            Self::Reply { seq } => Some(*seq),
        }
    }
}

/// Idempotency record: the result of a request, stored under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key.
    pub key: RecordKey,
    /// Hash of all values that the sender chose.
    pub fingerprint: String,
    /// Id of the stored message.
    pub message_id: MessageId,
    /// `seq` of the stored message.
    pub seq: Seq,
    /// Time from which the record counts as absent.
    pub expires_at: Timestamp,
}

/// Tokens that an append takes from its sender's bucket
/// ([`LimitedAction::Send`](crate::ports::rate_limiter::LimitedAction::Send)): one for its message, or a handful for later
/// ones too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Time when the bucket is full, as the sender caches it. `None`: the bucket is full.
    pub full_at: Option<Timestamp>,
    /// Time when the bucket is full after the tokens are taken.
    pub next: Timestamp,
}

/// One attempt to append a message, in one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// Channel head as the sender caches it; the transaction checks it.
    pub head: &'a ChannelHead,
    /// Message, with the `seq` after `head.last_seq`.
    pub message: &'a StoredMessage,
    /// `true` if the agent may have to reply. `false` saves an invocation of the agent's worker.
    pub for_agent: bool,
    /// Record to store in the same transaction, on condition that the key has none. The question of a
    /// [`RecordKey::Reply`] must be neither deleted nor expired. Without a record, the stored message's id shows whether
    /// an earlier attempt committed whose response was lost.
    pub record: Option<&'a IdempotencyRecord>,
    /// Member that must exist, if the channel is private and the sender is a user.
    pub member: Option<&'a UserId>,
    /// Tokens to take in the same transaction. `None`: the sender's rate is not limited, or a token was taken before.
    pub token: Option<Token>,
    /// Current time. It distinguishes expired records from live ones.
    pub now: Timestamp,
}

/// Result of an [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendResult {
    /// The message is stored, by this attempt or by an earlier one with the same `seq`.
    Stored,
    /// No channel has the id.
    ChannelNotFound,
    /// The channel head or the token bucket differs from the cached one. At least one of the two is given.
    Stale {
        /// Current channel head, if it differs.
        head: Option<ChannelHead>,
        /// Time when the sender's bucket is full, if it differs.
        bucket_full_at: Option<Timestamp>,
    },
    /// The key has been used.
    KeyTaken(IdempotencyRecord),
    /// The sender is no member of the channel.
    NotAMember,
    /// The question of the reply does not exist, has expired or is deleted.
    QuestionNotFound,
    /// The root of the message's thread does not exist, or has expired.
    RootNotFound,
    /// The root of the message's thread is itself in a thread.
    NotARoot,
    /// Another transaction was writing the same items.
    Conflict,
}

/// Result of changing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateResult {
    /// The change is stored.
    Done,
    /// The message does not exist, or is deleted.
    MessageNotFound,
    /// The message has another version, or the authority has changed, since it was read.
    Stale,
    /// Only the number differs from the one that was read. This is the number of the channel's last change.
    Behind(Rev),
    /// Another transaction was writing the same items.
    Conflict,
}

/// Part of a channel's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Messages that are in no thread, among them the roots.
    OutsideThreads,
    /// Replies in the thread of the root with this `seq`.
    Thread(Seq),
    /// Roots of threads that have a reply.
    Roots,
}

/// Selected messages of a range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Excerpt {
    /// Messages, in the range's order. There may be fewer than requested, or none, although the range goes on.
    pub messages: Vec<Message>,
    /// `seq` beyond which the range goes on, if it does.
    pub rest: Option<Seq>,
}

/// Range of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The newest messages, newest first.
    Newest,
    /// Messages with a smaller `seq`, newest first.
    Before(Seq),
    /// Messages with a larger `seq`, oldest first.
    After(Seq),
}

/// Store of messages. All reads are strongly consistent, except [`MessageStore::outlines`].
pub trait MessageStore: Send + Sync {
    /// Returns the head of the channel that currently has an id, and the number of its last change.
    fn head(&self, channel: &ChannelId) -> impl Future<Output = Result<Option<(ChannelHead, Rev)>, StoreError>> + Send;

    /// Returns whether a user is a member of a channel.
    fn is_member(&self, channel: &ChannelKey, user: &UserId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the previews of these messages that have not expired by `now`, in any order. Takes at most
    /// [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) messages, one of each channel.
    fn previews(
        &self,
        wanted: &[(ChannelKey, Seq)],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(ChannelKey, MessagePreview)>, StoreError>> + Send;

    /// Looks at the newest `limit` messages between two `seq`, both excluded. Returns the outlines of those that have
    /// not expired by `now`, newest first. The read is eventually consistent, so the last changes may be missing.
    fn outlines(
        &self,
        channel: &ChannelKey,
        after: Seq,
        before: Seq,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<MessageOutline>, StoreError>> + Send;

    /// Appends a message in one transaction, or changes nothing. After an error, either is possible. The transaction of a
    /// reply in a thread also requires the root and updates its [`Message::thread`], which is no event.
    fn append(&self, append: Append<'_>) -> impl Future<Output = Result<AppendResult, StoreError>> + Send;

    /// Returns the record of a key, expired or not.
    fn idempotency_record(
        &self,
        channel: &ChannelKey,
        key: &RecordKey,
    ) -> impl Future<Output = Result<Option<IdempotencyRecord>, StoreError>> + Send;

    /// Returns a message that has not expired by `now`.
    fn message(
        &self,
        channel: &ChannelKey,
        seq: Seq,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Message>, StoreError>> + Send;

    /// Replaces the content, the version and the trace context of a message of the channel in `by`, in one transaction.
    /// An edit keeps the stored reactions and the agent's data, a deletion removes them. Conditions: the message exists
    /// and is not deleted, its [`Message::version`] is one less than that of `revised`, and `by` still holds.
    ///
    /// The change takes the number [`ChangeNumber::rev`] in its channel, on condition that the last one is
    /// [`ChangeNumber::last`]. The transaction stores it with the message, in place of [`StoredMessage::rev`] of
    /// `revised`, and adds the record of the change. Failed conditions are reported in this
    /// order: authority, message, version, number.
    fn update_message(
        &self,
        by: &Authority<'_>,
        revised: &StoredMessage,
        number: ChangeNumber,
    ) -> impl Future<Output = Result<UpdateResult, StoreError>> + Send;

    /// Adds the reaction of `revision.caller` to a message, or removes it, adds one to the version of the message, and
    /// replaces the trace context, in one transaction. Conditions: the message is neither expired nor deleted, and `by`
    /// still holds. A repeated call changes nothing and takes no number.
    ///
    /// The change takes its number as in [`MessageStore::update_message`]. Failed conditions are reported in this order:
    /// authority, message, maximum of reactions, number.
    fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        number: ChangeNumber,
        now: Timestamp,
    ) -> impl Future<Output = Result<ReactionResult, StoreError>> + Send;

    /// Returns up to `limit` records of changes after `after`, in order, up to the first one that has expired by `now`: the
    /// number, and the `seq` of the changed message.
    fn changes(
        &self,
        channel: &ChannelKey,
        after: Rev,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(Rev, Seq)>, StoreError>> + Send;

    /// Returns these messages that have not expired by `now`, each with the number of its last change, in any order.
    /// Takes at most [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) messages, each once.
    fn messages_among(
        &self,
        channel: &ChannelKey,
        seqs: &[Seq],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(Rev, Message)>, StoreError>> + Send;

    /// Returns up to `limit` messages that have not expired by `now`, in the range's order.
    fn messages(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Message>, StoreError>> + Send;

    /// Returns up to `limit` messages of a selection that have not expired by `now`, in the range's order. Makes at most
    /// [`SELECTION_READS`] reads of the range. Fewer messages than `limit` come with a rest only if so many reads did
    /// not find more.
    fn selected(
        &self,
        channel: &ChannelKey,
        selection: Selection,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Excerpt, StoreError>> + Send;
}

/// Result of a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReactionResult {
    /// The reaction is as requested.
    Done,
    /// The message does not exist, or is deleted.
    MessageNotFound,
    /// The message has the maximum number of reactions.
    Full,
    /// The authority has changed since it was read.
    Stale,
    /// Only the number differs from the one that was read. This is the number of the channel's last change.
    Behind(Rev),
    /// Another transaction was writing the same items.
    Conflict,
}
