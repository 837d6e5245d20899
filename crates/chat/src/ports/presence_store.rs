//! Port that stores which presence was announced.

use std::future::Future;

use crate::model::{error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp};

/// Store of the presence that was announced to a channel's subscribers. A record outlasts every connection that was
/// open when it was written.
pub trait PresenceStore: Send + Sync {
    /// Records a user as online, or extends the record. Returns `false` if the user already was online at `now`.
    fn mark_online(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns whether a user is recorded as online.
    fn is_online(&self, channel: &ChannelKey, user: &UserId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records a user as offline.
    fn mark_offline(&self, channel: &ChannelKey, user: &UserId) -> impl Future<Output = Result<(), StoreError>> + Send;
}
