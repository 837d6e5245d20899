//! Stores connections and subscriptions.

use std::{collections::BTreeSet, future::Future};

use crate::model::{
    connection::{Audience, Connection, Gate, Subscription, UserConnection},
    error::StoreError,
    id::{ConnectionId, UserId},
    incarnation::ChannelKey,
    time::Timestamp,
};

/// A page of a channel's subscriptions, in the order of their connections' ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionPage {
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// The connection to go on after, when there may be more.
    pub next_after: Option<ConnectionId>,
}

/// Where connections are kept. All reads are strongly consistent.
pub trait ConnectionStore: Send + Sync {
    /// Enters a connection among those of its user, before anything is decided from the user's memberships: whoever
    /// ends one from then on finds it.
    fn register_pending(
        &self,
        user: &UserId,
        connection: &UserConnection,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes back what was announced and is not to be opened.
    fn remove_pending(
        &self,
        user: &UserId,
        connection: &UserConnection,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores a connection that was announced, and its subscriptions: the connection first, so that an interrupted call
    /// leaves only subscriptions that it names. Subscriptions to `by_membership` rest on memberships.
    fn activate(
        &self,
        connection: &Connection,
        by_membership: &BTreeSet<ChannelKey>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the times and the limit of a connection that has another token now, on condition that it is still of this
    /// `connected_at`: everywhere that they stand. Returns the channels that it has now. `None`: there is no such
    /// connection.
    fn renew(
        &self,
        connection: &Connection,
    ) -> impl Future<Output = Result<Option<Vec<ChannelKey>>, StoreError>> + Send;

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

    /// The subscriptions of a channel, and its gate; what has expired by `now` is left out.
    fn audience(
        &self,
        channel: &ChannelKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<Audience, StoreError>> + Send {
        self.audience_up_to(channel, usize::MAX, now)
    }

    /// The gate of a channel and its subscriptions: all of them, or `most` and perhaps some more. What has expired by `now`
    /// is left out.
    fn audience_up_to(
        &self,
        channel: &ChannelKey,
        most: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Audience, StoreError>> + Send;

    /// The gate of a channel; what has expired by `now` is left out.
    fn gate(&self, channel: &ChannelKey, now: Timestamp) -> impl Future<Output = Result<Gate, StoreError>> + Send;

    /// About `limit` subscriptions of a channel after a connection; what has expired by `now` is left out.
    fn subscriptions_page(
        &self,
        channel: &ChannelKey,
        after: Option<&ConnectionId>,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<SubscriptionPage, StoreError>> + Send;

    /// Adds a subscription, resting on a membership or not, to a connection that is open; replaces one that is there.
    /// `false`: it is not open, or has all the channels that it may.
    fn subscribe(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        connection: &UserConnection,
        member: bool,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Stores how many channels of its user a connection leaves out, on condition that it is open and still of its
    /// `connected_at`. The delivery worker tells the client when the number changes.
    fn set_left_out(
        &self,
        connection: &UserConnection,
        left_out: usize,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether a connection, still of this `connected_at`, has a subscription.
    fn is_subscribed(
        &self,
        channel: &ChannelKey,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes a subscription rest on its user's membership, on condition that it is still of its `connected_at`. `false`:
    /// there was none.
    fn confirm_member(
        &self,
        channel: &ChannelKey,
        subscription: &Subscription,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes one subscription, on condition that it is still of this `connected_at`. `false`: there was none.
    fn unsubscribe(
        &self,
        channel: &ChannelKey,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
