//! One connection, from its handshake to its end. The caller reconnects after the end, with growing waits, and reads
//! the missed messages.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::{connect_async, tungstenite};

use crate::Frame;

/// Interval between pings. An idle socket is closed after 10 minutes.
const PING_EVERY: Duration = Duration::from_secs(4 * 60);

/// Reason for an irregular end of a socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The handshake was refused, or the connection failed.
    #[error("the socket failed: {0}")]
    Failed(#[from] tungstenite::Error),
}

/// Opens a socket with a ticket of [`crate::Api::ticket`] and passes every frame to `take`, until the socket is closed
/// or `take` returns `false`. Skips frames that cannot be parsed. [`Frame::Closing`] precedes a close by the server, and
/// says whether to connect again.
///
/// # Errors
/// Fails with [`SocketError`].
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
