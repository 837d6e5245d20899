//! Keys of `chat_connections`.

use std::{fmt, str::FromStr};

use chat::model::{
    id::{ConnectionId, TenantId, UserId},
    incarnation::{ChannelKey, KeyError},
    ticket_digest::TicketDigest,
    time::Timestamp,
};
use serde::Deserialize;

use super::{Keys, META, USER, channel_key};
use crate::dynamodb::item::{Item, s};

const SUBSCRIPTIONS: &str = "chan#";
const CONNECTION: &str = "conn#";
const GATE: &str = "a-gate";
const PARTS: &str = "a-parts";
const BLOCKED: &str = "blocked#";
const ENDS: &str = "ends#";
const DIVIDED: &str = "divided#";
const LISTENERS: &str = "listeners";

/// Separates a channel's key from the number of the part.
const PART_SEPARATOR: char = '#';

impl Keys {
    /// Returns the partition of a user's connections.
    pub(crate) fn connections(&self, user: &UserId) -> String {
        self.user(user)
    }

    pub(crate) fn user_connection(&self, user: &UserId, id: &ConnectionId) -> Item {
        in_connections(self.user(user), connection_sk(id))
    }

    /// Returns the partition of a channel's gate and of the first part of its subscriptions.
    pub(crate) fn audience(&self, channel: &ChannelKey) -> String {
        format!("{SUBSCRIPTIONS}{}", self.name(channel))
    }

    pub(crate) fn gate(&self, channel: &ChannelKey) -> Item {
        in_connections(self.audience(channel), GATE)
    }

    pub(crate) fn blocked(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_connections(self.audience(channel), format!("{BLOCKED}{user}"))
    }

    /// Returns the partition of a part of a channel's subscriptions.
    pub(crate) fn part(&self, place: &Place) -> String {
        format!("{SUBSCRIPTIONS}{}", self.name(place))
    }

    pub(crate) fn subscription(&self, place: &Place, id: &ConnectionId) -> Item {
        in_connections(self.part(place), connection_sk(id))
    }

    /// Returns the key of the number of a channel's parts, beside its gate.
    pub(crate) fn parts(&self, channel: &ChannelKey) -> Item {
        in_connections(self.audience(channel), PARTS)
    }

    /// Returns the key of a channel in the list of divided channels.
    pub(crate) fn divided_channel(&self, channel: &ChannelKey) -> Item {
        in_connections(DIVIDED, self.name(channel))
    }

    pub(crate) fn presence(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_connections(self.presence_partition(channel), format!("{USER}{user}"))
    }

    /// Returns the key of the subscriptions that listen to presence.
    pub(crate) fn listeners(&self, channel: &ChannelKey) -> Item {
        in_connections(self.presence_partition(channel), LISTENERS)
    }

    fn presence_partition(&self, channel: &ChannelKey) -> String {
        format!("present#{}", self.name(channel))
    }
}

/// Place of a subscription: its channel, and the part of the channel's subscriptions. The text is that of the channel's
/// key, followed by the number of any part but the first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Place {
    pub(crate) channel: ChannelKey,
    pub(crate) part: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            0 => write!(f, "{}", self.channel),
            part => write!(f, "{}{PART_SEPARATOR}{part}", self.channel),
        }
    }
}

impl FromStr for Place {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (channel, part) = match text.split_once(PART_SEPARATOR) {
            Some((channel, part)) => (channel, part.parse().map_err(|_| KeyError)?),
            None => (text, 0),
        };
        Ok(Self { channel: channel.parse()?, part })
    }
}

impl TryFrom<String> for Place {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

fn in_connections(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), s(partition)), ("sk".to_owned(), s(sort))])
}

fn connection_sk(id: &ConnectionId) -> String {
    format!("{CONNECTION}{id}")
}

/// Returns the key of a connection of any tenant.
pub(crate) fn connection(id: &ConnectionId) -> Item {
    in_connections(connection_sk(id), META)
}

/// Returns the partition of the connections whose token ends in the minute of `time`.
pub(crate) fn ends(time: Timestamp) -> String {
    format!("{ENDS}{}", time.minute())
}

/// Returns the key of a connection whose token ends in the minute of `time`.
pub(crate) fn end(time: Timestamp, id: &ConnectionId) -> Item {
    in_connections(ends(time), connection_sk(id))
}

/// Returns the key of the last minute that was processed.
pub(crate) fn ends_cursor() -> Item {
    in_connections(ENDS, "cursor")
}

/// Returns the partition of the list of divided channels, of all tenants.
pub(crate) fn divided_channels() -> &'static str {
    DIVIDED
}

pub(crate) fn ticket(digest: &TicketDigest) -> Item {
    in_connections(format!("ticket#{digest}"), META)
}

/// Returns the first sort key of the subscriptions in an audience's partition. The gate sorts before it.
pub(crate) fn first_subscription() -> &'static str {
    CONNECTION
}

/// An item of an audience's partition, by its sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AudienceSort {
    /// The gate.
    Gate,
    /// The number of parts.
    Parts,
    /// A user whose subscriptions the gate refuses.
    Blocked(UserId),
    /// A subscription.
    Subscription(ConnectionId),
}

impl AudienceSort {
    pub(crate) fn read(sk: &str) -> Result<Self, KeyError> {
        if sk == GATE {
            return Ok(Self::Gate);
        }
        if sk == PARTS {
            return Ok(Self::Parts);
        }
        if let Some(user) = sk.strip_prefix(BLOCKED) {
            return Ok(Self::Blocked(user.parse().map_err(|_| KeyError)?));
        }
        connection_of(sk).map(Self::Subscription)
    }
}

/// An item of the partition of a channel's presence, by its sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PresenceSort {
    /// The subscriptions that listen to presence.
    Listeners,
    /// A user that was announced.
    User(UserId),
}

impl PresenceSort {
    pub(crate) fn read(sk: &str) -> Result<Self, KeyError> {
        if sk == LISTENERS {
            return Ok(Self::Listeners);
        }
        sk.strip_prefix(USER).and_then(|user| user.parse().ok()).map(Self::User).ok_or(KeyError)
    }
}

/// Reads the connection in a sort key.
pub(crate) fn connection_of(sk: &str) -> Result<ConnectionId, KeyError> {
    sk.strip_prefix(CONNECTION).and_then(|id| id.parse().ok()).ok_or(KeyError)
}

/// Reads the connection in the partition key of a connection. Returns `None` if the partition contains other items.
pub(crate) fn of_connection(pk: &str) -> Option<ConnectionId> {
    connection_of(pk).ok()
}

/// Reads the channel of a subscription from its partition and sort key. Returns `None` if the item is not a
/// subscription.
pub(crate) fn subscribed(pk: &str, sk: &str) -> Option<(Option<TenantId>, ChannelKey)> {
    connection_of(sk).ok()?;
    channel_key(channel_of_part(pk)?).ok()
}

/// Returns the text of the channel's key in the partition of a part of its subscriptions.
pub(super) fn channel_of_part(pk: &str) -> Option<&str> {
    let name = pk.strip_prefix(SUBSCRIPTIONS)?;
    Some(name.split_once(PART_SEPARATOR).map_or(name, |(name, _)| name))
}
