//! One connection, and the registry of open connections.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// `disconnectStatusCode` of a client that sent a close frame without a code (RFC 6455, section 7.4.1).
pub(super) const NO_STATUS: u16 = 1005;
/// `disconnectStatusCode` of a client that vanished without a close frame (RFC 6455, section 7.4.1).
pub(super) const ABNORMAL: u16 = 1006;

/// Reason why a connection ended. The first reason counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
    /// `true` if the gateway must send a close frame.
    pub(super) by_gateway: bool,
}

/// A client that `$connect` has accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) connected_at: Timestamp,
    pub(super) source_ip: String,
    pub(super) user_agent: Option<String>,
    /// `Host` of the handshake.
    pub(super) host: String,
    pub(super) opened: Instant,
    /// Milliseconds from `opened` to the last frame in either direction.
    last_active: AtomicU64,
    /// Queue of messages to write. It is bounded: a client that does not read fills it.
    pub(super) outbound: mpsc::Sender<Message>,
    close: OnceLock<Close>,
    closed: CancellationToken,
}

impl Connection {
    pub(super) fn new(
        id: String,
        connected_at: Timestamp,
        source_ip: String,
        user_agent: Option<String>,
        host: String,
        outbound: mpsc::Sender<Message>,
    ) -> Self {
        Self {
            id,
            connected_at,
            source_ip,
            user_agent,
            host,
            opened: Instant::now(),
            last_active: AtomicU64::new(0),
            outbound,
            close: OnceLock::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Records the time of a frame in either direction.
    pub(super) fn touch(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_active.fetch_max(elapsed, Ordering::Relaxed);
    }

    /// Returns the time of the last frame, on the monotonic clock.
    pub(super) fn last_active(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_active.load(Ordering::Relaxed))
    }

    /// Returns the time of the last frame.
    pub(super) fn last_active_at(&self) -> Timestamp {
        let elapsed = i64::try_from(self.last_active.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        self.connected_at.checked_add(SignedDuration::from_millis(elapsed)).unwrap_or(self.connected_at)
    }

    /// Closes the connection by the gateway.
    pub(super) fn close(&self, code: u16, reason: &str) {
        self.end(Close { code, reason: reason.to_owned(), by_gateway: true });
    }

    /// Records that the client ended the connection.
    pub(super) fn closed_by_client(&self, code: u16, reason: &str) {
        self.end(Close { code, reason: reason.to_owned(), by_gateway: false });
    }

    fn end(&self, close: Close) {
        let _ = self.close.set(close);
        self.closed.cancel();
    }

    /// Resolves when the connection is ending, for any reason.
    pub(super) fn closed(&self) -> WaitForCancellationFuture<'_> {
        self.closed.cancelled()
    }

    /// Returns the reason for the end. A connection that ended without a reason is abnormal.
    pub(super) fn reason(&self) -> Close {
        self.close.get().cloned().unwrap_or(Close { code: ABNORMAL, reason: String::new(), by_gateway: false })
    }

    /// Returns the close frame for the client, unless the client ended the connection.
    pub(super) fn close_frame(&self) -> Option<CloseFrame> {
        let close = self.close.get().filter(|close| close.by_gateway)?;
        Some(CloseFrame { code: close.code, reason: close.reason.as_str().into() })
    }
}

/// Registry of the connections that `@connections` accepts.
#[derive(Debug, Default)]
pub(super) struct Connections {
    registry: RwLock<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    open: HashMap<String, Arc<Connection>>,
    stopping: bool,
}

impl Connections {
    /// Registers `connection` for posts. Returns `false` if the gateway is stopping.
    pub(super) fn insert(&self, connection: &Arc<Connection>) -> bool {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        if !registry.stopping {
            registry.open.insert(connection.id.clone(), Arc::clone(connection));
        }
        !registry.stopping
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).open.get(id).cloned()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<Connection>> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner).open.remove(id)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).stopping
    }

    /// Rejects further connections and returns the open ones.
    pub(super) fn stop(&self) -> Vec<Arc<Connection>> {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.stopping = true;
        registry.open.drain().map(|(_, connection)| connection).collect()
    }
}
