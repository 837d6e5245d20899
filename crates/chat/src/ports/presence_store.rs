//! Port that stores which presence was announced.

use std::future::Future;

use crate::model::{error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp};

/// Store of the presence that was announced to a channel's subscribers.
pub trait PresenceStore: Send + Sync {
    /// Records a user as online. Returns `false` if the user already was.
    fn mark_online(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records a user as offline. Returns `false` if the user already was.
    fn mark_offline(
        &self,
        channel: &ChannelKey,
        user: &UserId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
