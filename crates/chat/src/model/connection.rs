//! Connections and their subscriptions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    id::{ChannelId, ConnectionId, UserId},
    incarnation::ChannelKey,
    time::Timestamp,
};

/// Key of a connection: API Gateway may use an id again, so the time of opening belongs to the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConnectionKey {
    /// Id of the connection, chosen by API Gateway.
    #[serde(rename = "connection_id")]
    pub id: ConnectionId,
    /// Time at which the connection was opened. It distinguishes the connection from another one with the same id.
    pub connected_at: Timestamp,
}

/// Connection: the record of an open `WebSocket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Key of the connection.
    #[serde(flatten)]
    pub key: ConnectionKey,
    /// User of the connection.
    pub user_id: UserId,
    /// Channels that the connection subscribes to.
    pub channels: Vec<ChannelKey>,
    /// `true` if the connection named no channels, and so follows its user's memberships.
    pub auto_subscribe: bool,
    /// Channels that the token is restricted to. `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
    /// Number of the user's channels that the connection leaves out, since it has the maximum. Default: 0.
    #[serde(default)]
    pub left_out: usize,
    /// Expiry of the token, after which nothing is delivered.
    pub token_expires_at: Timestamp,
    /// Time from which the connection counts as absent.
    pub expires_at: Timestamp,
}

/// Subscription: the part of a connection that delivery reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The connection.
    #[serde(flatten)]
    pub connection: ConnectionKey,
    /// User of the connection.
    pub user_id: UserId,
    /// Time from which the subscription counts as absent.
    pub expires_at: Timestamp,
    /// `true` if the subscription rests on a membership. Otherwise it rests on the channel being public.
    pub member: bool,
}

/// Gate: refuses subscriptions that a change has ended and that still exist. Each such change changes the gate in its
/// own transaction. The gate is stored beside the subscriptions, so that delivery reads both at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    /// `true` if the channel was deleted.
    pub closed: bool,
    /// `true` if the channel was made private. Unset if it has been private for longer than a connection lasts: then
    /// all its subscriptions rest on memberships.
    pub private: bool,
    /// Users whose membership has ended, and who have not become members again.
    pub blocked: BTreeSet<UserId>,
}

impl Gate {
    /// Returns whether a subscription may receive an event of the channel.
    #[must_use]
    pub fn admits(&self, user: &UserId, member: bool) -> bool {
        !self.closed && if member { !self.blocked.contains(user) } else { !self.private }
    }
}

/// Audience: the subscriptions of a channel, and its gate, read no later than these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// The gate.
    pub gate: Gate,
    /// Subscriptions, including refused ones.
    pub subscriptions: Vec<Subscription>,
}

impl Audience {
    /// Returns the subscriptions that the gate admits.
    #[must_use]
    pub fn admitted(self) -> Vec<Subscription> {
        let Self { gate, mut subscriptions } = self;
        subscriptions.retain(|one| gate.admits(&one.user_id, one.member));
        subscriptions
    }
}

/// Connection in the list of a user's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConnection {
    /// [`Connection::key`].
    pub key: ConnectionKey,
    /// [`Connection::auto_subscribe`].
    pub auto_subscribe: bool,
    /// [`Connection::allowed_channels`].
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
    /// Time from which the connection counts as absent.
    pub expires_at: Timestamp,
}

impl UserConnection {
    /// Returns whether the connection receives a channel that its user becomes a member of.
    #[must_use]
    pub fn receives(&self, channel: &ChannelId) -> bool {
        self.auto_subscribe && self.allowed_channels.as_ref().is_none_or(|limit| limit.contains(channel))
    }

    /// Returns the connection's subscription to a channel, as it is if it rests on a membership.
    #[must_use]
    pub fn subscription(&self, user: &UserId) -> Subscription {
        Subscription { connection: self.key.clone(), user_id: user.clone(), expires_at: self.expires_at, member: true }
    }
}

impl From<&Connection> for UserConnection {
    fn from(connection: &Connection) -> Self {
        Self {
            key: connection.key.clone(),
            auto_subscribe: connection.auto_subscribe,
            allowed_channels: connection.allowed_channels.clone(),
            expires_at: connection.expires_at,
        }
    }
}
