//! Stores pending ends.

use std::future::Future;

use crate::model::{error::StoreError, pending_end::PendingEnd, time::Timestamp};

/// Stores pending ends. They are written by the changes that cause them: see [`ChannelStore`].
pub trait PendingEnds: Send + Sync {
    /// Leases a record until `until`, on condition that no lease holds it at `now`, and returns it as it is. `None`: it is
    /// done, or leased.
    fn lease(
        &self,
        pending: &PendingEnd,
        until: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<PendingEnd>, StoreError>> + Send;

    /// Stores the progress and the lease of a record, if it is there.
    fn advance(&self, pending: &PendingEnd) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a record that is done.
    fn finish(&self, pending: &PendingEnd) -> impl Future<Output = Result<(), StoreError>> + Send;
}
