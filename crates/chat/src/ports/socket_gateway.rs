//! Pushes frames to sockets and closes them.

use std::future::Future;

use crate::model::{error::StoreError, id::ConnectionId};

/// What came of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The gateway took it.
    Delivered,
    /// There is no such connection any more.
    Gone,
}

/// The gateway's side of the sockets.
pub trait SocketGateway: Send + Sync {
    /// `rpc.system` of the spans of its calls.
    const SYSTEM: &'static str = "local";

    /// `rpc.service` of the spans of its calls.
    const SERVICE: &'static str = "SocketGateway";

    /// Sends one text frame. Fails after [`PUSH_DURATION`](crate::model::limits::PUSH_DURATION) at the latest.
    fn push(&self, id: &ConnectionId, frame: &str) -> impl Future<Output = Result<Pushed, StoreError>> + Send;

    /// Whether a connection is open.
    fn is_open(&self, id: &ConnectionId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Closes a connection. `false`: there is none, or its handshake is not through yet.
    fn close(&self, id: &ConnectionId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
