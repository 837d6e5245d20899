//! Waiting for other processes.

use std::time::Duration;

/// Timeout that is long enough for the slowest machine. A test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Time after which a frame that is pushed once counts as lost: a frame of a draft, or a last frame of a socket. A push of
/// one takes at most half a second, so a slow machine loses some.
pub(crate) const LOST: Duration = Duration::from_secs(10);

/// Repeats `round`, which gets its number, until it returns a result. A round without one has lost a frame.
pub(crate) async fn rounds<T>(what: &str, mut round: impl AsyncFnMut(usize) -> Option<T>) -> T {
    let tried = async {
        let mut number = 0;
        loop {
            // On the heap, because a nested future is part of its parent, and a round with a handshake is large.
            if let Some(result) = Box::pin(round(number)).await {
                return result;
            }
            number += 1;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("lost in each round: {what}"))
}

/// Repeats `check` until it holds, because other processes work asynchronously.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let tried = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
