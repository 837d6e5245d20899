//! Maintenance: closes sockets whose token has expired, and works on pending ends.

use std::time::Duration;

use crate::{
    app::ending::Ending,
    model::{
        connection::Connection, error::StoreError, id::ConnectionId, limits::PENDING_LEASE_DURATION,
        pending_end::PendingEnd,
    },
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore,
        deleted_channels::DeletedChannels, pending_ends::PendingEnds, socket_gateway::SocketGateway,
    },
};

/// Closes a socket whose connection has expired, and removes the connection. `found` is the connection as just read.
/// Returns `false` if the connection has not expired, because its token was renewed.
///
/// # Errors
/// When the store or the gateway fails. The next run repeats the work.
pub async fn close_ended(
    connections: &impl ConnectionStore,
    sockets: &impl SocketGateway,
    clock: &impl Clock,
    id: &ConnectionId,
    found: Option<&Connection>,
) -> Result<bool, StoreError> {
    if found.is_some_and(|connection| connection.expires_at > clock.now()) {
        return Ok(false);
    }
    // The store may have expired the connection's items before the socket was closed, so the socket is closed without
    // them too.
    sockets.close(id).await?;
    if let Some(connection) = found {
        connections.close(id, connection.connected_at).await?;
    }
    Ok(true)
}

/// Works on a pending end until it is done (`true`) or [`Clock::monotonic`] has reached `until`. Skips a pending end
/// that another function has leased.
///
/// # Errors
/// When a store or the gateway fails. The record stays, and a later call continues from it.
pub async fn carry_out<Channels, Connections, Sockets, Time>(
    ending: &Ending<'_, Channels, Connections, Sockets, Time>,
    deleted: &impl DeletedChannels,
    pending: &PendingEnd,
    until: Duration,
) -> Result<bool, StoreError>
where
    Channels: ChannelStore + PendingEnds,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Time: Clock,
{
    let now = ending.clock.now();
    match ending.channels.lease(pending, now.plus(PENDING_LEASE_DURATION), now).await? {
        Some(leased) => ending.resume(leased, deleted, until).await,
        None => Ok(false),
    }
}
