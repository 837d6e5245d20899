//! Announcements of users that come to a channel and go.
//!
//! A channel with few subscriptions announces each change to all of them. Those that get an arrival are recorded before
//! it is sent: they are the channel's *listeners*. A channel that has grown announces no arrivals. Departures of
//! users that were announced go to the listeners, so the cost is bounded by the audience that was there then.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, TryStreamExt, future::try_join_all};

use crate::{
    app::delivery::Delivery,
    model::{
        connection::{Audience, Connection, ConnectionKey, Gate, Subscription},
        error::StoreError,
        event::EphemeralEvent,
        id::UserId,
        incarnation::{ChannelKey, Incarnation},
        limits::{ARRIVAL_PUSHES, CHANGE_ATTEMPTS, PUSH_CONCURRENCY},
        push_report::PushReport,
        time::Timestamp,
    },
    ports::{
        clock::{CHANGE_BACKOFF, Clock},
        connection_store::ConnectionStore,
        fan_out::FanOut,
        presence_store::{Announced, PresenceStore},
        socket_gateway::SocketGateway,
    },
};

/// Number of events, and the result of their pushes.
type Announcement = (usize, PushReport);

/// One reading of a channel: its announced presence, and then its audience.
struct Seen {
    announced: Announced,
    /// Gate, and up to one subscription more than the maximum.
    audience: Audience,
    /// Time of [`Clock::monotonic`] when the read of the audience began.
    began: Duration,
    now: Timestamp,
}

/// User that went, with the mark of the record of the arrival.
type Gone = (UserId, Incarnation);

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore + PresenceStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Announces `users`, whose connections were opened or closed, to the audience of a channel. Pushes from here to up
    /// to `threshold` sockets. Returns the number of events, and the result of the pushes. Reads at most `most`
    /// subscriptions and one.
    ///
    /// A channel with more than `most` subscriptions announces no further users. Users that were announced earlier are
    /// withdrawn there too, from the sockets that got an arrival. A withdrawal is recorded after it is sent. If
    /// that fails, the repeated call sends it again.
    ///
    /// Of many users that come at once, only so many are announced that it takes [`ARRIVAL_PUSHES`]. The others are not
    /// withdrawn either.
    ///
    /// # Errors
    /// When a store fails or a dispatch fails: the users have to be announced again.
    pub async fn announce_presence(
        &self,
        channel: &ChannelKey,
        users: BTreeSet<UserId>,
        most: usize,
        threshold: usize,
    ) -> Result<Announcement, StoreError> {
        for attempt in 0..CHANGE_ATTEMPTS {
            let announced = self.connections.announced(channel, &users).await?;
            let (began, now) = (self.clock.monotonic(), self.clock.now());
            // One subscription more than `most` shows that there are too many.
            let audience = self.connections.audience_up_to(channel, most.saturating_add(1), now).await?;
            if audience.gate.closed {
                return Ok(Announcement::default());
            }
            let is_large = audience.subscriptions.len() > most;
            let seen = Seen { announced, audience, began, now };
            if is_large {
                return self.withdraw_from_listeners(channel, &users, seen, threshold).await;
            }
            if let Some(done) = self.announce_to_all(channel, users.clone(), seen, threshold).await? {
                return Ok(done);
            }
            CHANGE_BACKOFF.pause(self.clock, attempt).await;
        }
        let source = "the listeners changed during each attempt".into();
        Err(StoreError { operation: "announce presence", retryable: true, source })
    }

    /// Announces users to the whole audience. Returns `None` if another process has changed the listeners meanwhile:
    /// then nothing is announced.
    async fn announce_to_all(
        &self,
        channel: &ChannelKey,
        users: BTreeSet<UserId>,
        seen: Seen,
        threshold: usize,
    ) -> Result<Option<Announcement>, StoreError> {
        let Seen { announced, audience, began, now } = seen;
        let admitted = audience.clone().admitted();
        let (present, gone): (Vec<UserId>, Vec<UserId>) =
            users.into_iter().partition(|user| admitted.iter().any(|one| one.user_id == *user));
        let (known, new): (Vec<UserId>, Vec<UserId>) =
            present.into_iter().partition(|user| announced.marks.contains_key(user));
        let marked = |user: UserId| announced.marks.get(&user).map(|mark| (user.clone(), *mark));
        let gone: Vec<Gone> = gone.into_iter().filter_map(marked).collect();
        let affordable = (ARRIVAL_PUSHES / admitted.len().max(1)).max(1);
        let left_out = new.len().saturating_sub(affordable);
        if left_out > 0 {
            tracing::info!(channel_id = %channel.channel_id, left_out, "too many users came at once");
        }
        // Before the arrivals are sent: from then on their departures must reach the same sockets. Another socket of a
        // known user listens too.
        let has_arrivals = !new.is_empty() || !known.is_empty();
        if has_arrivals && admitted != announced.listeners {
            let mark = Incarnation::generate(self.clock.seed());
            let before = announced.listeners_mark;
            if !self.connections.set_listeners(channel, before, &admitted, mark, now).await? {
                return Ok(None);
            }
        }
        let mut events = Vec::new();
        for user in known.into_iter().chain(new.into_iter().take(affordable)) {
            let mark = Incarnation::generate(self.clock.seed());
            // For a user that is announced already, this extends the record.
            if self.connections.mark_online(channel, &user, mark, now).await? {
                events.push(EphemeralEvent::Joined(user));
            }
        }
        self.finish(channel, events, gone, audience, began, threshold).await.map(Some)
    }

    /// Withdraws users that were announced, and whose last subscription has ended, from the listeners. Forgets listeners
    /// that have gone.
    async fn withdraw_from_listeners(
        &self,
        channel: &ChannelKey,
        users: &BTreeSet<UserId>,
        seen: Seen,
        threshold: usize,
    ) -> Result<Announcement, StoreError> {
        let Seen { announced: Announced { marks, listeners, listeners_mark }, audience, began, now } = seen;
        let mut gone = Vec::new();
        let mut left = listeners.clone();
        for user in users {
            let mark = marks.get(user).copied();
            if mark.is_none() && !left.iter().any(|one| one.user_id == *user) {
                continue;
            }
            let open = self.subscribed(channel, user, now).await?;
            left.retain(|one| one.user_id != *user || open.contains(&one.connection));
            gone.extend(mark.filter(|_| open.is_empty()).map(|mark| (user.clone(), mark)));
        }
        if !gone.is_empty() {
            left = self.renewed(channel, left, now).await?;
        }
        let told = Audience { gate: audience.gate, subscriptions: left.clone() };
        let done = self.finish(channel, Vec::new(), gone, told, began, threshold).await?;
        if left != listeners {
            let mark = Incarnation::generate(self.clock.seed());
            // If another process has changed the listeners, its list is as recent.
            self.connections.set_listeners(channel, listeners_mark, &left, mark, now).await?;
        }
        Ok(done)
    }

    /// Sends the events of users that came and that went to the admitted subscriptions of `told`, and then records those
    /// that went.
    async fn finish(
        &self,
        channel: &ChannelKey,
        mut events: Vec<EphemeralEvent>,
        gone: Vec<Gone>,
        told: Audience,
        began: Duration,
        threshold: usize,
    ) -> Result<Announcement, StoreError> {
        events.extend(gone.iter().map(|(user, _)| EphemeralEvent::Left(user.clone())));
        let mut report = self.deliver_to_audience(channel, &events, told.clone(), began, threshold).await?;
        let mut back = Vec::new();
        for (user, mark) in gone {
            if !self.connections.mark_offline(channel, &user, mark).await? {
                // Another process has found a new socket of the user, and a record. It has sent nothing.
                back.push(EphemeralEvent::Joined(user));
            }
        }
        if !back.is_empty() {
            let (began, now) = (self.clock.monotonic(), self.clock.now());
            let gate: Gate = self.connections.gate(channel, now).await?;
            let told = Audience { gate, ..told };
            report += self.deliver_to_audience(channel, &back, told, began, threshold).await?;
        }
        Ok((events.len() + back.len(), report))
    }

    /// Returns the listeners that still may receive the channel. A listener whose token was renewed since gets the new
    /// time.
    async fn renewed(
        &self,
        channel: &ChannelKey,
        listeners: Vec<Subscription>,
        now: Timestamp,
    ) -> Result<Vec<Subscription>, StoreError> {
        let renewed = futures::stream::iter(listeners).map(async |one| {
            if now < one.expires_at {
                return Ok(Some(one));
            }
            let found = self.connections.connection(&one.connection.id).await?;
            let is_current = |found: &Connection| {
                found.key == one.connection && now < found.expires_at && found.channels.contains(channel)
            };
            let found = found.filter(is_current);
            Ok::<_, StoreError>(found.map(|found| Subscription { expires_at: found.expires_at, ..one }))
        });
        let renewed: Vec<Option<Subscription>> = renewed.buffered(PUSH_CONCURRENCY).try_collect().await?;
        Ok(renewed.into_iter().flatten().collect())
    }

    /// Returns the connections of a user that receive a channel.
    async fn subscribed(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Vec<ConnectionKey>, StoreError> {
        let connections = self.connections.connections_of(user, now).await?;
        let subscribed = connections.into_iter().map(async |connection| {
            let is_subscribed = self.connections.is_subscribed(channel, &connection.key).await?;
            Ok::<_, StoreError>(is_subscribed.then_some(connection.key))
        });
        Ok(try_join_all(subscribed).await?.into_iter().flatten().collect())
    }
}
