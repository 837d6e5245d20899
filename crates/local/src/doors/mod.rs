//! The one way in: every listener of the local run is served here, behind the same guard and the same limits of time.
//!
//! A laptop has a browser, and a browser lets the pages of any site send requests to `127.0.0.1`. The guard lets programs
//! pass and, of pages, those alone that a [`Door`] names. It knows a browser by `Origin` and `Sec-Fetch-Site`, which no
//! script can set or leave out ("Forbidden request-header" in the Fetch standard). A host name that is not this
//! machine's own is refused, so that a name of another site that resolves to `127.0.0.1` (DNS rebinding) opens nothing.
//!
//! Any program of this machine may ask. What only the user's own programs may do is decided by the secret of the run
//! ([`crate::secret`]).

mod connection;
mod guard;
mod server;

use std::time::Duration;

pub(crate) use self::guard::{is_from_browser, is_signed};
pub use self::{
    guard::{Door, Origin, OriginError},
    server::serve,
};

/// Limits of one listener: how long a client may keep it waiting, and how many clients there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of a request to the end of its head; and from the beginning of a connection to its first byte.
    pub head: Duration,
    /// Between two pieces of a request's body.
    pub body_pause: Duration,
    /// For a request's body in all.
    pub body: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// For the client to make room for more of an answer.
    pub write_pause: Duration,
    /// Connections at once, sockets included. Further ones wait until one of these has ended.
    pub connections: usize,
}

/// Limits of a listener that clients send requests to.
///
/// AWS publishes none of these for API Gateway, Lambda or DynamoDB. An idle connection is kept for longer than the AWS SDK
/// for Rust and reqwest keep theirs (90 s), so that a client never sends on a connection that is being closed.
pub const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    body_pause: Duration::from_secs(10),
    body: Duration::from_mins(1),
    idle: Duration::from_mins(2),
    write_pause: Duration::from_secs(30),
    connections: 1_024,
};

/// Connections of the WebSocket API: room for the ten thousand sockets that measurements open, and as many again for
/// handshakes and requests to `@connections`.
pub const WEBSOCKET_CONNECTIONS: usize = 20_000;

/// Limits of the Runtime API of one environment. A function may hold its connection, and send its answer, for as long as
/// an invocation lasts: 15 minutes ("Lambda quotas").
pub const RUNTIME_LIMITS: Limits = Limits {
    body_pause: Duration::from_mins(15),
    body: Duration::from_mins(15),
    idle: Duration::from_mins(15),
    connections: 64,
    ..LIMITS
};
