//! Stores what was announced of presence.

use std::future::Future;

use crate::model::{error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp};

/// What subscribers know of a channel's presence.
pub trait PresenceStore: Send + Sync {
    /// Notes that a user is there. `false`: that was known.
    fn mark_online(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that a user has gone. `false`: that was known.
    fn mark_offline(
        &self,
        channel: &ChannelKey,
        user: &UserId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
