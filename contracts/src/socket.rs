//! A client's end of a WebSocket of the stack.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

/// Timeout for a frame, for slow machines.
const PATIENCE: Duration = Duration::from_secs(45);

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

    /// Returns the next frame that `wanted` accepts; skips earlier frames.
    pub async fn expect_frame(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        hear(&mut self.0, what, wanted).await
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
        bail!("the socket was closed before {what} arrived")
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.with_context(|| format!("{what} did not arrive within {} s", PATIENCE.as_secs()))?
}
