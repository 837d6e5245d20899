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
    channel::ChannelStore,
    clock::{Clock, Timestamp},
    connection::{Connection, ConnectionStore, UserConnection},
    error::{ChatError, Result},
    history::readable_channel,
    id::{ChannelId, ConnectionId, UserId},
    limits::{CHANNELS_PER_CONNECTION, CONNECTION_DURATION},
    membership::subscribe_member,
    validation::Violation,
};

/// A request for a connection, from a user whose token has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// API Gateway's id of the connection.
    pub connection_id: ConnectionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When the token ends.
    pub token_expires_at: Timestamp,
    /// The channels asked for; `None`: all that the user is a member of, now and later.
    pub channels: Option<Vec<ChannelId>>,
    /// The channels that the token is limited to.
    pub limited_to: Option<BTreeSet<ChannelId>>,
}

/// Stores a connection and its subscriptions, of a user who has at most `most` with it. Once this has returned, no event of its channels is missed.
///
/// # Errors
/// [`ChatError::ChannelNotFound`] when one of the channels is not the user's to see, [`ChatError::Invalid`] when
/// there are too many, [`ChatError::TooManyConnections`], [`ChatError::Store`]. Nothing is stored then, unless the store failed half-way; what is
/// left then is removed by `$disconnect`, by the next push, or by its age.
pub async fn connect(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    clock: &impl Clock,
    connect: Connect,
    most: usize,
) -> Result<Connection> {
    let now = clock.now();
    let announced = UserConnection {
        connection_id: connect.connection_id,
        connected_at: now,
        follows: connect.channels.is_none(),
        limited_to: connect.limited_to,
        expires_at: now.plus(CONNECTION_DURATION).min(connect.token_expires_at),
    };
    let user_id = connect.user_id;
    connections.announce(&user_id, &announced).await?;
    let limit = announced.limited_to.as_ref();
    let subscribed = async {
        // Announced first and counted after: of those who come at once nobody is overlooked.
        if connections.connections_of(&user_id, now).await?.len() > most {
            return Err(ChatError::TooManyConnections(most));
        }
        subscribed(channels, &user_id, connect.channels, limit).await
    };
    let subscribed = match subscribed.await {
        Ok(subscribed) => subscribed,
        Err(refusal) => {
            connections.withdraw(&user_id, &announced).await?;
            return Err(refusal);
        }
    };
    let mut connection = Connection {
        connection_id: announced.connection_id.clone(),
        user_id,
        channels: subscribed,
        follows: announced.follows,
        limited_to: announced.limited_to.clone(),
        connected_at: now,
        token_expires_at: connect.token_expires_at,
        expires_at: announced.expires_at,
    };
    connections.open(&connection).await?;
    if connection.follows {
        // On the heap: the compiler lays nested futures out inside one another, and this is deep enough.
        Box::pin(catch_up(channels, connections, &mut connection, &announced)).await?;
    } else if let Err(error) = require_readable(channels, &connection.channels, &connection.user_id).await {
        connections.close(&connection.connection_id, connection.connected_at).await?;
        return Err(error);
    }
    Ok(connection)
}

/// The channels of a new connection: those asked for, if the user may see them all, or the user's own.
async fn subscribed(
    channels: &impl ChannelStore,
    user: &UserId,
    asked: Option<Vec<ChannelId>>,
    limit: Option<&BTreeSet<ChannelId>>,
) -> Result<Vec<ChannelId>> {
    let Some(asked) = asked else { return memberships(channels, user, limit).await };
    if asked.iter().any(|channel| limit.is_some_and(|limit| !limit.contains(channel))) {
        return Err(ChatError::ChannelNotFound);
    }
    readable(channels, asked, user).await
}

/// The channels of a user that a token reaches, up to as many as a connection may have.
async fn memberships(
    channels: &impl ChannelStore,
    user: &UserId,
    limit: Option<&BTreeSet<ChannelId>>,
) -> Result<Vec<ChannelId>> {
    let Some(limit) = limit else { return Ok(channels.memberships(user, CHANNELS_PER_CONNECTION).await?) };
    // A token names few channels: each is looked up, wherever it stands among the user's.
    let members = limit.iter().take(CHANNELS_PER_CONNECTION).map(|channel| channels.member(channel, user));
    let members = futures::future::try_join_all(members).await?;
    Ok(members.into_iter().flatten().map(|member| member.channel_id).collect())
}

/// The channels that a user asks for, each once, if the user may see them all.
pub(crate) async fn readable(
    channels: &impl ChannelStore,
    mut asked: Vec<ChannelId>,
    user: &UserId,
) -> Result<Vec<ChannelId>> {
    // The list as it is given is bounded, as the contract says it.
    if asked.len() > CHANNELS_PER_CONNECTION {
        let message = format!("must name at most {CHANNELS_PER_CONNECTION} channels");
        return Err(ChatError::invalid(Violation::new("channels", "too_many", message)));
    }
    asked.sort_unstable();
    asked.dedup();
    require_readable(channels, &asked, user).await?;
    Ok(asked)
}

async fn require_readable(channels: &impl ChannelStore, asked: &[ChannelId], user: &UserId) -> Result<()> {
    futures::future::try_join_all(asked.iter().map(|channel| readable_channel(channels, channel, user))).await?;
    Ok(())
}

/// Follows the memberships that changed since they were read.
async fn catch_up(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    connection: &mut Connection,
    announced: &UserConnection,
) -> Result<()> {
    let current = memberships(channels, &connection.user_id, announced.limited_to.as_ref()).await?;
    let (had, has) = (BTreeSet::from_iter(&connection.channels), BTreeSet::from_iter(&current));
    for lost in had.difference(&has) {
        connections.unsubscribe(lost, &announced.connection_id, announced.connected_at).await?;
    }
    for gained in has.difference(&had) {
        subscribe_member(channels, connections, gained, &connection.user_id, announced).await?;
    }
    connection.channels = current;
    Ok(())
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

/// Gives a live connection another token of its user's. What that one does not reach is unsubscribed.
///
/// # Errors
/// [`ChatError::ConnectionNotFound`] (also for another user's, and when its time is over), [`ChatError::Store`].
pub async fn renew(connections: &impl ConnectionStore, clock: &impl Clock, renewal: Renewal) -> Result<Connection> {
    let found = connections.connection(&renewal.connection_id).await?.ok_or(ChatError::ConnectionNotFound)?;
    if found.user_id != renewal.user_id || found.expires_at <= clock.now() {
        return Err(ChatError::ConnectionNotFound);
    }
    let mut renewed = Connection {
        token_expires_at: renewal.token_expires_at,
        expires_at: found.connected_at.plus(CONNECTION_DURATION).min(renewal.token_expires_at),
        limited_to: renewal.limited_to,
        ..found
    };
    if let Some(limit) = &renewed.limited_to {
        for channel in renewed.channels.iter().filter(|channel| !limit.contains(*channel)) {
            connections.unsubscribe(channel, &renewed.connection_id, renewed.connected_at).await?;
        }
        renewed.channels.retain(|channel| limit.contains(channel));
    }
    if connections.renew(&renewed).await? { Ok(renewed) } else { Err(ChatError::ConnectionNotFound) }
}
