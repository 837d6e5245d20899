//! `$connect` and `$disconnect`: who may listen to what.

use crate::{
    channel::ChannelStore,
    clock::{Clock, Timestamp},
    connection::{Connection, ConnectionStore},
    error::{ChatError, Result},
    history::readable_channel,
    id::{ChannelId, ConnectionId, UserId},
    limits::{CHANNELS_PER_CONNECTION, CONNECTION_DURATION, PAGE_ITEMS},
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
    /// The channels asked for; `None`: all that the user is a member of.
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
    let subscribed = match connect.channels {
        Some(mut asked) => {
            asked.sort_unstable();
            asked.dedup();
            if asked.len() > CHANNELS_PER_CONNECTION {
                let message = format!("must name at most {CHANNELS_PER_CONNECTION} channels");
                return Err(ChatError::invalid(Violation::new("channels", "too_many", message)));
            }
            let checks = asked.iter().map(|channel| readable_channel(channels, channel, &connect.user_id));
            futures::future::try_join_all(checks).await?;
            asked
        }
        None => all_channels(channels, &connect.user_id).await?,
    };
    let now = clock.now();
    let connection = Connection {
        connection_id: connect.connection_id,
        user_id: connect.user_id,
        channels: subscribed,
        connected_at: now,
        token_expires_at: connect.token_expires_at,
        expires_at: now.plus(CONNECTION_DURATION).min(connect.token_expires_at),
    };
    connections.open(&connection).await?;
    Ok(connection)
}

async fn all_channels(channels: &impl ChannelStore, user: &UserId) -> Result<Vec<ChannelId>> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = channels.channels_of(user, after.as_ref(), PAGE_ITEMS).await?;
        all.extend(page.channels.into_iter().map(|channel| channel.channel_id));
        after = page.next_after;
        if after.is_none() || all.len() >= CHANNELS_PER_CONNECTION {
            all.truncate(CHANNELS_PER_CONNECTION);
            return Ok(all);
        }
    }
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
