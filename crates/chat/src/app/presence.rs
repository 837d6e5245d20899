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
        limits::{EPHEMERAL_PUSHES, PRESENCE_PROBES, PUSH_CONCURRENCY, TYPING_BUCKET},
        push_report::PushReport,
        time::Timestamp,
        token_bucket::{Bucket, Quota},
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

/// Sends the ephemeral event `typing` of a user to the audience of a channel. Returns the state of the bucket with
/// fewer tokens.
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
    delivery.deliver_ephemeral(&channel, &[EphemeralEvent::Typing(user.clone())], EPHEMERAL_PUSHES).await?;
    Ok(if here.left <= anywhere.left { here } else { anywhere })
}

/// Page of the users that are present in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresencePage {
    /// The users, in the order of their ids.
    pub users: Vec<Present>,
    /// User after which the next page begins, if there is more.
    pub next_after: Option<UserId>,
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
    /// Returns up to `limit` users that are present in a channel that `caller` may see, after the id `after`. Asks the
    /// gateway about up to [`PRESENCE_PROBES`] sockets of these users, and removes connections whose sockets vanished
    /// without a `$disconnect`. Users without another socket are then left out, so a page may have fewer users.
    ///
    /// # Errors
    /// [`crate::model::error::ChatError::ChannelNotFound`], [`crate::model::error::ChatError::Store`].
    pub async fn list(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        after: Option<&UserId>,
        limit: u16,
    ) -> Result<PresencePage> {
        let Self { channels, connections, sockets, clock } = *self;
        let key = authorize_read(channels, channel, caller).await?.key();
        let now = clock.now();
        let (mut subscriptions, next_after) = page(connections.audience(&key, now).await?.admitted(), after, limit);
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
        let users = since.into_iter().map(|(user_id, since)| Present { user_id, since }).collect();
        Ok(PresencePage { users, next_after })
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

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore + PresenceStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Announces `users`, whose connections were opened or closed, to the audience of a channel. Pushes from here to up
    /// to `threshold` sockets. Returns the number of events, and the result of the pushes.
    ///
    /// A channel with more than `most` subscriptions announces no further users. Users that were announced earlier are
    /// withdrawn there too, so that no client shows them for ever. A withdrawal is recorded after it is sent. If that
    /// fails, the repeated call sends it again.
    ///
    /// # Errors
    /// When a store fails or a dispatch fails: the users have to be announced again.
    pub async fn announce_presence(
        &self,
        channel: &ChannelKey,
        users: BTreeSet<UserId>,
        most: usize,
        threshold: usize,
    ) -> Result<(usize, PushReport), StoreError> {
        let events = self.presence_events(channel, users, most).await?;
        let report = self.deliver_ephemeral(channel, &events, threshold).await?;
        for event in &events {
            if let EphemeralEvent::Left(user) = event {
                self.connections.mark_offline(channel, user).await?;
            }
        }
        Ok((events.len(), report))
    }

    /// Returns the presence events for `users`, whose connections were opened or closed. Records the users that join.
    /// A deleted channel has no events.
    async fn presence_events(
        &self,
        channel: &ChannelKey,
        mut users: BTreeSet<UserId>,
        most: usize,
    ) -> Result<Vec<EphemeralEvent>, StoreError> {
        let now = self.clock.now();
        // One subscription more than `most` shows that there are too many.
        let mut audience = self.connections.audience_up_to(channel, most.saturating_add(1), now).await?;
        if audience.gate.closed {
            return Ok(Vec::new());
        }
        if audience.subscriptions.len() > most {
            users = self.announced(channel, users).await?;
            if users.is_empty() {
                return Ok(Vec::new());
            }
            // Another socket of an announced user may be anywhere in the audience.
            audience = self.connections.audience(channel, now).await?;
        }
        let subscriptions = audience.admitted();
        let mut events = Vec::new();
        for user in users {
            if subscriptions.iter().any(|subscription| subscription.user_id == user) {
                // For an announced user, this extends the record.
                if self.connections.mark_online(channel, &user, now).await? {
                    events.push(EphemeralEvent::Joined(user));
                }
            } else if self.connections.is_online(channel, &user).await? {
                events.push(EphemeralEvent::Left(user));
            }
        }
        Ok(events)
    }

    /// Returns those of `users` that were announced to a channel.
    async fn announced(&self, channel: &ChannelKey, users: BTreeSet<UserId>) -> Result<BTreeSet<UserId>, StoreError> {
        let mut announced = BTreeSet::new();
        for user in users {
            if self.connections.is_online(channel, &user).await? {
                announced.insert(user);
            }
        }
        Ok(announced)
    }
}

#[cfg(test)]
mod tests;
