//! Connections and their subscriptions.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::StoreError,
    id::{ChannelId, ConnectionId, UserId},
};

/// An open `WebSocket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// API Gateway's id of it.
    pub connection_id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What it subscribes to.
    pub channels: Vec<ChannelId>,
    /// Since when. Tells it from another connection that got the same id.
    pub connected_at: Timestamp,
    /// When its token ends, and with it delivery.
    pub token_expires_at: Timestamp,
    /// From when on it counts as absent.
    pub expires_at: Timestamp,
}

/// Where to push a channel's events: what delivery reads of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// [`Connection::connected_at`].
    pub connected_at: Timestamp,
    /// From when on it counts as absent.
    pub expires_at: Timestamp,
}

/// Where connections are kept.
pub trait ConnectionStore: Send + Sync {
    /// Stores a connection and its subscriptions: the connection first, so that whatever is left of an
    /// interrupted call is named by it and found again.
    fn open(&self, connection: &Connection) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The connection, expired or not (strongly consistent).
    fn connection(&self, id: &ConnectionId) -> impl Future<Output = Result<Option<Connection>, StoreError>> + Send;

    /// Removes a connection and its subscriptions, on condition that they are still of this `connected_at`: the
    /// subscriptions first, so that an interrupted call is found again. `false`: there was no such connection.
    fn close(
        &self,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Everyone who listens to a channel now (strongly consistent): what has expired by `now` is left out.
    fn subscriptions(
        &self,
        channel: &ChannelId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Subscription>, StoreError>> + Send;

    /// Removes one subscription, on condition that it is still of this `connected_at`.
    fn unsubscribe(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
