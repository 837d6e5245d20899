//! Port that lists connections by the minute in which their token ends.

use std::future::Future;

use crate::model::{
    connection::Connection,
    error::StoreError,
    id::{ConnectionId, TenantId},
    time::Timestamp,
};

/// Period, in minutes, in which maintenance looks again for sockets with expired tokens. A function writes an entry less
/// than 30 seconds after it has checked the token. So the minute of the token's end is complete one minute after its own
/// end. Minutes of an outage of maintenance are not lost, because the last minute that was processed is stored.
pub const ENDED_SOCKETS_MINUTES: i64 = 3;

/// Store of expiry entries of all tenants. A
/// [`ConnectionStore`](crate::ports::connection_store::ConnectionStore) writes an entry when it stores a connection, and
/// another when the token is renewed. A connection has no entry if its socket ends before its token.
pub trait ExpiryStore: Send + Sync {
    /// Lists the minutes up to `now` that may have entries, the oldest first. The list begins
    /// [`ENDED_SOCKETS_MINUTES`] before the last minute that
    /// [`ExpiryStore::worked_off`] recorded, because an entry may be written late. It leaves out minutes whose sockets
    /// the gateway has closed itself.
    fn ended_minutes(&self, now: Timestamp) -> impl Future<Output = Result<Vec<Timestamp>, StoreError>> + Send;

    /// Records that all minutes up to that of `time` are processed. An earlier minute than the recorded one has no
    /// effect.
    fn worked_off(&self, time: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the connections that are listed under the minute of `time`. Some may have a newer token, and some may
    /// exist no longer.
    fn expired_in_minute(&self, time: Timestamp) -> impl Future<Output = Result<Vec<ConnectionId>, StoreError>> + Send;

    /// Removes a connection from the list of the minute of `time`.
    fn remove_expiry_entry(
        &self,
        time: Timestamp,
        id: &ConnectionId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns a connection of any tenant, expired or not, with its tenant.
    fn find(
        &self,
        id: &ConnectionId,
    ) -> impl Future<Output = Result<Option<(Option<TenantId>, Connection)>, StoreError>> + Send;
}
