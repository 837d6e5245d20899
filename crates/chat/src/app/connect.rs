//! `$connect` and token renewal: the channels that a connection may receive.
//!
//! A connection that names its channels keeps them. One that names none subscribes to its user's memberships:
//! [`membership`](crate::app::membership) adds the channels that the user joins later.
//!
//! `$connect` makes as few round trips as its rules allow:
//!
//! | round trip | calls side by side | they need |
//! | --- | --- | --- |
//! | 1 | the token of the rate limit; the pending connection; channels that are asked for by id | – |
//! | 2 | the number of the user's connections; the memberships | the pending connection |
//! | 3 | the opened connection; its subscriptions | the memberships, the number, the token |
//! | 4, with channels by id only | the channels; memberships in private ones | the subscriptions |
//!
//! The token may take two requests, so only the third round trip waits for it. A refusal removes the pending
//! connection. A request that is refused for its form stores nothing.
//!
//! Memberships may change during `$connect`. A connection is pending before the memberships are read:
//!
//! - A function that begins a membership after that subscribes the pending connection.
//! - A function that ends a membership after that finds the connection, waits for its socket to close it, and removes
//!   the subscription. It waits for [`OPENING_SOCKET_DURATION`] at most. A slower `$connect` reads the memberships again
//!   after its subscriptions are stored, and adjusts these.
//!
//! A channel that is made private or deleted meanwhile ends the subscriptions that it has. So `$connect` reads channels
//! that it was asked for by id again, after it has stored the subscriptions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::{join, try_join};

use crate::{
    app::{membership::subscribe_member, rate_limit::check_rate_limit},
    model::{
        access::Access,
        channel::{Channel, Memberships, Visibility},
        connection::{Connection, ConnectionKey, UserConnection},
        error::{ChatError, Result},
        id::{ChannelId, ConnectionId, UserId},
        incarnation::ChannelKey,
        limits::{CHANGE_ATTEMPTS, CHANNELS_PER_CONNECTION, OPENING_SOCKET_DURATION},
        time::Timestamp,
        token_bucket::Bucket,
        validation::Violation,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
        rate_limiter::{LimitedAction, RateLimiter},
        socket_gateway::{CONNECTION_DURATION, HANDSHAKE_DURATION, SocketGateway},
    },
};

/// Channels that a connection asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All channels that the user is a member of, including later ones.
    Memberships,
    /// Channels by their ids.
    Channels(Vec<ChannelId>),
    /// Channels as a ticket names them. If an id was reused since, it names another channel.
    Keys(Vec<ChannelKey>),
}

impl Asked {
    /// Returns the channels of a request, which may name some.
    #[must_use]
    pub fn of_request(named: Option<Vec<ChannelId>>) -> Self {
        named.map_or(Self::Memberships, Self::Channels)
    }

    /// Returns the channels of a ticket, which may contain some.
    #[must_use]
    pub fn of_ticket(channels: Option<Vec<ChannelKey>>) -> Self {
        channels.map_or(Self::Memberships, Self::Keys)
    }
}

/// A request for a connection, from a user whose token has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// API Gateway's id of the connection.
    pub connection_id: ConnectionId,
    /// User of the connection.
    pub user_id: UserId,
    /// Expiry of the token.
    pub token_expires_at: Timestamp,
    /// The channels asked for.
    pub asked: Asked,
    /// Channels that the token is restricted to.
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
}

/// Limits of the connections of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectLimits {
    /// Rate of new connections.
    pub bucket: Bucket,
    /// Maximum number of connections, including the new one.
    pub connections: usize,
}

/// Time after which a `$connect` reads the memberships again: see the module. The rest of
/// [`OPENING_SOCKET_DURATION`] is for the response.
const SLOW_OPENING: Duration = Duration::from_secs(1);
const _: () = assert!(SLOW_OPENING.as_millis() * 2 <= OPENING_SOCKET_DURATION.as_millis());

/// Channels that a request names, as they are before the memberships are read.
enum Found {
    /// It names none: all memberships.
    Memberships,
    /// The channels that a token is restricted to: the memberships among them. `left_out` of them are too many.
    Allowed { channels: Vec<Channel>, left_out: usize },
    /// The channels that it names. The user has to see them all.
    Named(Vec<Channel>),
}

/// Channels that a connection subscribes to, and those of them for which the user has a membership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Subscribed {
    channels: BTreeSet<ChannelKey>,
    by_membership: BTreeSet<ChannelKey>,
    /// The private ones among channels that were asked for by id.
    private: BTreeSet<ChannelKey>,
    left_out: usize,
}

impl Subscribed {
    fn of(found: &[Access]) -> Self {
        let members = found.iter().filter(|access| access.member.is_some());
        let private = found.iter().filter(|access| access.channel.visibility == Visibility::Private);
        let (by_membership, private) = (members.map(Access::key).collect(), private.map(Access::key).collect());
        Self { channels: found.iter().map(Access::key).collect(), by_membership, private, left_out: 0 }
    }

    fn of_memberships(memberships: Memberships) -> Self {
        let channels: BTreeSet<ChannelKey> = memberships.channels.into_iter().collect();
        let by_membership = channels.clone();
        Self { channels, by_membership, private: BTreeSet::new(), left_out: memberships.left_out }
    }
}

/// Token that replaces the token of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Connection to renew.
    pub connection_id: ConnectionId,
    /// User of the token.
    pub user_id: UserId,
    /// Expiry of the token.
    pub token_expires_at: Timestamp,
    /// Channels that the token is restricted to.
    pub limited_to: Option<BTreeSet<ChannelId>>,
}

/// Opener of connections, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Connector<'a, Channels, Connections, Sockets, Time> {
    /// Channels and members.
    pub channels: &'a Channels,
    /// Connections and subscriptions.
    pub connections: &'a Connections,
    /// Sockets.
    pub sockets: &'a Sockets,
    /// Time.
    pub clock: &'a Time,
}

impl<Channels, Connections, Sockets, Time> Connector<'_, Channels, Connections, Sockets, Time>
where
    Channels: ChannelStore,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Time: Clock,
{
    /// Stores a connection and its subscriptions, within the `limits` of its user. After this has returned, the
    /// connection misses no event of its channels.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`] when the user may not see one of the channels, [`ChatError::Invalid`] when there
    /// are too many, [`ChatError::TooManyRequests`], [`ChatError::TooManyConnections`],
    /// [`ChatError::ConnectionNotFound`] when another function has closed the connection meanwhile,
    /// [`ChatError::Store`]. Nothing remains stored in these cases, unless the store failed half-way. `$disconnect`, the
    /// next push or the expiry removes the rest.
    pub async fn connect(&self, connect: Connect, limits: ConnectLimits) -> Result<Connection>
    where
        Channels: RateLimiter,
    {
        let Self { channels, connections, clock, .. } = *self;
        let Connect { connection_id, user_id, token_expires_at, asked, allowed_channels } = connect;
        let now = clock.now();
        let mut connection = Connection {
            key: ConnectionKey { id: connection_id, connected_at: now },
            user_id,
            channels: Vec::new(),
            auto_subscribe: asked == Asked::Memberships,
            allowed_channels,
            left_out: 0,
            token_expires_at,
            expires_at: now.plus(CONNECTION_DURATION).min(token_expires_at),
        };
        let user = connection.user_id.clone();
        let action = LimitedAction::Connect;
        let token = check_rate_limit(channels, clock, &user, &action, limits.bucket);
        if let Err(refusal) = check_asked(&asked, connection.allowed_channels.as_ref()) {
            // The request takes a token all the same.
            token.await?;
            return Err(refusal);
        }
        let gathered = async {
            let limit = connection.allowed_channels.as_ref();
            // Registered first and counted after, so that concurrent connections all count each other.
            let (registered, found) = join(connections.register_pending(&connection), self.found(asked, limit)).await;
            registered?;
            let (found, began) = (found?, clock.monotonic());
            let room = self.require_room(&user, now, limits.connections);
            let (room, subscribed) = join(room, self.subscribed(&user, found)).await;
            room?;
            Ok::<_, ChatError>((subscribed?, began))
        };
        // On the heap: the compiler nests futures, and these are deep.
        let (token, gathered) = join(Box::pin(token), Box::pin(gathered)).await;
        let opened = match token.and(gathered) {
            Ok((subscribed, began)) => Box::pin(self.open(&mut connection, subscribed, began)).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = opened {
            connections.remove_pending(&user, &UserConnection::from(&connection)).await?;
            return Err(refusal);
        }
        Ok(connection)
    }

    /// Opens a pending connection. `began` is a time of [`Clock::monotonic`] before the memberships were read.
    async fn open(&self, connection: &mut Connection, subscribed: Subscribed, began: Duration) -> Result<()> {
        let Self { channels, connections, clock, .. } = *self;
        connection.channels = subscribed.channels.iter().cloned().collect();
        connection.left_out = subscribed.left_out;
        let opened = connections.activate(connection, &subscribed.by_membership).await?;
        connection.channels = opened.ok_or(ChatError::ConnectionNotFound)?;
        if !connection.auto_subscribe {
            return require_named(channels, connection, &subscribed).await;
        }
        // A function that began a membership has added its channel to those that were read.
        let is_overfull = connection.channels.len() > CHANNELS_PER_CONNECTION;
        if is_overfull || clock.monotonic().saturating_sub(began) > SLOW_OPENING {
            for ended in self.catch_up(connection).await? {
                connections.unsubscribe(&ended, &connection.key).await?;
            }
        }
        Ok(())
    }

    /// Requires that a user has at most `most` connections. Connections whose sockets vanished without a `$disconnect`
    /// do not count: the gateway is asked for them, and they are removed.
    async fn require_room(&self, user: &UserId, now: Timestamp, most: usize) -> Result<()> {
        let Self { connections, sockets, .. } = *self;
        let all = connections.connections_of(user, now).await?;
        if all.len() <= most {
            return Ok(());
        }
        // The gateway does not know a socket before the end of its handshake, so such a socket counts.
        let asked = all.iter().filter(|one| now >= one.key.connected_at.plus(HANDSHAKE_DURATION)).map(async |one| {
            if sockets.is_open(&one.key.id).await.unwrap_or(true) {
                return Ok(false);
            }
            if !connections.close(&one.key).await? {
                connections.remove_pending(user, one).await?;
            }
            Ok::<_, ChatError>(true)
        });
        let vanished = futures::future::try_join_all(asked).await?.into_iter().filter(|vanished| *vanished).count();
        if all.len() - vanished > most { Err(ChatError::TooManyConnections(most)) } else { Ok(()) }
    }

    /// Looks up the channels that a request names. Their keys are needed to read the memberships.
    async fn found(&self, asked: Asked, limit: Option<&BTreeSet<ChannelId>>) -> Result<Found> {
        match asked {
            Asked::Memberships => self.allowed(limit).await,
            Asked::Channels(asked) => named(self.channels, &distinct(asked)).await.map(Found::Named),
            Asked::Keys(asked) => {
                let ids = asked.iter().map(|key| key.channel_id.clone()).collect();
                let found = named(self.channels, &distinct(ids)).await?;
                // If an id was reused, it names another channel.
                let is_same = |key: &ChannelKey| found.iter().any(|channel| channel.key() == *key);
                if asked.iter().all(is_same) { Ok(Found::Named(found)) } else { Err(ChatError::ChannelNotFound) }
            }
        }
    }

    /// Returns the channels that a token is restricted to, up to [`CHANNELS_PER_CONNECTION`]. If it names more, those
    /// beyond count as left out, with a membership or without.
    async fn allowed(&self, limit: Option<&BTreeSet<ChannelId>>) -> Result<Found> {
        let Some(limit) = limit else { return Ok(Found::Memberships) };
        let ids: Vec<ChannelId> = limit.iter().take(CHANNELS_PER_CONNECTION).cloned().collect();
        let channels = self.channels.current_channels(&ids).await?;
        Ok(Found::Allowed { channels, left_out: limit.len() - ids.len() })
    }

    /// Returns the channels of a new connection: the requested ones, if the user may see them all, or the user's
    /// memberships.
    async fn subscribed(&self, user: &UserId, found: Found) -> Result<Subscribed> {
        match found {
            Found::Named(found) => Ok(Subscribed::of(&accesses(self.channels, found, user).await?)),
            found => self.memberships_among(user, found).await.map(Subscribed::of_memberships),
        }
    }

    /// Returns the user's memberships that a token allows, up to [`CHANNELS_PER_CONNECTION`].
    async fn memberships(&self, user: &UserId, limit: Option<&BTreeSet<ChannelId>>) -> Result<Memberships> {
        let found = self.allowed(limit).await?;
        self.memberships_among(user, found).await
    }

    async fn memberships_among(&self, user: &UserId, found: Found) -> Result<Memberships> {
        let Found::Allowed { channels, left_out } = found else {
            return Ok(self.channels.memberships(user, CHANNELS_PER_CONNECTION).await?);
        };
        let keys: Vec<ChannelKey> = channels.iter().map(Channel::key).collect();
        let members = self.channels.memberships_among(user, &keys).await?;
        let members: BTreeSet<ChannelId> = members.into_iter().map(|member| member.channel_id).collect();
        let channels = keys.into_iter().filter(|key| members.contains(&key.channel_id)).collect();
        Ok(Memberships { channels, left_out })
    }

    /// Subscribes to memberships that began since they were read. Returns those that have ended.
    async fn catch_up(&self, connection: &mut Connection) -> Result<Vec<ChannelKey>> {
        let Self { channels, connections, .. } = *self;
        let user = UserConnection::from(&*connection);
        let Memberships { channels: current, left_out } =
            self.memberships(&connection.user_id, connection.allowed_channels.as_ref()).await?;
        let current: BTreeSet<ChannelKey> = current.into_iter().collect();
        let had: BTreeSet<ChannelKey> = connection.channels.iter().cloned().collect();
        let mut ended = Vec::new();
        for lost in had.difference(&current) {
            // The membership exists, so no pending end removes the subscription: a membership that the user chose has
            // replaced it.
            if left_out > 0 && channels.member(lost, &connection.user_id).await?.is_some() {
                connections.unsubscribe(lost, &user.key).await?;
            } else {
                ended.push(lost.clone());
            }
        }
        for gained in current.difference(&had) {
            subscribe_member(channels, connections, gained, &connection.user_id, &user).await?;
        }
        if left_out != connection.left_out {
            connections.set_left_out(&user, left_out).await?;
        }
        connection.channels = current.into_iter().collect();
        connection.left_out = left_out;
        Ok(ended)
    }

    /// Replaces the token of an open connection. Removes subscriptions that the new token does not allow. A connection
    /// with `auto_subscribe` is subscribed to the memberships that the token allows.
    ///
    /// Of two concurrent renewals the one that writes the connection last holds. The other one writes the copies of
    /// that token again, because it may have overwritten them.
    ///
    /// # Errors
    /// [`ChatError::ConnectionNotFound`] (also for another user's connection, and for an expired one),
    /// [`ChatError::Contended`] when other renewals replace the token again and again, [`ChatError::Store`].
    pub async fn renew(&self, renewal: Renewal) -> Result<Connection> {
        let Self { connections, clock, .. } = *self;
        let found = connections.connection(&renewal.connection_id).await?.ok_or(ChatError::ConnectionNotFound)?;
        if found.user_id != renewal.user_id || found.expires_at <= clock.now() {
            return Err(ChatError::ConnectionNotFound);
        }
        let mut renewed = Connection {
            token_expires_at: renewal.token_expires_at,
            expires_at: found.key.connected_at.plus(CONNECTION_DURATION).min(renewal.token_expires_at),
            allowed_channels: renewal.limited_to,
            ..found
        };
        // The limit is stored first, so that a membership added from then on respects it.
        renewed.channels = connections.renew(&renewed).await?.ok_or(ChatError::ConnectionNotFound)?;
        self.adjust(&mut renewed).await?;
        let mut spread = renewed.clone();
        for _ in 0..CHANGE_ATTEMPTS {
            let stored = connections.connection(&spread.key.id).await?.filter(|stored| stored.key == spread.key);
            let mut stored = stored.ok_or(ChatError::ConnectionNotFound)?;
            let token = (stored.token_expires_at, &stored.allowed_channels);
            if token == (spread.token_expires_at, &spread.allowed_channels) {
                return Ok(renewed);
            }
            connections.spread_renewal(&stored).await?;
            self.adjust(&mut stored).await?;
            spread = stored;
        }
        Err(ChatError::contended())
    }

    /// Adjusts the subscriptions of a connection to its token.
    async fn adjust(&self, renewed: &mut Connection) -> Result<()> {
        let Self { connections, .. } = *self;
        if let Some(limit) = &renewed.allowed_channels {
            let channels = std::mem::take(&mut renewed.channels);
            let (kept, beyond): (Vec<_>, Vec<_>) =
                channels.into_iter().partition(|channel| limit.contains(&channel.channel_id));
            for channel in &beyond {
                connections.unsubscribe(channel, &renewed.key).await?;
            }
            renewed.channels = kept;
        }
        if renewed.auto_subscribe {
            // The subscriptions of ended memberships stay, and the gate refuses them. The pending end needs them to find
            // the socket that it closes. A client whose socket stays open would take a later channel with the same id
            // for the one that it knows.
            self.catch_up(renewed).await?;
        }
        Ok(())
    }
}

/// Checks the form of a request for channels: their number, and whether the token reaches them.
fn check_asked(asked: &Asked, limit: Option<&BTreeSet<ChannelId>>) -> Result<()> {
    let is_beyond = |channel: &ChannelId| limit.is_some_and(|limit| !limit.contains(channel));
    match asked {
        Asked::Channels(asked) if asked.iter().any(is_beyond) => Err(ChatError::ChannelNotFound),
        Asked::Keys(asked) if asked.iter().any(|key| is_beyond(&key.channel_id)) => Err(ChatError::ChannelNotFound),
        Asked::Channels(asked) => check_number(asked),
        Asked::Keys(_) | Asked::Memberships => Ok(()),
    }
}

/// Checks the number of requested channels. The limit applies to the list with duplicates, as the contract says.
fn check_number(asked: &[ChannelId]) -> Result<()> {
    if asked.len() <= CHANNELS_PER_CONNECTION {
        return Ok(());
    }
    let message = format!("must name at most {CHANNELS_PER_CONNECTION} channels");
    Err(ChatError::invalid(Violation::new("channels", "too_many", message)))
}

fn distinct(mut asked: Vec<ChannelId>) -> Vec<ChannelId> {
    asked.sort_unstable();
    asked.dedup();
    asked
}

/// Returns the channels of these ids, if there are all of them.
async fn named(channels: &impl ChannelStore, ids: &[ChannelId]) -> Result<Vec<Channel>> {
    let found = channels.current_channels(ids).await?;
    if found.len() == ids.len() { Ok(found) } else { Err(ChatError::ChannelNotFound) }
}

/// Returns the requested channels without duplicates, if the user may see them all.
pub(crate) async fn readable(
    channels: &impl ChannelStore,
    asked: Vec<ChannelId>,
    user: &UserId,
) -> Result<Vec<Access>> {
    check_number(&asked)?;
    let found = named(channels, &distinct(asked)).await?;
    accesses(channels, found, user).await
}

/// Returns the access of a user to these channels, in the order of their ids, if the user may see them all.
async fn accesses(channels: &impl ChannelStore, mut found: Vec<Channel>, user: &UserId) -> Result<Vec<Access>> {
    found.sort_unstable_by(|one, other| one.channel_id.cmp(&other.channel_id));
    let keys: Vec<ChannelKey> = found.iter().map(Channel::key).collect();
    let members = channels.memberships_among(user, &keys).await?;
    let mut members: BTreeMap<ChannelId, _> =
        members.into_iter().map(|member| (member.channel_id.clone(), member)).collect();
    let accesses = found.into_iter().map(|channel| {
        let member = members.remove(&channel.channel_id);
        if channel.visibility == Visibility::Private && member.is_none() {
            return Err(ChatError::ChannelNotFound);
        }
        Ok(Access { channel, member })
    });
    accesses.collect()
}

/// Requires that the user of a connection may still see the channels that it named, after its subscriptions are stored.
async fn require_named(channels: &impl ChannelStore, connection: &Connection, subscribed: &Subscribed) -> Result<()> {
    let private: Vec<ChannelKey> = subscribed.private.iter().cloned().collect();
    let (found, members) = try_join(
        channels.channels_among(&connection.channels),
        channels.memberships_among(&connection.user_id, &private),
    )
    .await?;
    let is_readable = |channel: &Channel| {
        channel.visibility == Visibility::Public || subscribed.by_membership.contains(&channel.key())
    };
    let is_complete = found.len() == connection.channels.len() && members.len() == private.len();
    if is_complete && found.iter().all(is_readable) { Ok(()) } else { Err(ChatError::ChannelNotFound) }
}

#[cfg(test)]
mod tests;
