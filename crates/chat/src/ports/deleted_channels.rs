//! Port that removes deleted channels.

use std::future::Future;

use crate::model::{error::StoreError, incarnation::ChannelKey};

/// Remover of everything that belongs to a deleted channel.
pub trait DeletedChannels: Send + Sync {
    /// Removes some messages, members and other items of a channel. Returns `true` if nothing remains.
    fn remove_some(&self, channel: &ChannelKey) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
