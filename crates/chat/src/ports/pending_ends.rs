//! Port that stores pending ends.

use std::future::Future;

use crate::model::{error::StoreError, pending_end::PendingEnd, time::Timestamp};

/// Store of pending ends. The changes that cause them write them; see
/// [`ChannelStore`](crate::ports::channel_store::ChannelStore).
pub trait PendingEnds: Send + Sync {
    /// Leases a record until `until`, if no lease holds it at `now`, and returns the stored record. Returns `None` if
    /// the record is done or leased.
    fn lease(
        &self,
        pending: &PendingEnd,
        until: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<PendingEnd>, StoreError>> + Send;

    /// Stores the progress and the lease of a record, if it exists.
    fn advance(&self, pending: &PendingEnd) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a record that is done.
    fn finish(&self, pending: &PendingEnd) -> impl Future<Output = Result<(), StoreError>> + Send;
}
