//! `$connect`, and tokens that follow one another: who may listen to what.
//!
//! A connection that names its channels keeps to them. One that names none follows its user's memberships: what
//! the user joins later is added to it by [`crate::membership`].
//!
//! Membership may change while `$connect` is under way. A connection is announced before the memberships are read,
//! so whoever ends a membership after that finds the connection, and waits for its socket to close it. After the
//! subscriptions are stored the memberships are read again: what was won or lost in the meantime is followed.

use std::collections::BTreeSet;

use crate::{
    app::{access::authorize_member, membership::subscribe_member},
    model::{
        access::Access,
        channel::Memberships,
        connection::{Connection, UserConnection},
        error::{ChatError, Result},
        id::{ChannelId, ConnectionId, UserId},
        incarnation::ChannelKey,
        limits::{CHANNELS_PER_CONNECTION, CONNECTION_DURATION, HANDSHAKE_DURATION},
        time::Timestamp,
        validation::Violation,
    },
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore, socket_gateway::SocketGateway,
    },
};

/// What a connection asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All channels that the user is a member of, now and later.
    Memberships,
    /// Channels by their ids.
    Channels(Vec<ChannelId>),
    /// Channels as a ticket named them. One whose id was taken anew since is another channel.
    Keys(Vec<ChannelKey>),
}

/// A request for a connection, from a user whose token has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// API Gateway's id of the connection.
    pub connection_id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When the token ends.
    pub token_expires_at: Timestamp,
    /// The channels asked for.
    pub asked: Asked,
    /// The channels that the token is limited to.
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
}

/// Channels that a connection subscribes to, and those of them in which that rests on a membership.
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

/// Stores a connection and its subscriptions, of a user who has at most `most` with it. Once this has returned, no event of
/// its channels is missed.
///
/// # Errors
/// [`ChatError::ChannelNotFound`] when one of the channels is not the user's to see, [`ChatError::Invalid`] when
/// there are too many, [`ChatError::TooManyConnections`], [`ChatError::Store`]. Nothing is stored then, unless the store
/// failed half-way; `$disconnect`, the next push, or its age removes that.
pub async fn connect(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    sockets: &impl SocketGateway,
    clock: &impl Clock,
    connect: Connect,
    max_connections: usize,
) -> Result<Connection> {
    let now = clock.now();
    let announced = UserConnection {
        connection_id: connect.connection_id,
        connected_at: now,
        auto_subscribe: connect.asked == Asked::Memberships,
        allowed_channels: connect.allowed_channels,
        expires_at: now.plus(CONNECTION_DURATION).min(connect.token_expires_at),
    };
    let user_id = connect.user_id;
    connections.register_pending(&user_id, &announced).await?;
    let limit = announced.allowed_channels.as_ref();
    let subscribed = async {
        // Announced first and counted after: of those who come at once nobody is overlooked.
        require_room(connections, sockets, &user_id, now, max_connections).await?;
        subscribed(channels, &user_id, connect.asked, limit).await
    };
    let subscribed = match subscribed.await {
        Ok(subscribed) => subscribed,
        Err(refusal) => {
            connections.remove_pending(&user_id, &announced).await?;
            return Err(refusal);
        }
    };
    let mut connection = Connection {
        connection_id: announced.connection_id.clone(),
        user_id,
        channels: subscribed.channels.into_iter().collect(),
        auto_subscribe: announced.auto_subscribe,
        allowed_channels: announced.allowed_channels.clone(),
        left_out: subscribed.left_out,
        connected_at: now,
        token_expires_at: connect.token_expires_at,
        expires_at: announced.expires_at,
    };
    connections.activate(&connection, &subscribed.by_membership).await?;
    if connection.auto_subscribe {
        // On the heap: the compiler lays nested futures out inside one another, and this is deep enough.
        for ended in Box::pin(catch_up(channels, connections, &mut connection)).await? {
            connections.unsubscribe(&ended, &connection.connection_id, connection.connected_at).await?;
        }
    } else if let Err(error) = keys_readable(channels, &connection.channels, &connection.user_id).await {
        connections.close(&connection.connection_id, connection.connected_at).await?;
        return Err(error);
    }
    Ok(connection)
}

/// Requires that a user has at most `most` connections. Sockets that vanished without a `$disconnect` are found by asking
/// the gateway, and do not count.
async fn require_room(
    connections: &impl ConnectionStore,
    sockets: &impl SocketGateway,
    user: &UserId,
    now: Timestamp,
    most: usize,
) -> Result<()> {
    let all = connections.connections_of(user, now).await?;
    if all.len() <= most {
        return Ok(());
    }
    // A socket whose handshake is not through yet cannot be asked after, and counts.
    let asked = all.iter().filter(|one| now >= one.connected_at.plus(HANDSHAKE_DURATION)).map(async |one| {
        if sockets.is_open(&one.connection_id).await.unwrap_or(true) {
            return Ok(false);
        }
        if !connections.close(&one.connection_id, one.connected_at).await? {
            connections.remove_pending(user, one).await?;
        }
        Ok::<_, ChatError>(true)
    });
    let vanished = futures::future::try_join_all(asked).await?.into_iter().filter(|vanished| *vanished).count();
    if all.len() - vanished > most { Err(ChatError::TooManyConnections(most)) } else { Ok(()) }
}

/// The channels of a new connection: those asked for, if the user may see them all, or the user's own.
async fn subscribed(
    channels: &impl ChannelStore,
    user: &UserId,
    asked: Asked,
    limit: Option<&BTreeSet<ChannelId>>,
) -> Result<Subscribed> {
    let is_beyond = |channel: &ChannelId| limit.is_some_and(|limit| !limit.contains(channel));
    match asked {
        Asked::Memberships => memberships(channels, user, limit).await.map(Subscribed::of_memberships),
        Asked::Channels(asked) if asked.iter().any(is_beyond) => Err(ChatError::ChannelNotFound),
        Asked::Keys(asked) if asked.iter().any(|key| is_beyond(&key.channel_id)) => Err(ChatError::ChannelNotFound),
        Asked::Channels(asked) => Ok(Subscribed::of(&readable(channels, asked, user).await?)),
        Asked::Keys(asked) => Ok(Subscribed::of(&keys_readable(channels, &asked, user).await?)),
    }
}

/// The channels of a user that a token reaches, up to as many as a connection may have. Of a token that names more, those
/// beyond are counted as left out, members' or not.
async fn memberships(
    channels: &impl ChannelStore,
    user: &UserId,
    limit: Option<&BTreeSet<ChannelId>>,
) -> Result<Memberships> {
    let Some(limit) = limit else {
        return Ok(channels.memberships(user, CHANNELS_PER_CONNECTION).await?);
    };
    // A token names few channels: each is looked up, wherever it stands among the user's.
    let found =
        limit.iter().take(CHANNELS_PER_CONNECTION).map(async |id| match authorize_member(channels, id, user).await {
            Ok(access) => Ok(access.member.is_some().then(|| access.key())),
            Err(ChatError::ChannelNotFound) => Ok(None),
            Err(error) => Err(error),
        });
    let found = futures::future::try_join_all(found).await?.into_iter().flatten().collect();
    Ok(Memberships { channels: found, left_out: limit.len().saturating_sub(CHANNELS_PER_CONNECTION) })
}

/// The channels that a user asks for, each once, if the user may see them all.
pub(crate) async fn readable(
    channels: &impl ChannelStore,
    mut asked: Vec<ChannelId>,
    user: &UserId,
) -> Result<Vec<Access>> {
    // The list as it is given is bounded, as the contract says it.
    if asked.len() > CHANNELS_PER_CONNECTION {
        let message = format!("must name at most {CHANNELS_PER_CONNECTION} channels");
        return Err(ChatError::invalid(Violation::new("channels", "too_many", message)));
    }
    asked.sort_unstable();
    asked.dedup();
    futures::future::try_join_all(asked.iter().map(|channel| authorize_member(channels, channel, user))).await
}

/// Channels of these keys, if the user may see them all and each id still leads to the same channel.
async fn keys_readable(channels: &impl ChannelStore, asked: &[ChannelKey], user: &UserId) -> Result<Vec<Access>> {
    let found = asked.iter().map(|key| authorize_member(channels, &key.channel_id, user));
    let found = futures::future::try_join_all(found).await?;
    if found.iter().zip(asked).any(|(access, key)| access.key() != *key) {
        return Err(ChatError::ChannelNotFound);
    }
    Ok(found)
}

/// Follows the memberships that began since they were read. Returns those that have ended.
async fn catch_up(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    connection: &mut Connection,
) -> Result<Vec<ChannelKey>> {
    let user = UserConnection::from(&*connection);
    let Memberships { channels: current, left_out } =
        memberships(channels, &connection.user_id, connection.allowed_channels.as_ref()).await?;
    let current: BTreeSet<ChannelKey> = current.into_iter().collect();
    let had: BTreeSet<ChannelKey> = connection.channels.iter().cloned().collect();
    let mut ended = Vec::new();
    for lost in had.difference(&current) {
        // No end comes for a membership that goes on: one that the user chose has taken its place.
        if left_out > 0 && channels.member(lost, &connection.user_id).await?.is_some() {
            connections.unsubscribe(lost, &user.connection_id, user.connected_at).await?;
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

/// A token that takes the place of a connection's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Whose token it is.
    pub user_id: UserId,
    /// When the token ends.
    pub token_expires_at: Timestamp,
    /// The channels that it is limited to.
    pub limited_to: Option<BTreeSet<ChannelId>>,
}

/// Gives a live connection another token of its user's. What that one does not reach is unsubscribed. A connection that
/// follows its user's memberships is subscribed to those that the token reaches.
///
/// # Errors
/// [`ChatError::ConnectionNotFound`] (also for another user's, and when its time is over), [`ChatError::Store`].
pub async fn renew(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    clock: &impl Clock,
    renewal: Renewal,
) -> Result<Connection> {
    let found = connections.connection(&renewal.connection_id).await?.ok_or(ChatError::ConnectionNotFound)?;
    if found.user_id != renewal.user_id || found.expires_at <= clock.now() {
        return Err(ChatError::ConnectionNotFound);
    }
    let mut renewed = Connection {
        token_expires_at: renewal.token_expires_at,
        expires_at: found.connected_at.plus(CONNECTION_DURATION).min(renewal.token_expires_at),
        allowed_channels: renewal.limited_to,
        ..found
    };
    // The limit first: what a membership adds from then on obeys it.
    renewed.channels = connections.renew(&renewed).await?.ok_or(ChatError::ConnectionNotFound)?;
    if let Some(limit) = &renewed.allowed_channels {
        let (kept, beyond): (Vec<_>, Vec<_>) =
            renewed.channels.into_iter().partition(|channel| limit.contains(&channel.channel_id));
        for channel in &beyond {
            connections.unsubscribe(channel, &renewed.connection_id, renewed.connected_at).await?;
        }
        renewed.channels = kept;
    }
    if renewed.auto_subscribe {
        for ended in catch_up(channels, connections, &mut renewed).await? {
            // Of a deleted channel whose id another has taken, the subscription stays, and is refused by the gate: the end
            // finds by it the socket that it has to close. The client would take the two for one otherwise.
            if renewed.channels.iter().all(|current| current.channel_id != ended.channel_id) {
                connections.unsubscribe(&ended, &renewed.connection_id, renewed.connected_at).await?;
            }
        }
    }
    Ok(renewed)
}
