//! Connections and their subscriptions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    id::{ChannelId, ConnectionId, UserId},
    incarnation::ChannelKey,
    time::Timestamp,
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
