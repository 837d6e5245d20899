//! `$connect` and `$disconnect`: who may listen to what.
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
}

/// Stores a connection and its subscriptions. Once this has returned, no event of its channels is missed.
///
/// # Errors
/// [`ChatError::ChannelNotFound`] when one of the channels is not the user's to see, [`ChatError::Invalid`] when
/// there are too many, [`ChatError::Store`]. Nothing is stored then, unless the store failed half-way; what is
/// left then is removed by `$disconnect`, by the next push, or by its age.
pub async fn connect(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    clock: &impl Clock,
    connect: Connect,
) -> Result<Connection> {
    let now = clock.now();
    let announced = UserConnection {
        connection_id: connect.connection_id,
        connected_at: now,
        follows: connect.channels.is_none(),
        expires_at: now.plus(CONNECTION_DURATION).min(connect.token_expires_at),
    };
    let user_id = connect.user_id;
    connections.announce(&user_id, &announced).await?;
    let subscribed = match subscribed(channels, &user_id, connect.channels).await {
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
) -> Result<Vec<ChannelId>> {
    let Some(mut asked) = asked else {
        return Ok(channels.memberships(user, CHANNELS_PER_CONNECTION).await?);
    };
    asked.sort_unstable();
    asked.dedup();
    if asked.len() > CHANNELS_PER_CONNECTION {
        let message = format!("must name at most {CHANNELS_PER_CONNECTION} channels");
        return Err(ChatError::invalid(Violation::new("channels", "too_many", message)));
    }
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
    let current = channels.memberships(&connection.user_id, CHANNELS_PER_CONNECTION).await?;
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

/// Removes a connection that has ended. `false`: it was gone already.
///
/// # Errors
/// [`ChatError::Store`].
pub async fn disconnect(connections: &impl ConnectionStore, id: &ConnectionId) -> Result<bool> {
    match connections.connection(id).await? {
        Some(connection) => Ok(connections.close(id, connection.connected_at).await?),
        None => Ok(false),
    }
}
