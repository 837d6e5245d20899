//! Closes single connections on behalf of an operator.

use crate::{
    app::closing::push_last_frames,
    model::{
        connection::{ConnectionKey, UserConnection},
        error::StoreError,
        frame::{ClosingReason, closing_frame},
        id::UserId,
    },
    ports::{clock::Clock, connection_store::ConnectionStore, socket_gateway::SocketGateway},
};

/// Closes the socket of a user's connection after its last frames, and removes the connection with its subscriptions.
/// The client may connect again, if its token still allows it. Returns `false` if no socket was open.
///
/// # Errors
/// When a store or the gateway fails. A repeated call continues.
pub async fn close_connection(
    connections: &impl ConnectionStore,
    sockets: &impl SocketGateway,
    clock: &impl Clock,
    user: &UserId,
    connection: &ConnectionKey,
) -> Result<bool, StoreError> {
    push_last_frames(sockets, clock, &connection.id, &[closing_frame(ClosingReason::Removed)]).await;
    // Before its items are removed: without them nothing else would find an open socket.
    let was_open = sockets.close(&connection.id).await?;
    connections.close(connection).await?;
    // A handshake that stopped may leave nothing but the copy among the connections of its user.
    let copy = UserConnection {
        key: connection.clone(),
        auto_subscribe: false,
        allowed_channels: None,
        expires_at: clock.now(),
    };
    connections.remove_pending(user, &copy).await?;
    Ok(was_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::connect::Asked,
        model::channel::Visibility,
        testing::{OpenSockets, PausedClock, TestStore, key},
    };

    #[tokio::test(start_paused = true)]
    async fn a_closed_connection_leaves_nothing_and_the_others_stay() {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private).with_member("c", "alice");
        let (sockets, clock) = (OpenSockets::default(), PausedClock::new(1));
        for id in ["a1=", "a2="] {
            sockets.open(&store, &clock, id, "alice", Asked::Memberships).await;
        }
        let alice = "alice".parse().unwrap();
        let all = store.connections_of(&alice, clock.now()).await.unwrap();
        let first = all.iter().find(|one| one.key.id.as_str() == "a1=").unwrap().key.clone();
        assert!(close_connection(&store, &sockets, &clock, &alice, &first).await.unwrap());
        assert_eq!(sockets.types("a1=").last().map(String::as_str), Some("closing"));
        assert!(sockets.is_closed("a1=") && !sockets.is_closed("a2="));
        let left = store.connections_of(&alice, clock.now()).await.unwrap();
        assert_eq!(left.iter().map(|one| one.key.id.as_str()).collect::<Vec<_>>(), ["a2="]);
        assert_eq!(store.audience(&key("c"), clock.now()).await.unwrap().subscriptions.len(), 1);
        assert!(!close_connection(&store, &sockets, &clock, &alice, &first).await.unwrap(), "a repeated call");
    }
}
