//! Port that stores connections and subscriptions.

use std::{collections::BTreeSet, future::Future};

use crate::model::{
    connection::{Audience, Connection, ConnectionKey, Gate, Subscription, UserConnection},
    error::StoreError,
    id::{ConnectionId, UserId},
    incarnation::ChannelKey,
    parts::{AudienceCursor, Parts},
    time::Timestamp,
};

/// Page of a channel's subscriptions, part by part, in each in the order of the connections' ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionPage {
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Position at which the next page begins, if there may be more.
    pub next_after: Option<AudienceCursor>,
}

/// Page of a channel's audience, for a reader that does not keep all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AudiencePage {
    /// The gate, read no later than the subscriptions. Only the first page has it.
    pub gate: Gate,
    /// Subscriptions, including refused ones. A page may have none and not be the last.
    pub subscriptions: Vec<Subscription>,
    /// Number of parts that are read.
    pub parts: Parts,
    /// Position at which the next page begins, if there may be more.
    pub next: Option<AudienceCursor>,
}

/// Store of connections and subscriptions. All reads are strongly consistent.
pub trait ConnectionStore: Send + Sync {
    /// Stores a connection without channels, before the user's memberships are read. It is pending until
    /// [`ConnectionStore::activate`]. A function that ends a membership from then on finds it among the connections of
    /// its user. A function that begins a membership from then on subscribes it.
    fn register_pending(&self, connection: &Connection) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a pending connection that is not to be opened, and the subscriptions that others have added to it. The
    /// connection goes first: from then on none can be added.
    fn remove_pending(
        &self,
        user: &UserId,
        connection: &UserConnection,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Opens a pending connection: adds the channels of `connection` to those that others have added, and stores its
    /// subscriptions and `left_out`. Subscriptions to `by_membership` rest on memberships. Condition: the connection
    /// still has this key. Returns all of its channels, or `None` if there is no such connection.
    ///
    /// The connection and its subscriptions are stored side by side. An interrupted call may leave subscriptions that
    /// the connection does not name: the next push to its socket removes each, or it expires.
    fn activate(
        &self,
        connection: &Connection,
        by_membership: &BTreeSet<ChannelKey>,
    ) -> impl Future<Output = Result<Option<Vec<ChannelKey>>, StoreError>> + Send;

    /// Writes the times and the allowed channels of a connection whose token was renewed, everywhere they are stored.
    /// Condition: the connection still has this key. Returns its channels, or `None` if there is no such connection.
    fn renew(
        &self,
        connection: &Connection,
    ) -> impl Future<Output = Result<Option<Vec<ChannelKey>>, StoreError>> + Send;

    /// Writes the time and the allowed channels of a connection to the copies of its user and of its subscriptions, if
    /// they still have this key. The connection itself stays as it is.
    fn spread_renewal(&self, connection: &Connection) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the connection, expired or not.
    fn connection(&self, id: &ConnectionId) -> impl Future<Output = Result<Option<Connection>, StoreError>> + Send;

    /// Returns the user's connections, pending or open. Leaves out those that have expired by `now`.
    fn connections_of(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<UserConnection>, StoreError>> + Send;

    /// Removes the subscriptions of a connection and then the connection, if they still have this key. In this order a
    /// repeated call finds an interrupted one. Returns `false` if there was no such connection.
    fn close(&self, connection: &ConnectionKey) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Does the same as [`ConnectionStore::close`] with a connection that the caller has read. Channels that were added
    /// after that are removed too.
    fn close_found(&self, found: &Connection) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the subscriptions of a channel, and its gate. Leaves out those that have expired by `now`.
    fn audience(
        &self,
        channel: &ChannelKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<Audience, StoreError>> + Send {
        self.audience_up_to(channel, usize::MAX, now)
    }

    /// Returns the gate of a channel and its subscriptions: all of them, or at least `most`. Leaves out those that have
    /// expired by `now`.
    fn audience_up_to(
        &self,
        channel: &ChannelKey,
        most: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Audience, StoreError>> + Send;

    /// Returns the page of a channel's audience at a position, or the first one. Its size is bounded, whatever the size
    /// of the audience. Leaves out entries that have expired by `now`.
    fn audience_page(
        &self,
        channel: &ChannelKey,
        at: Option<&AudienceCursor>,
        now: Timestamp,
    ) -> impl Future<Output = Result<AudiencePage, StoreError>> + Send;

    /// Divides the subscriptions of a channel into more parts than `parts`, if the store needs more for this number of
    /// them. Condition: the channel does not have more already. Later subscriptions are written into the new parts.
    fn divide(
        &self,
        channel: &ChannelKey,
        parts: Parts,
        subscriptions: usize,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the gate of a channel. Leaves out entries that have expired by `now`.
    fn gate(&self, channel: &ChannelKey, now: Timestamp) -> impl Future<Output = Result<Gate, StoreError>> + Send;

    /// Returns about `limit` subscriptions of a channel, from the position `after` on. Leaves out those that have expired
    /// by `now`.
    fn subscriptions_page(
        &self,
        channel: &ChannelKey,
        after: Option<&AudienceCursor>,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<SubscriptionPage, StoreError>> + Send;

    /// Adds a subscription to an open connection, or replaces it. `member`: it rests on a membership. Returns `false`
    /// if the connection is not open or has the maximum number of channels.
    fn subscribe(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        connection: &UserConnection,
        member: bool,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Stores the number of the user's channels that a connection leaves out. Condition: the connection is open and
    /// still has its key. The delivery worker notifies the client when the number changes.
    fn set_left_out(
        &self,
        connection: &UserConnection,
        left_out: usize,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns whether a connection has a subscription.
    fn is_subscribed(
        &self,
        channel: &ChannelKey,
        connection: &ConnectionKey,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes a subscription rest on its user's membership, if it still has its connection. Returns `false` if there was
    /// none.
    fn confirm_member(
        &self,
        channel: &ChannelKey,
        subscription: &Subscription,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes one subscription of this connection. Returns `false` if there was none.
    fn unsubscribe(
        &self,
        channel: &ChannelKey,
        connection: &ConnectionKey,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
