//! Presence: the users with a live connection that receives a channel.
//!
//! Subscriptions are the source of truth. [`PresenceStore`](crate::ports::presence_store::PresenceStore) records what
//! was announced to which subscribers. Only a user's first and last socket produce an event. Changes come in batches,
//! through the stream of the connections with a batch window, so a page reload produces no event.
//!
//! | file | content |
//! | --- | --- |
//! | `presence.rs` | typing, and the list of present users |
//! | `announce.rs` | announcements of users that come and go |

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use futures::{StreamExt, TryStreamExt};

use crate::{
    app::{
        access::{authorize_read, require_still_readable},
        delivery::Delivery,
        rate_limit::check_rate_limit,
    },
    model::{
        connection::{Audience, Subscription},
        error::{Result, StoreError},
        event::{EphemeralEvent, Present},
        id::{ChannelId, UserId},
        incarnation::{ChannelKey, KeyError},
        limits::{EPHEMERAL_PUSHES, PRESENCE_PROBES, PUSH_CONCURRENCY, TYPING_BUCKET},
        parts::AudienceCursor,
        time::Timestamp,
        token_bucket::{Bucket, Quota},
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
        fan_out::FanOut,
        rate_limiter::{LimitedAction, RateLimiter},
        socket_gateway::{SILENCE_DURATION, SocketGateway},
    },
};

mod announce;

/// Sends the ephemeral event `typing` of a user to the audience of a channel, if this has at most `most` sockets. Returns
/// the state of the bucket with fewer tokens.
///
/// The first rate limit, of `bucket`, holds over all channels and is checked before the channel is read: a request for a
/// channel that the user may not see costs a token too.
///
/// # Errors
/// [`crate::model::error::ChatError::TooManyRequests`], [`crate::model::error::ChatError::ChannelNotFound`],
/// [`crate::model::error::ChatError::ChannelArchived`], [`crate::model::error::ChatError::Store`].
pub async fn send_typing<Connections, Sockets, Fan, Time>(
    channels: &(impl ChannelStore + RateLimiter),
    delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
    channel: &ChannelId,
    user: &UserId,
    bucket: Bucket,
    most: usize,
) -> Result<Quota>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    let anywhere = check_rate_limit(channels, delivery.clock, user, &LimitedAction::TypeAnywhere, bucket).await?;
    let access = authorize_read(channels, channel, user).await?;
    access.require_open()?;
    let channel = access.key();
    let here =
        check_rate_limit(channels, delivery.clock, user, &LimitedAction::Typing(&channel), TYPING_BUCKET).await?;
    // A larger audience costs no push. The caller does not learn of it: the event may be lost anyway.
    delivery.deliver_to_few(&channel, &EphemeralEvent::Typing(user.clone()), most, EPHEMERAL_PUSHES).await?;
    Ok(if here.left <= anywhere.left { here } else { anywhere })
}

/// Place in a list of present users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresencePosition {
    /// After a user, in the order of users' ids.
    User(UserId),
    /// In the subscriptions of a large channel.
    Audience(AudienceCursor),
}

/// Precedes a place in the subscriptions in the text of a [`PresencePosition`]. No user's id contains it.
const OF_AUDIENCE: char = '#';

impl fmt::Display for PresencePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "{user}"),
            Self::Audience(cursor) => write!(f, "{OF_AUDIENCE}{cursor}"),
        }
    }
}

impl FromStr for PresencePosition {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.strip_prefix(OF_AUDIENCE) {
            Some(cursor) => cursor.parse().map(Self::Audience),
            None => text.parse().map(Self::User).map_err(|_| KeyError),
        }
    }
}

/// Page of the users that are present in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresencePage {
    /// The users, in the order of their ids. In a large channel, each page has an order of its own.
    pub users: Vec<Present>,
    /// Place at which the next page begins, if there is more.
    pub next_after: Option<PresencePosition>,
}

/// Presence in channels, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Presence<'a, Channels, Connections, Sockets, Time> {
    /// Channels and members.
    pub channels: &'a Channels,
    /// Connections and subscriptions.
    pub connections: &'a Connections,
    /// Sockets.
    pub sockets: &'a Sockets,
    /// Time and random numbers.
    pub clock: &'a Time,
}

/// Subscriptions of a page, and the place at which the next page begins.
type Subscriptions = (Vec<Subscription>, Option<PresencePosition>);

impl<Channels, Connections, Sockets, Time> Presence<'_, Channels, Connections, Sockets, Time>
where
    Channels: ChannelStore,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Time: Clock,
{
    /// Returns up to `limit` users that are present in a channel that `caller` may see, after the place `after`. In a
    /// channel with more than `most` subscriptions, a page has the users of up to `limit` subscriptions. A user with
    /// several sockets may be on several pages there.
    ///
    /// The store knows the open sockets: `$disconnect` and failed pushes remove the others. Only if both fail does a
    /// vanished socket remain, until its token ends. So each call asks the gateway about at most [`PRESENCE_PROBES`]
    /// sockets, chosen at random from those older than [`SILENCE_DURATION`], and removes those that vanished. Users
    /// without another socket are then left out, so a page may have fewer users.
    ///
    /// # Errors
    /// [`crate::model::error::ChatError::ChannelNotFound`], [`crate::model::error::ChatError::Store`].
    pub async fn list(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        after: Option<&PresencePosition>,
        limit: u16,
        most: usize,
    ) -> Result<PresencePage> {
        let key = authorize_read(self.channels, channel, caller).await?.key();
        let now = self.clock.now();
        let (subscriptions, next_after) = self.subscriptions(&key, after, limit, most, now).await?;
        let alive = self.without_vanished(subscriptions, now).await?;
        require_still_readable(self.channels, &key, caller).await?;
        let mut since: BTreeMap<UserId, Timestamp> = BTreeMap::new();
        for subscription in alive {
            let first = since.entry(subscription.user_id).or_insert(subscription.connection.connected_at);
            *first = subscription.connection.connected_at.min(*first);
        }
        let users = since.into_iter().map(|(user_id, since)| Present { user_id, since }).collect();
        Ok(PresencePage { users, next_after })
    }

    /// Returns the subscriptions of a page. Reads at most `most` subscriptions and one, or `limit` of a larger channel.
    async fn subscriptions(
        &self,
        key: &ChannelKey,
        after: Option<&PresencePosition>,
        limit: u16,
        most: usize,
        now: Timestamp,
    ) -> Result<Subscriptions> {
        let connections = self.connections;
        let cursor = match after {
            Some(PresencePosition::Audience(cursor)) => Some(cursor),
            Some(PresencePosition::User(_)) | None => {
                // One subscription more than `most` shows that there are too many.
                let audience = connections.audience_up_to(key, most.saturating_add(1), now).await?;
                if audience.subscriptions.len() <= most {
                    let user = match after {
                        Some(PresencePosition::User(user)) => Some(user),
                        _ => None,
                    };
                    let (page, last) = page(audience.admitted(), user, limit);
                    return Ok((page, last.map(PresencePosition::User)));
                }
                // A channel that has grown since the page before is listed from its beginning.
                None
            }
        };
        let gate = connections.gate(key, now).await?;
        let page = connections.subscriptions_page(key, cursor, limit, now).await?;
        let admitted = Audience { gate, subscriptions: page.subscriptions }.admitted();
        Ok((admitted, page.next_after.map(PresencePosition::Audience)))
    }

    /// Asks the gateway about some of the subscriptions. Returns those whose sockets may be open, and removes the
    /// connections of the others.
    async fn without_vanished(&self, subscriptions: Vec<Subscription>, now: Timestamp) -> Result<Vec<Subscription>> {
        let Self { connections, sockets, clock, .. } = *self;
        // A younger connection has been seen open by the gateway, which would have ended a silent one.
        let is_old = |one: &Subscription| now >= one.connection.connected_at.plus(SILENCE_DURATION);
        let (mut old, mut alive): (Vec<_>, Vec<_>) = subscriptions.into_iter().partition(is_old);
        if old.len() > PRESENCE_PROBES {
            // Each call begins elsewhere, so that a few calls reach all.
            let count = u128::try_from(old.len()).unwrap_or(1);
            old.rotate_left(usize::try_from(clock.random() % count).unwrap_or_default());
            alive.extend(old.split_off(PRESENCE_PROBES));
        }
        let probed: Vec<Option<Subscription>> = futures::stream::iter(old)
            .map(async |subscription| {
                // If the gateway fails, the socket counts as present.
                if sockets.is_open(&subscription.connection.id).await.unwrap_or(true) {
                    return Ok(Some(subscription));
                }
                connections.close(&subscription.connection).await?;
                Ok::<_, StoreError>(None)
            })
            .buffer_unordered(PUSH_CONCURRENCY)
            .try_collect()
            .await?;
        alive.extend(probed.into_iter().flatten());
        Ok(alive)
    }
}

/// Returns the subscriptions of the first `limit` users after the id `after`, and the last of these users if there are
/// more.
fn page(all: Vec<Subscription>, after: Option<&UserId>, limit: u16) -> (Vec<Subscription>, Option<UserId>) {
    let is_after = |one: &Subscription| after.is_none_or(|after| one.user_id > *after);
    let users: BTreeSet<&UserId> = all.iter().filter(|one| is_after(one)).map(|one| &one.user_id).collect();
    let more = users.len() > usize::from(limit);
    let last = users.into_iter().take(usize::from(limit)).next_back().cloned();
    let is_on_page = |one: &Subscription| is_after(one) && last.as_ref().is_some_and(|last| one.user_id <= *last);
    let page = all.into_iter().filter(is_on_page).collect();
    (page, last.filter(|_| more))
}

#[cfg(test)]
mod tests;
