//! Connections and their subscriptions.

use std::{collections::BTreeSet, future::Future};

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
    /// Whether it named no channels, and so follows its user's memberships as they change.
    pub follows: bool,
    /// The channels that its token is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_to: Option<BTreeSet<ChannelId>>,
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

/// One of a user's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConnection {
    /// The connection.
    pub connection_id: ConnectionId,
    /// [`Connection::connected_at`].
    pub connected_at: Timestamp,
    /// [`Connection::follows`].
    pub follows: bool,
    /// [`Connection::limited_to`].
    pub limited_to: Option<BTreeSet<ChannelId>>,
    /// From when on it counts as absent.
    pub expires_at: Timestamp,
}

impl UserConnection {
    /// Whether it receives a channel that its user becomes a member of.
    #[must_use]
    pub fn receives(&self, channel: &ChannelId) -> bool {
        self.follows && self.limited_to.as_ref().is_none_or(|limit| limit.contains(channel))
    }
}

impl From<&Connection> for UserConnection {
    fn from(connection: &Connection) -> Self {
        Self {
            connection_id: connection.connection_id.clone(),
            connected_at: connection.connected_at,
            follows: connection.follows,
            limited_to: connection.limited_to.clone(),
            expires_at: connection.expires_at,
        }
    }
}

/// Where connections are kept. All reads are strongly consistent.
pub trait ConnectionStore: Send + Sync {
    /// Enters a connection among those of its user, before anything is decided from the user's memberships: whoever
    /// ends one from then on finds it.
    fn announce(
        &self,
        user: &UserId,
        connection: &UserConnection,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes back what was announced and is not to be opened.
    fn withdraw(
        &self,
        user: &UserId,
        connection: &UserConnection,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores a connection that was announced, and its subscriptions: the connection first, so that whatever is left
    /// of an interrupted call is named by it and found again.
    fn open(&self, connection: &Connection) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the times and the limit of a connection that has another token now, on condition that it is still of this
    /// `connected_at`: everywhere that they stand. `false`: there is no such connection.
    fn renew(&self, connection: &Connection) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The connection, expired or not.
    fn connection(&self, id: &ConnectionId) -> impl Future<Output = Result<Option<Connection>, StoreError>> + Send;

    /// The user's connections, announced or open: what has expired by `now` is left out.
    fn connections_of(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<UserConnection>, StoreError>> + Send;

    /// Removes a connection and its subscriptions, on condition that they are still of this `connected_at`: the
    /// subscriptions first, so that an interrupted call is found again. `false`: there was no such connection.
    fn close(
        &self,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Everyone who listens to a channel now: what has expired by `now` is left out.
    fn subscriptions(
        &self,
        channel: &ChannelId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Subscription>, StoreError>> + Send;

    /// Adds a subscription to a connection that is open. `false`: it is not, or has all the channels that it may.
    fn subscribe(
        &self,
        channel: &ChannelId,
        user: &UserId,
        connection: &UserConnection,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes one subscription, on condition that it is still of this `connected_at`. `false`: there was none.
    fn unsubscribe(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
