//! A client's end of a WebSocket of the stack.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use switchboard_client::{Ended, Handshake, Listener};

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
pub struct Socket(switchboard_client::Socket);

impl Socket {
    /// Opens a socket for `channels`; if there are none, for all channels of its user.
    pub async fn open(url: &str, token: &str, channels: &[String]) -> Result<Self> {
        let opened = Handshake::for_channels(url, channels).bearer(token).within(PATIENCE).open().await;
        Ok(Self(opened.context("the handshake was refused")?))
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(self.0.say(text).await?)
    }

    /// Returns the next frame that `wanted` accepts; skips earlier frames. Fails with [`Lost`] if the socket is closed
    /// before.
    pub async fn expect_frame(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        hear(&mut self.0, what, wanted).await
    }

    /// Returns the next frame that `wanted` accepts; skips earlier frames. Fails with [`Lost`] if it does not arrive, as
    /// a frame that is pushed once.
    pub async fn catch_frame(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let heard = tokio::time::timeout(LOST, self.expect_frame(what, wanted)).await;
        heard.unwrap_or_else(|_| Err(Lost(format!("{what} did not arrive within {} s", LOST.as_secs())).into()))
    }

    /// Sends the same text frame repeatedly, until the server closes the socket. Returns the frame that `wanted`
    /// accepts.
    pub async fn flood(self, text: &str, frames: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let (mut speaker, mut listener) = self.0.split();
        let send = async {
            for _ in 0..frames {
                if speaker.say(text).await.is_err() {
                    break;
                }
            }
        };
        // Both at once: a client that does not read could not send more either.
        let ((), heard) = futures::future::join(send, hear(&mut listener, what, wanted)).await;
        heard
    }

    /// Returns the connection id, from a pong.
    pub async fn connection_id(&mut self) -> Result<String> {
        self.send_text(r#"{"action":"ping"}"#).await?;
        let pong = self.expect_frame("a pong", |frame| frame["type"] == "pong").await?;
        pong["connection_id"].as_str().map(str::to_owned).context("a pong without connection_id")
    }

    /// Closes the socket.
    pub async fn close(self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}

/// A socket, or its hearing half.
trait Hears {
    fn text(&mut self) -> impl Future<Output = Result<String, Ended>> + Send;
}

impl Hears for switchboard_client::Socket {
    async fn text(&mut self) -> Result<String, Ended> {
        self.hear().await
    }
}

impl Hears for Listener {
    async fn text(&mut self) -> Result<String, Ended> {
        self.hear().await
    }
}

async fn hear(socket: &mut impl Hears, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let heard = async {
        while let Ok(text) = socket.text().await {
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
