//! Messages in `chat_events`, and the items of an append in `chat_channels`. See [`crate::dynamodb::keys`].
//!
//! | file | content |
//! | --- | --- |
//! | `mod.rs` | the store, and the port `MessageStore` |
//! | `append.rs` | the transaction of an append |
//! | `changes.rs` | edits, deletions and reactions |
//! | `items.rs` | the item of a message |
//! | `numbers.rs` | the numbers of changes, and the reads by them |
//! | `previews.rs` | parts of messages for lists of channels |
//! | `reads.rs` | reads of items and of a range |
//! | `threads.rs` | the items of threads, and the reads by them |
//! | `transfer.rs` | exports and imports |

mod append;
mod changes;
mod items;
mod numbers;
mod previews;
mod reads;
mod threads;
mod transfer;

use aws_sdk_dynamodb::Client;
use chat::{
    model::{
        access::Authority,
        channel::ChannelHead,
        error::StoreError,
        id::{ChannelId, TenantId, UserId},
        incarnation::ChannelKey,
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        preview::{MessageOutline, MessagePreview},
        reaction::Toggle,
        rev::{ChangeNumber, Rev},
        seq::Seq,
        text::emoji::Emoji,
        time::Timestamp,
    },
    ports::message_store::{
        Append, AppendResult, Excerpt, IdempotencyRecord, MessageStore, Range, ReactionResult, RecordKey, Selection,
        UpdateResult,
    },
};

use self::{reads::is_live, threads::List};
use crate::dynamodb::{authority::Place, item::read, keys::Keys, record_item::RecordItem};

/// Condition that a message is neither deleted nor expired at `:now`.
const THERE: &str = "attribute_exists(seq) AND attribute_not_exists(deleted_at) \
                     AND (attribute_not_exists(expires_at) OR expires_at > :now)";

/// Messages in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoMessages {
    client: Client,
    events: String,
    channels: String,
    keys: Keys,
}

impl DynamoMessages {
    /// Creates a store for messages in the table `events`, whose channels are in the table `channels`.
    #[must_use]
    pub fn new(client: Client, events: impl Into<String>, channels: impl Into<String>) -> Self {
        Self { client, events: events.into(), channels: channels.into(), keys: Keys::default() }
    }

    /// Returns the messages of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    fn place(&self) -> Place<'_> {
        Place { table: &self.channels, keys: &self.keys }
    }
}

impl MessageStore for DynamoMessages {
    async fn head(&self, channel: &ChannelId) -> Result<Option<(ChannelHead, Rev)>, StoreError> {
        self.read_head(channel).await
    }

    async fn is_member(&self, channel: &ChannelKey, user: &UserId) -> Result<bool, StoreError> {
        Ok(self.get(&self.channels, self.keys.member(channel, user)).await?.is_some())
    }

    async fn previews(
        &self,
        wanted: &[(ChannelKey, Seq)],
        now: Timestamp,
    ) -> Result<Vec<(ChannelKey, MessagePreview)>, StoreError> {
        self.read_previews(wanted, now).await
    }

    async fn outlines(
        &self,
        channel: &ChannelKey,
        after: Seq,
        before: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<MessageOutline>, StoreError> {
        self.read_outlines(channel, after, before, limit, now).await
    }

    async fn append(&self, append: Append<'_>) -> Result<AppendResult, StoreError> {
        self.run_append(append).await
    }

    async fn idempotency_record(
        &self,
        channel: &ChannelKey,
        key: &RecordKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let found = self.get(&self.channels, self.keys.record(channel, key)).await?;
        found.map(|item| Ok(read::<RecordItem>("GetItem", item)?.record(key))).transpose()
    }

    async fn message(&self, channel: &ChannelKey, seq: Seq, now: Timestamp) -> Result<Option<Message>, StoreError> {
        let found = self.get(&self.events, self.keys.message(channel, seq)).await?;
        found.filter(|item| is_live(item, now)).map(|item| self.read_message("GetItem", item)).transpose()
    }

    async fn update_message(
        &self,
        by: &Authority<'_>,
        revised: &StoredMessage,
        number: ChangeNumber,
    ) -> Result<UpdateResult, StoreError> {
        self.revise(by, revised, number).await
    }

    async fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        number: ChangeNumber,
        now: Timestamp,
    ) -> Result<ReactionResult, StoreError> {
        self.toggle_reaction(by, revision, emoji, toggle, number, now).await
    }

    async fn changes(
        &self,
        channel: &ChannelKey,
        after: Rev,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<(Rev, Seq)>, StoreError> {
        self.read_changes(channel, after, limit, now).await
    }

    async fn messages_among(
        &self,
        channel: &ChannelKey,
        seqs: &[Seq],
        now: Timestamp,
    ) -> Result<Vec<(Rev, Message)>, StoreError> {
        self.read_among(channel, seqs, now).await
    }

    async fn messages(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        self.read_range(channel, range, limit, now).await
    }

    async fn selected(
        &self,
        channel: &ChannelKey,
        selection: Selection,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Excerpt, StoreError> {
        match selection {
            Selection::OutsideThreads => self.read_outside_threads(channel, range, limit, now).await,
            Selection::Thread(root) => self.read_listed(channel, List::Thread(root), range, limit, now).await,
            Selection::Roots => self.read_listed(channel, List::Roots, range, limit, now).await,
        }
    }
}
