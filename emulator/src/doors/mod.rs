//! The server of all listeners of the local run, with one guard and one set of time limits.
//!
//! A browser lets the pages of any site send requests to `127.0.0.1`. The guard allows programs, and only those pages
//! that a [`Door`] names. It recognizes a browser by `Origin` and `Sec-Fetch-Site`, which no script can set or omit
//! ("Forbidden request-header" in the Fetch standard). It rejects host names other than this machine's. Therefore a
//! name of another site that resolves to `127.0.0.1` (DNS rebinding) gets no access.
//!
//! Any program of this machine may send requests. The secret of the run ([`crate::secret`]) protects operations that
//! only the user's own programs may perform.

mod connection;
mod guard;
mod server;

use std::time::Duration;

pub(crate) use self::guard::{is_from_browser, is_signed};
pub use self::{
    guard::{Door, Origin, OriginError},
    server::serve,
};

/// Limits of one listener: waits on a client, and the number of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum time from the first byte of a request to the end of its head, and from the beginning of a connection to
    /// its first byte.
    pub head: Duration,
    /// Maximum time between two pieces of a request's body.
    pub body_pause: Duration,
    /// Maximum time for a complete request body.
    pub body: Duration,
    /// Maximum time between a response and the next request.
    pub idle: Duration,
    /// Maximum time until the client reads more of a response.
    pub write_pause: Duration,
    /// Maximum number of connections, including sockets. Further ones wait until one has ended.
    pub connections: usize,
}

/// Limits of a listener for client requests.
///
/// AWS publishes no such limits for API Gateway, Lambda or DynamoDB. An idle connection is kept longer than by the AWS
/// SDK for Rust and by reqwest (90 s). Thus a client never sends on a connection that is being closed.
pub const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    body_pause: Duration::from_secs(10),
    body: Duration::from_mins(1),
    idle: Duration::from_mins(2),
    write_pause: Duration::from_secs(30),
    connections: 1_024,
};

/// Maximum number of connections of the WebSocket API: ten thousand sockets for measurements, and as many for
/// handshakes and requests to `@connections`.
pub const WEBSOCKET_CONNECTIONS: usize = 20_000;

/// Limits of the Runtime API of one environment. A function may hold its connection, and send its response, for as long
/// as an invocation lasts: 15 minutes ("Lambda quotas").
pub const RUNTIME_LIMITS: Limits = Limits {
    body_pause: Duration::from_mins(15),
    body: Duration::from_mins(15),
    idle: Duration::from_mins(15),
    connections: 64,
    ..LIMITS
};
