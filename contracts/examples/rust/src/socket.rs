//! One connection, from its handshake to its end. Whoever calls this connects again when it ends, with a wait that
//! grows, and asks for what was missed.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::{connect_async, tungstenite};

use crate::Frame;

/// A socket on which nothing passes for 10 minutes is closed.
const PING_EVERY: Duration = Duration::from_secs(4 * 60);

/// Why a socket ended that was not closed in order.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The handshake was refused, or the connection broke.
    #[error("the socket failed: {0}")]
    Failed(#[from] tungstenite::Error),
}

/// Opens a socket with a ticket of [`crate::Api::ticket`] and hands every frame to `take`, until it is closed or `take`
/// returns `false`. Frames that cannot be read are left out.
///
/// # Errors
/// [`SocketError`].
pub async fn listen(url: &str, ticket: &str, mut take: impl FnMut(Frame) -> bool) -> Result<(), SocketError> {
    let (mut socket, _) = connect_async(format!("{url}/?ticket={ticket}")).await?;
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        tokio::select! {
            _ = pings.tick() => socket.send(tungstenite::Message::text(r#"{"action":"ping"}"#)).await?,
            message = socket.next() => match message {
                None | Some(Ok(tungstenite::Message::Close(_))) => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(tungstenite::Message::Text(text))) => {
                    if let Ok(frame) = Frame::parse(&text)
                        && !take(frame)
                    {
                        socket.close(None).await?;
                        return Ok(());
                    }
                }
                Some(Ok(_)) => {}
            },
        }
    }
}
