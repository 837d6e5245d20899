//! Removes what belonged to a deleted channel.

use std::future::Future;

use crate::model::{error::StoreError, incarnation::ChannelKey};

/// Removes what belongs to a deleted channel.
pub trait DeletedChannels: Send + Sync {
    /// Removes some messages, members and other items of a channel. `true`: nothing is there any more.
    fn remove_some(&self, channel: &ChannelKey) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
