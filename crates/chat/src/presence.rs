//! Who is there: users with a live connection that receives a channel.
//!
//! The truth is the subscriptions; [`PresenceStore`] remembers what subscribers have been told, so that of a user's
//! many sockets only the first and the last are news. Changes come in batches (the stream of the connections, with a
//! window), so that a page that is reloaded is no news at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use crate::{
    access::{authorize_read, require_still_readable},
    channel::ChannelStore,
    clock::{Clock, Timestamp},
    connection::{ConnectionStore, Subscription},
    delivery::SocketPusher,
    error::{Result, StoreError},
    id::{ChannelId, UserId},
    incarnation::ChannelKey,
    limits::{HANDSHAKE_DURATION, PRESENCE_PROBES, PUSHES_AT_ONCE},
};

/// A user who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Present {
    /// The user.
    pub user_id: UserId,
    /// Since when the longest of the user's connections has been there.
    pub since: Timestamp,
}

/// Something that subscribers are told and that is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passing {
    /// A user is there.
    Joined(UserId),
    /// A user has gone.
    Left(UserId),
    /// A user is typing.
    Typing(UserId),
}

impl Passing {
    /// Whom it is about.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::Joined(user) | Self::Left(user) | Self::Typing(user) => user,
        }
    }
}

/// What subscribers know of a channel's presence.
pub trait PresenceStore: Send + Sync {
    /// Notes that a user is there. `false`: that was known.
    fn note_joined(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that a user has gone. `false`: that was known.
    fn note_left(&self, channel: &ChannelKey, user: &UserId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Who is in a channel that `caller` may see. Up to [`PRESENCE_PROBES`] sockets are asked after: those that have
/// vanished without a `$disconnect` are forgotten on the way.
///
/// # Errors
/// [`crate::error::ChatError::ChannelNotFound`], [`crate::error::ChatError::Store`].
pub async fn presence(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    sockets: &impl SocketPusher,
    clock: &impl Clock,
    channel: &ChannelId,
    caller: &UserId,
) -> Result<Vec<Present>> {
    let key = authorize_read(channels, channel, caller).await?.key();
    let now = clock.now();
    let mut subscriptions = connections.audience(&key, now).await?.admitted();
    let probed = subscriptions.split_off(subscriptions.len().saturating_sub(PRESENCE_PROBES));
    let alive: Vec<Option<Subscription>> = futures::stream::iter(probed)
        .map(async |subscription| {
            // A socket that cannot be asked after counts as there; before its handshake is through it looks like one that
            // has vanished.
            let is_new = now < subscription.connected_at.plus(HANDSHAKE_DURATION);
            if is_new || sockets.is_open(&subscription.connection_id).await.unwrap_or(true) {
                return Ok(Some(subscription));
            }
            connections.close(&subscription.connection_id, subscription.connected_at).await?;
            Ok::<_, StoreError>(None)
        })
        .buffer_unordered(PUSHES_AT_ONCE)
        .try_collect()
        .await?;
    require_still_readable(channels, &key, caller).await?;
    let mut since: BTreeMap<UserId, Timestamp> = BTreeMap::new();
    for subscription in subscriptions.into_iter().chain(alive.into_iter().flatten()) {
        let first = since.entry(subscription.user_id).or_insert(subscription.connected_at);
        *first = subscription.connected_at.min(*first);
    }
    Ok(since.into_iter().map(|(user_id, since)| Present { user_id, since }).collect())
}

/// What is news of `users`, whose connections have come or gone, to the subscribers of a channel. Nothing in a channel
/// of more than `most` subscriptions.
///
/// # Errors
/// When the subscriptions cannot be read, or what is known cannot be noted.
pub async fn news(
    connections: &impl ConnectionStore,
    known: &impl PresenceStore,
    clock: &impl Clock,
    channel: &ChannelKey,
    users: BTreeSet<UserId>,
    most: usize,
) -> Result<Vec<Passing>, StoreError> {
    let now = clock.now();
    let subscriptions = connections.audience(channel, now).await?.admitted();
    if subscriptions.len() > most {
        return Ok(Vec::new());
    }
    let mut news = Vec::new();
    for user in users {
        if subscriptions.iter().any(|subscription| subscription.user_id == user) {
            if known.note_joined(channel, &user, now).await? {
                news.push(Passing::Joined(user));
            }
        } else if known.note_left(channel, &user).await? {
            news.push(Passing::Left(user));
        }
    }
    Ok(news)
}
