//! A client's end of a WebSocket of the stack.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use futures::{SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// Timeout that is long enough for the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Time after which a frame that is pushed once counts as lost.
const LOST: Duration = Duration::from_secs(10);

/// A frame that did not arrive. Frames of drafts, greetings and the last frames of a socket are pushed once, within half
/// a second or a few, so a slow machine loses some. Their causes have to be repeated.
#[derive(Debug)]
pub struct Lost(String);

impl Lost {
    /// Creates the error of a frame that did not arrive.
    pub(crate) fn new(what: &str) -> Self {
        Self(format!("{what} did not arrive"))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lost {}

/// An open socket.
#[derive(Debug)]
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens a socket for `channels`; if there are none, for all channels of its user.
    pub async fn open(url: &str, token: &str, channels: &[String]) -> Result<Self> {
        let query = if channels.is_empty() { String::new() } else { format!("?channels={}", channels.join(",")) };
        let mut request = format!("{url}/{query}").into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let (socket, _) = connect_async(request).await.context("the handshake was refused")?;
        Ok(Self(socket))
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// Returns the next frame that `wanted` accepts; skips earlier frames. Fails with [`Lost`] if the socket is closed
    /// before.
    pub async fn expect_frame(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        hear(&mut self.0, what, wanted).await
    }

    /// Returns the next frame that `wanted` accepts; skips earlier frames. Fails with [`Lost`] if it does not arrive, as
    /// a frame that is pushed once.
    pub async fn catch_frame(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let heard = tokio::time::timeout(LOST, hear(&mut self.0, what, wanted)).await;
        heard.unwrap_or_else(|_| Err(Lost(format!("{what} did not arrive within {} s", LOST.as_secs())).into()))
    }

    /// Sends the same text frame repeatedly, until the server closes the socket. Returns the frame that `wanted`
    /// accepts.
    pub async fn flood(self, text: &str, frames: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let (mut sink, mut stream) = self.0.split();
        let send = async {
            for _ in 0..frames {
                if sink.send(Message::text(text)).await.is_err() {
                    break;
                }
            }
        };
        // Both at once: a client that does not read could not send more either.
        let ((), heard) = futures::future::join(send, hear(&mut stream, what, wanted)).await;
        heard
    }

    /// Returns the connection id, from a pong.
    pub async fn connection_id(&mut self) -> Result<String> {
        self.send_text(r#"{"action":"ping"}"#).await?;
        let pong = self.expect_frame("a pong", |frame| frame["type"] == "pong").await?;
        pong["connection_id"].as_str().map(str::to_owned).context("a pong without connection_id")
    }

    /// Closes the socket.
    pub async fn close(mut self) -> Result<()> {
        Ok(self.0.close(None).await?)
    }
}

async fn hear<S>(stream: &mut S, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value>
where
    S: Stream<Item = tungstenite::Result<Message>> + Unpin,
{
    let heard = async {
        while let Some(message) = stream.next().await {
            let Message::Text(text) = message? else { continue };
            let frame = serde_json::from_str(&text).with_context(|| format!("a frame is not JSON: {text}"))?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
        Err(Lost(format!("the socket was closed before {what} arrived")).into())
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.with_context(|| format!("{what} did not arrive within {} s", PATIENCE.as_secs()))?
}
