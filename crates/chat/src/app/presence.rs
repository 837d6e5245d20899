//! Presence: the users with a live connection that receives a channel.
//!
//! Subscriptions are the source of truth. [`PresenceStore`] records what was announced to subscribers. Only a user's
//! first and last socket produce an event. Changes come in batches, through the stream of the connections with a batch
//! window, so a page reload produces no event.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use crate::{
    app::{
        access::{authorize_read, require_still_readable},
        delivery::Delivery,
        rate_limit::check_rate_limit,
    },
    model::{
        connection::Subscription,
        error::{Result, StoreError},
        event::{EphemeralEvent, Present},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        limits::{PRESENCE_PROBES, PUSH_CONCURRENCY, TYPING_BUCKET, TYPING_PUSHES},
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
        fan_out::FanOut,
        presence_store::PresenceStore,
        rate_limiter::{LimitedAction, RateLimiter},
        socket_gateway::{HANDSHAKE_DURATION, SocketGateway},
    },
};

/// Sends the ephemeral event `typing` of a user to the audience of a channel.
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
) -> Result<()>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    check_rate_limit(channels, delivery.clock, user, &LimitedAction::TypeAnywhere, bucket).await?;
    let access = authorize_read(channels, channel, user).await?;
    access.require_open()?;
    let channel = access.key();
    check_rate_limit(channels, delivery.clock, user, &LimitedAction::Typing(&channel), TYPING_BUCKET).await?;
    delivery.deliver_ephemeral(&channel, &[EphemeralEvent::Typing(user.clone())], TYPING_PUSHES).await?;
    Ok(())
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
    /// Time.
    pub clock: &'a Time,
}

impl<Channels, Connections, Sockets, Time> Presence<'_, Channels, Connections, Sockets, Time>
where
    Channels: ChannelStore,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Time: Clock,
{
    /// Returns the users that are present in a channel that `caller` may see. Asks the gateway about up to
    /// [`PRESENCE_PROBES`] sockets, and removes connections whose sockets vanished without a `$disconnect`.
    ///
    /// # Errors
    /// [`crate::model::error::ChatError::ChannelNotFound`], [`crate::model::error::ChatError::Store`].
    pub async fn list(&self, channel: &ChannelId, caller: &UserId) -> Result<Vec<Present>> {
        let Self { channels, connections, sockets, clock } = *self;
        let key = authorize_read(channels, channel, caller).await?.key();
        let now = clock.now();
        let mut subscriptions = connections.audience(&key, now).await?.admitted();
        let probed = subscriptions.split_off(subscriptions.len().saturating_sub(PRESENCE_PROBES));
        let alive: Vec<Option<Subscription>> = futures::stream::iter(probed)
            .map(async |subscription| {
                // If the gateway fails, the socket counts as present. Before the end of its handshake a socket looks
                // like a vanished one.
                let is_new = now < subscription.connection.connected_at.plus(HANDSHAKE_DURATION);
                if is_new || sockets.is_open(&subscription.connection.id).await.unwrap_or(true) {
                    return Ok(Some(subscription));
                }
                connections.close(&subscription.connection).await?;
                Ok::<_, StoreError>(None)
            })
            .buffer_unordered(PUSH_CONCURRENCY)
            .try_collect()
            .await?;
        require_still_readable(channels, &key, caller).await?;
        let mut since: BTreeMap<UserId, Timestamp> = BTreeMap::new();
        for subscription in subscriptions.into_iter().chain(alive.into_iter().flatten()) {
            let first = since.entry(subscription.user_id).or_insert(subscription.connection.connected_at);
            *first = subscription.connection.connected_at.min(*first);
        }
        Ok(since.into_iter().map(|(user_id, since)| Present { user_id, since }).collect())
    }
}

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore + PresenceStore,
    Time: Clock,
{
    /// Returns the presence events for `users`, whose connections were opened or closed. Returns none for a channel
    /// with more than `most` subscriptions, and none for a deleted channel.
    ///
    /// # Errors
    /// When a store cannot read the subscriptions or record the announcement.
    pub async fn presence_events(
        &self,
        channel: &ChannelKey,
        users: BTreeSet<UserId>,
        most: usize,
    ) -> Result<Vec<EphemeralEvent>, StoreError> {
        let now = self.clock.now();
        // One subscription more than `most` shows that there are too many.
        let audience = self.connections.audience_up_to(channel, most + 1, now).await?;
        if audience.gate.closed || audience.subscriptions.len() > most {
            return Ok(Vec::new());
        }
        let subscriptions = audience.admitted();
        let mut news = Vec::new();
        for user in users {
            if subscriptions.iter().any(|subscription| subscription.user_id == user) {
                if self.connections.mark_online(channel, &user, now).await? {
                    news.push(EphemeralEvent::Joined(user));
                }
            } else if self.connections.mark_offline(channel, &user).await? {
                news.push(EphemeralEvent::Left(user));
            }
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            channel::Visibility,
            connection::{Connection, ConnectionKey, UserConnection},
            id::ConnectionId,
        },
        ports::socket_gateway::Pushed,
        testing::{TestClock, TestStore, key},
    };

    /// A gateway at which no socket is open.
    struct NothingOpen;

    impl SocketGateway for NothingOpen {
        async fn push(&self, _: &ConnectionId, _: &str) -> Result<Pushed, StoreError> {
            unreachable!("listing presence pushes nothing")
        }

        async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            Ok(false)
        }

        async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("listing presence closes no socket")
        }
    }

    #[tokio::test]
    async fn a_socket_in_its_handshake_is_there_and_one_that_has_vanished_is_forgotten() {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
        let clock = TestClock::new(1);
        for (id, user, age) in [("old=", "bob", HANDSHAKE_DURATION), ("new=", "carol", HANDSHAKE_DURATION / 2)] {
            let connected_at =
                Timestamp::from_millis(clock.now().as_millis() - i64::try_from(age.as_millis()).unwrap());
            let ends_at = clock.now().plus(HANDSHAKE_DURATION);
            let connection = Connection {
                key: ConnectionKey { id: id.parse().unwrap(), connected_at },
                user_id: user.parse().unwrap(),
                channels: vec![key("c")],
                auto_subscribe: false,
                allowed_channels: None,
                left_out: 0,
                token_expires_at: ends_at,
                expires_at: ends_at,
            };
            store.register_pending(&connection.user_id, &UserConnection::from(&connection)).await.unwrap();
            store.activate(&connection, &[].into()).await.unwrap();
        }
        let (channel, caller) = ("c".parse().unwrap(), "dora".parse().unwrap());
        let presence = Presence { channels: &store, connections: &store, sockets: &NothingOpen, clock: &clock };
        let there = presence.list(&channel, &caller).await.unwrap();
        assert_eq!(there.iter().map(|one| one.user_id.as_str()).collect::<Vec<_>>(), ["carol"]);
        for (id, is_kept) in [("old=", false), ("new=", true)] {
            assert_eq!(store.connection(&id.parse().unwrap()).await.unwrap().is_some(), is_kept, "{id}");
        }
    }
}
