//! `$connect` and token renewal: the channels that a connection may receive.
//!
//! A connection that names its channels keeps them. One that names none subscribes to its user's memberships:
//! [`membership`](crate::app::membership) adds the channels that the user joins later.
//!
//! Memberships may change during `$connect`. A connection is registered before the memberships are read. A function
//! that ends a membership after that finds the connection, and waits for its socket to close it. After the
//! subscriptions are stored, the memberships are read again, and the subscriptions are adjusted.

use std::collections::BTreeSet;

use crate::{
    app::{access::authorize_member, membership::subscribe_member},
    model::{
        access::Access,
        channel::Memberships,
        connection::{Connection, ConnectionKey, UserConnection},
        error::{ChatError, Result},
        id::{ChannelId, ConnectionId, UserId},
        incarnation::ChannelKey,
        limits::{CHANGE_ATTEMPTS, CHANNELS_PER_CONNECTION},
        time::Timestamp,
        validation::Violation,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
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

/// Channels that a connection subscribes to, and those of them for which the user has a membership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Subscribed {
    channels: BTreeSet<ChannelKey>,
    by_membership: BTreeSet<ChannelKey>,
    left_out: usize,
}

impl Subscribed {
    fn of(found: &[Access]) -> Self {
        let members = found.iter().filter(|access| access.member.is_some());
        let (channels, by_membership) = (found.iter().map(Access::key).collect(), members.map(Access::key).collect());
        Self { channels, by_membership, left_out: 0 }
    }

    fn of_memberships(memberships: Memberships) -> Self {
        let channels: BTreeSet<ChannelKey> = memberships.channels.into_iter().collect();
        Self { by_membership: channels.clone(), channels, left_out: memberships.left_out }
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
    /// Stores a connection and its subscriptions. The user may have at most `max_connections`, including this one.
    /// After this has returned, the connection misses no event of its channels.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`] when the user may not see one of the channels, [`ChatError::Invalid`] when there
    /// are too many, [`ChatError::TooManyConnections`], [`ChatError::Store`]. Nothing is stored in these cases, unless
    /// the store failed half-way. `$disconnect`, the next push or the expiry removes the rest.
    pub async fn connect(&self, connect: Connect, max_connections: usize) -> Result<Connection> {
        let Self { channels, connections, clock, .. } = *self;
        let now = clock.now();
        let announced = UserConnection {
            key: ConnectionKey { id: connect.connection_id, connected_at: now },
            auto_subscribe: connect.asked == Asked::Memberships,
            allowed_channels: connect.allowed_channels,
            expires_at: now.plus(CONNECTION_DURATION).min(connect.token_expires_at),
        };
        let user_id = connect.user_id;
        connections.register_pending(&user_id, &announced).await?;
        let limit = announced.allowed_channels.as_ref();
        let subscribed = async {
            // Registered first and counted after, so that concurrent connections all count each other.
            self.require_room(&user_id, now, max_connections).await?;
            self.subscribed(&user_id, connect.asked, limit).await
        };
        let subscribed = match subscribed.await {
            Ok(subscribed) => subscribed,
            Err(refusal) => {
                connections.remove_pending(&user_id, &announced).await?;
                return Err(refusal);
            }
        };
        let mut connection = Connection {
            key: announced.key.clone(),
            user_id,
            channels: subscribed.channels.into_iter().collect(),
            auto_subscribe: announced.auto_subscribe,
            allowed_channels: announced.allowed_channels.clone(),
            left_out: subscribed.left_out,
            token_expires_at: connect.token_expires_at,
            expires_at: announced.expires_at,
        };
        connections.activate(&connection, &subscribed.by_membership).await?;
        if connection.auto_subscribe {
            // On the heap: the compiler nests futures, and this one is deep.
            for ended in Box::pin(self.catch_up(&mut connection)).await? {
                connections.unsubscribe(&ended, &connection.key).await?;
            }
        } else if let Err(error) = keys_readable(channels, &connection.channels, &connection.user_id).await {
            connections.close(&connection.key).await?;
            return Err(error);
        }
        Ok(connection)
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

    /// Returns the channels of a new connection: the requested ones, if the user may see them all, or the user's
    /// memberships.
    async fn subscribed(&self, user: &UserId, asked: Asked, limit: Option<&BTreeSet<ChannelId>>) -> Result<Subscribed> {
        let is_beyond = |channel: &ChannelId| limit.is_some_and(|limit| !limit.contains(channel));
        match asked {
            Asked::Memberships => self.memberships(user, limit).await.map(Subscribed::of_memberships),
            Asked::Channels(asked) if asked.iter().any(is_beyond) => Err(ChatError::ChannelNotFound),
            Asked::Keys(asked) if asked.iter().any(|key| is_beyond(&key.channel_id)) => Err(ChatError::ChannelNotFound),
            Asked::Channels(asked) => Ok(Subscribed::of(&readable(self.channels, asked, user).await?)),
            Asked::Keys(asked) => Ok(Subscribed::of(&keys_readable(self.channels, &asked, user).await?)),
        }
    }

    /// Returns the user's memberships that a token allows, up to [`CHANNELS_PER_CONNECTION`]. If a token names more
    /// channels, those beyond count as left out, with a membership or without.
    async fn memberships(&self, user: &UserId, limit: Option<&BTreeSet<ChannelId>>) -> Result<Memberships> {
        let channels = self.channels;
        let Some(limit) = limit else {
            return Ok(channels.memberships(user, CHANNELS_PER_CONNECTION).await?);
        };
        // A token names few channels, so each is looked up.
        let found = limit.iter().take(CHANNELS_PER_CONNECTION).map(async |id| {
            match authorize_member(channels, id, user).await {
                Ok(access) => Ok(access.member.is_some().then(|| access.key())),
                Err(ChatError::ChannelNotFound) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let found = futures::future::try_join_all(found).await?.into_iter().flatten().collect();
        Ok(Memberships { channels: found, left_out: limit.len().saturating_sub(CHANNELS_PER_CONNECTION) })
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

/// Returns the requested channels without duplicates, if the user may see them all.
pub(crate) async fn readable(
    channels: &impl ChannelStore,
    mut asked: Vec<ChannelId>,
    user: &UserId,
) -> Result<Vec<Access>> {
    // The limit applies to the list with duplicates, as the contract says.
    if asked.len() > CHANNELS_PER_CONNECTION {
        let message = format!("must name at most {CHANNELS_PER_CONNECTION} channels");
        return Err(ChatError::invalid(Violation::new("channels", "too_many", message)));
    }
    asked.sort_unstable();
    asked.dedup();
    futures::future::try_join_all(asked.iter().map(|channel| authorize_member(channels, channel, user))).await
}

/// Returns the channels of these keys, if the user may see them all and each id still names the same channel.
async fn keys_readable(channels: &impl ChannelStore, asked: &[ChannelKey], user: &UserId) -> Result<Vec<Access>> {
    let found = asked.iter().map(|key| authorize_member(channels, &key.channel_id, user));
    let found = futures::future::try_join_all(found).await?;
    if found.iter().zip(asked).any(|(access, key)| access.key() != *key) {
        return Err(ChatError::ChannelNotFound);
    }
    Ok(found)
}
