//! Port that pushes frames to sockets and closes them.

use std::{future::Future, time::Duration};

use crate::model::{error::StoreError, id::ConnectionId};

/// Maximum size of a frame, in bytes ("Quotas for configuring and running a WebSocket API").
pub const FRAME_BYTES: usize = 128 * 1024;

/// Maximum duration of a connection, after which the gateway ends it (same page).
pub const CONNECTION_DURATION: Duration = Duration::from_hours(2);

/// Maximum duration of a handshake after its connection is stored: the timeout of an integration (same page).
pub const HANDSHAKE_DURATION: Duration = Duration::from_secs(29);

/// Maximum silence of a connection, after which the gateway ends it (same page).
pub const SILENCE_DURATION: Duration = Duration::from_mins(10);

/// Number of requests per second that the gateway accepts, of all kinds together ("Amazon API Gateway quotas", the
/// default for an account and a region).
pub const REQUESTS_PER_SECOND: u32 = 10_000;

/// Result of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The gateway accepted the frame.
    Delivered,
    /// The connection does not exist.
    Gone,
}

/// Gateway that holds the sockets.
pub trait SocketGateway: Send + Sync {
    /// `rpc.system` of the spans of its calls.
    const SYSTEM: &'static str = "local";

    /// `rpc.service` of the spans of its calls.
    const SERVICE: &'static str = "SocketGateway";

    /// Sends one text frame. Fails after [`PUSH_DURATION`](crate::model::limits::PUSH_DURATION) at the latest.
    fn push(&self, id: &ConnectionId, frame: &str) -> impl Future<Output = Result<Pushed, StoreError>> + Send;

    /// Returns whether a connection is open.
    fn is_open(&self, id: &ConnectionId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Closes a connection. Returns `false` if there is none or its handshake has not ended.
    fn close(&self, id: &ConnectionId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
