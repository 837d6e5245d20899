//! Port that reads and writes complete channels, for exports and imports.

use std::future::Future;

use crate::model::{
    channel::{Channel, Member},
    error::StoreError,
    id::{ChannelId, TenantId, UserId},
    incarnation::ChannelKey,
    message::StoredMessage,
    rev::Rev,
    seq::Seq,
    time::Timestamp,
};

/// Part of the ids of all channels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelIds {
    /// Ids with their tenants, in any order. There may be none although the list goes on.
    pub ids: Vec<(Option<TenantId>, ChannelId)>,
    /// Position after which the next part begins, if there is more.
    pub next: Option<String>,
}

/// Result of publishing a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The id leads to the channel, since this call or since an earlier one.
    Done,
    /// The id leads to another channel.
    Taken,
}

/// Reads and writes of complete channels, on behalf of an operator. No permission is checked.
///
/// An import writes members and messages under a key that no id leads to, and publishes the channel at its end. So no
/// client sees an incomplete channel. Each write replaces the item that an interrupted import left. The agent replies to
/// no imported message.
pub trait ChannelTransfer: Send + Sync {
    /// Returns ids of the channels of all tenants, after the position `after`.
    fn all_channels(&self, after: Option<&str>) -> impl Future<Output = Result<ChannelIds, StoreError>> + Send;

    /// Returns the channel that currently has an id, with the instructions of its agent, and the number of its last
    /// change. Instructions may be newer than the rest.
    fn channel_to_export(
        &self,
        id: &ChannelId,
    ) -> impl Future<Output = Result<Option<(Channel, Rev)>, StoreError>> + Send;

    /// Returns up to `limit` members after the id `after`, with their read marks, in the order of their ids. Fewer are
    /// the last ones.
    fn members_to_export(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<(Member, Seq)>, StoreError>> + Send;

    /// Returns up to `limit` messages after `after` and up to `last` that have not expired by `now`, oldest first, without
    /// their trace contexts. Fewer are the last ones.
    fn messages_to_export(
        &self,
        channel: &ChannelKey,
        after: Seq,
        last: Seq,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<StoredMessage>, StoreError>> + Send;

    /// Stores memberships with their read marks.
    fn import_members(
        &self,
        channel: &ChannelKey,
        members: &[(Member, Seq)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores messages, each in the thread that it names.
    fn import_messages(
        &self,
        channel: &ChannelKey,
        messages: &[StoredMessage],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes the id of `channel` lead to it, with its instructions, with this number of owners and with `rev` as the number of its last change,
    /// in one transaction. Condition: the id is free. The maximum number of a creator's channels does not apply.
    fn publish(
        &self,
        channel: &Channel,
        owners: usize,
        rev: Rev,
    ) -> impl Future<Output = Result<Published, StoreError>> + Send;
}
