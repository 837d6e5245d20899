//! Connections and their subscriptions.

use std::{collections::BTreeSet, future::Future};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    error::StoreError,
    id::{ChannelId, ConnectionId, UserId},
    incarnation::ChannelKey,
};

/// An open `WebSocket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// API Gateway's id of it.
    pub connection_id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What it subscribes to.
    pub channels: Vec<ChannelKey>,
    /// Whether it named no channels, and so follows its user's memberships as they change.
    pub auto_subscribe: bool,
    /// The channels that its token is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
    /// Channels of its user that it left out when it was opened, since it has all that it may.
    #[serde(default)]
    pub left_out: usize,
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
    /// Whether it rests on a membership. Otherwise it rests on the channel being public.
    pub member: bool,
}

/// Refuses subscriptions that a change has ended and that are still there. It is changed in the transaction of each such
/// change, and kept beside the subscriptions, so that delivery reads both at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    /// The channel was deleted.
    pub closed: bool,
    /// The channel was made private. Unset for one that has been private since longer than a connection lasts: its
    /// subscriptions all rest on memberships.
    pub private: bool,
    /// Users whose membership has ended, and who are no members again.
    pub blocked: BTreeSet<UserId>,
}

impl Gate {
    /// Whether a subscription may receive an event of the channel.
    #[must_use]
    pub fn admits(&self, user: &UserId, member: bool) -> bool {
        !self.closed && if member { !self.blocked.contains(user) } else { !self.private }
    }
}

/// The subscriptions of a channel, and its gate as it was not later than these were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// The gate.
    pub gate: Gate,
    /// The subscriptions, refused ones too.
    pub subscriptions: Vec<Subscription>,
}

impl Audience {
    /// The subscriptions that may receive events.
    #[must_use]
    pub fn admitted(self) -> Vec<Subscription> {
        let Self { gate, mut subscriptions } = self;
        subscriptions.retain(|one| gate.admits(&one.user_id, one.member));
        subscriptions
    }
}

/// A page of a channel's subscriptions, in the order of their connections' ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionPage {
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// The connection to go on after, when there may be more.
    pub next_after: Option<ConnectionId>,
}

/// One of a user's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConnection {
    /// The connection.
    pub connection_id: ConnectionId,
    /// [`Connection::connected_at`].
    pub connected_at: Timestamp,
    /// [`Connection::follows`].
    pub auto_subscribe: bool,
    /// [`Connection::limited_to`].
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
    /// From when on it counts as absent.
    pub expires_at: Timestamp,
}

impl UserConnection {
    /// Whether it receives a channel that its user becomes a member of.
    #[must_use]
    pub fn receives(&self, channel: &ChannelId) -> bool {
        self.auto_subscribe && self.allowed_channels.as_ref().is_none_or(|limit| limit.contains(channel))
    }

    /// What its subscription to a channel would be, if it has one that rests on a membership of its user.
    #[must_use]
    pub fn subscription(&self, user: &UserId) -> Subscription {
        Subscription {
            connection_id: self.connection_id.clone(),
            user_id: user.clone(),
            connected_at: self.connected_at,
            expires_at: self.expires_at,
            member: true,
        }
    }
}

impl From<&Connection> for UserConnection {
    fn from(connection: &Connection) -> Self {
        Self {
            connection_id: connection.connection_id.clone(),
            connected_at: connection.connected_at,
            auto_subscribe: connection.auto_subscribe,
            allowed_channels: connection.allowed_channels.clone(),
            expires_at: connection.expires_at,
        }
    }
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
