//! A client's socket.

use serde_json::Value;
use switchboard_client::Handshake;

use crate::inbox::Inbox;

/// An open socket.
pub(crate) struct Socket {
    socket: switchboard_client::Socket,
    inbox: Inbox,
}

impl Socket {
    /// Opens a socket. A token is sent as a subprotocol, as browsers do.
    pub(crate) async fn open(url: &str, token: Option<&str>) -> Result<Self, String> {
        let handshake = Handshake::new(url);
        let handshake = if let Some(token) = token { handshake.subprotocol(token) } else { handshake };
        let socket = handshake.open().await.map_err(|error| error.to_string())?;
        Ok(Self { socket, inbox: Inbox::default() })
    }

    pub(crate) async fn say(&mut self, text: &str) -> Result<(), String> {
        self.socket.say(text).await.map_err(|error| error.to_string())
    }

    /// Returns the first frame or event that matches. The others stay for later steps.
    pub(crate) async fn frame(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            if let Some(found) = self.inbox.take(&wanted) {
                return Ok(found);
            }
            let text = self.socket.hear().await.map_err(|error| error.to_string())?;
            self.inbox.add(serde_json::from_str(&text).map_err(|_| "a frame is not JSON".to_owned())?);
        }
    }

    /// Returns the first message of an event of this kind that matches.
    pub(crate) async fn event(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let mut event = self.frame(|frame| frame["type"] == kind && wanted(&frame["message"])).await?;
        Ok(event["message"].take())
    }

    pub(crate) async fn close(self) -> Result<(), String> {
        self.socket.close().await.map_err(|error| error.to_string())
    }
}
