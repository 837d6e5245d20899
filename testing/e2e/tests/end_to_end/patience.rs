//! Waiting for other processes.

use std::time::Duration;

/// Timeout that is long enough for the slowest machine. A test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Repeats `check` until it holds, because other processes work asynchronously.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let tried = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
