//! The loop that accepts connections.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Door, Limits,
    connection::{self, Crowd, Shared},
};

/// Pause after an error that closed connections may resolve, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves `router` on `listener` to clients that `door` allows, until `stop`. Then finishes the running requests.
/// Requests carry the client's address ([`axum::extract::ConnectInfo`]).
///
/// Dropping the future stops it in the same way.
pub async fn serve(listener: TcpListener, door: Door, limits: Limits, router: Router, stop: CancellationToken) {
    let ending = stop.child_token();
    let _ended = ending.clone().drop_guard();
    let shared = Arc::new(Shared {
        // Set the state once instead of for each request.
        router: router.with_state(()),
        door,
        limits,
        stop: ending,
        crowd: Crowd::default(),
    });
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = place(&places, &shared).await;
            (place, accept(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            next = next => next,
        };
        let Some(place) = place else { break };
        // Small frames must not wait for more data. If the option cannot be set, they wait.
        let _ = stream.set_nodelay(true);
        connections.spawn(connection::serve(Arc::clone(&shared), stream, peer, place));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Waits for a place for one more connection. Connections without a request close earlier meanwhile.
async fn place(places: &Arc<Semaphore>, shared: &Shared) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    tracing::warn!(connections = shared.limits.connections, "a listener was full; new connections wait");
    shared.crowd.set(true);
    let place = Arc::clone(places).acquire_owned().await.ok();
    shared.crowd.set(false);
    place
}

async fn accept(listener: &TcpListener) -> (TcpStream, std::net::SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The error concerns one connection only, which has ended.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
