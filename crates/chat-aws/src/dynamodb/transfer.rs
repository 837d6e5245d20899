//! [`ChannelTransfer`] on DynamoDB.
//!
//! | table | written by |
//! | --- | --- |
//! | `chat_events` | `messages/transfer.rs` |
//! | `chat_channels` | `messages/transfer.rs` (threads), `channels/transfer.rs` (all others) |
//!
//! The stream of `chat_events` delivers imported messages like others. The channel has no subscriptions before it is
//! published, and the filter of the agent's mapping leaves the messages out.

use chat::{
    model::{
        channel::{Channel, Member},
        error::StoreError,
        id::{ChannelId, TenantId, UserId},
        incarnation::ChannelKey,
        message::StoredMessage,
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::channel_transfer::{ChannelIds, ChannelTransfer, Published},
};

use super::pace::Pace;
use crate::dynamodb::{channels::DynamoChannels, messages::DynamoMessages};

/// Exports and imports of one tenant.
#[derive(Debug, Clone)]
pub struct DynamoTransfer {
    channels: DynamoChannels,
    messages: DynamoMessages,
    pace: Pace,
}

impl DynamoTransfer {
    /// Returns the exports and imports of these stores, within `pace`.
    #[must_use]
    pub fn new(channels: DynamoChannels, messages: DynamoMessages, pace: Pace) -> Self {
        Self { channels, messages, pace }
    }

    /// Returns those of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self {
            channels: self.channels.for_tenant(tenant),
            messages: self.messages.for_tenant(tenant),
            pace: self.pace.clone(),
        }
    }
}

impl ChannelTransfer for DynamoTransfer {
    async fn all_channels(&self, after: Option<&str>) -> Result<ChannelIds, StoreError> {
        self.channels.scan_ids(after, &self.pace).await
    }

    async fn channel_to_export(&self, id: &ChannelId) -> Result<Option<(Channel, Rev)>, StoreError> {
        self.channels.exported_channel(id).await
    }

    async fn members_to_export(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> Result<Vec<(Member, Seq)>, StoreError> {
        self.channels.exported_members(channel, after, limit, &self.pace).await
    }

    async fn messages_to_export(
        &self,
        channel: &ChannelKey,
        after: Seq,
        last: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.messages.exported(channel, (after, last), limit, now, &self.pace).await
    }

    async fn import_members(&self, channel: &ChannelKey, members: &[(Member, Seq)]) -> Result<(), StoreError> {
        self.channels.import(channel, members, &self.pace).await
    }

    async fn import_messages(&self, channel: &ChannelKey, messages: &[StoredMessage]) -> Result<(), StoreError> {
        self.messages.import(channel, messages, &self.pace).await
    }

    async fn publish(&self, channel: &Channel, owners: usize, rev: Rev) -> Result<Published, StoreError> {
        self.channels.publish_imported(channel, owners, rev).await
    }
}
