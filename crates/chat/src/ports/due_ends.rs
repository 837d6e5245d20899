//! Port that lists pending ends.

use std::future::Future;

use crate::model::{error::StoreError, id::TenantId, pending_end::PendingEnd, time::Timestamp};

/// List of the pending ends of all tenants.
pub trait DueEnds: Send + Sync {
    /// Returns up to `limit` pending ends that no lease holds at `now`, the oldest first, each with its tenant. Logs
    /// and skips an unreadable record, so that it does not block others.
    fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Option<TenantId>, PendingEnd)>, StoreError>> + Send;
}
