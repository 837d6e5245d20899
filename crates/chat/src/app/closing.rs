//! Last frames of sockets that the server closes: their clients learn the reason.

use std::pin::pin;

use futures::future::{Either, select};

use crate::{
    model::{id::ConnectionId, limits::EPHEMERAL_PUSH_TIMEOUT},
    ports::{
        clock::Clock,
        socket_gateway::{Pushed, SocketGateway},
    },
};

/// Pushes the last frames of a socket, in order, within [`EPHEMERAL_PUSH_TIMEOUT`]. Returns `None` if a push failed or
/// the time was up: the socket is closed without them.
pub(crate) async fn push_last_frames(
    sockets: &impl SocketGateway,
    clock: &impl Clock,
    id: &ConnectionId,
    frames: &[String],
) -> Option<Pushed> {
    let pushes = pin!(async {
        for frame in frames {
            match sockets.push(id, frame).await {
                Ok(Pushed::Delivered) => {}
                Ok(Pushed::Gone) => return Some(Pushed::Gone),
                Err(error) => {
                    tracing::warn!(%error, connection_id = %id, "a last frame was not pushed");
                    return None;
                }
            }
        }
        Some(Pushed::Delivered)
    });
    let timeout = pin!(clock.sleep(EPHEMERAL_PUSH_TIMEOUT));
    match select(pushes, timeout).await {
        Either::Left((pushed, _)) => pushed,
        Either::Right(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        model::error::StoreError,
        testing::{PausedClock, broken},
    };

    /// Gateway whose pushes end in one way.
    struct Gateway {
        /// Result of each push. `None`: it never ends.
        result: Option<Result<Pushed, ()>>,
        pushed: Mutex<Vec<String>>,
    }

    impl SocketGateway for Gateway {
        async fn push(&self, _: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
            self.pushed.lock().unwrap().push(frame.to_owned());
            match self.result {
                Some(result) => result.map_err(|()| broken()),
                None => std::future::pending().await,
            }
        }

        async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("a last frame is pushed without a question")
        }

        async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("the caller closes the socket")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn last_frames_are_pushed_in_order_until_one_fails_and_never_for_long() {
        for (result, expected, count) in [
            (Some(Ok(Pushed::Delivered)), Some(Pushed::Delivered), 2),
            (Some(Ok(Pushed::Gone)), Some(Pushed::Gone), 1),
            (Some(Err(())), None, 1),
            (None, None, 1),
        ] {
            let (gateway, clock) = (Gateway { result, pushed: Mutex::default() }, PausedClock::new(1));
            let frames = ["first", "second"].map(str::to_owned);
            let pushed = push_last_frames(&gateway, &clock, &"x=".parse().unwrap(), &frames).await;
            assert_eq!(pushed, expected, "{result:?}");
            assert_eq!(*gateway.pushed.lock().unwrap(), frames[..count], "{result:?}");
            assert!(clock.monotonic() < EPHEMERAL_PUSH_TIMEOUT * 2);
        }
    }
}
