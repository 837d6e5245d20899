//! A client's socket.

use futures::{SinkExt, StreamExt};
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

use crate::inbox::Inbox;

/// Maximum size of a frame and of a message, in bytes ("Quotas for configuring and running a WebSocket API in API
/// Gateway").
const MESSAGE_BYTES: usize = 128 * 1024;

/// An open socket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    inbox: Inbox,
}

impl Socket {
    /// Opens a socket. A token is sent as a subprotocol, as browsers do.
    pub(crate) async fn open(url: &str, token: Option<&str>) -> Result<Self, String> {
        // The parser adds the path `/` if the address has none.
        let url = Url::parse(url).map_err(|error| format!("the address is invalid: {error}"))?;
        let mut request = url.as_str().into_client_request().map_err(|error| error.to_string())?;
        if let Some(token) = token {
            let protocols = HeaderValue::from_str(&format!("bearer, {token}"));
            request.headers_mut().insert("sec-websocket-protocol", protocols.map_err(|error| error.to_string())?);
        }
        let limits =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
        match Box::pin(connect_async_with_config(request, Some(limits), false)).await {
            Ok((stream, _)) => Ok(Self { stream, inbox: Inbox::default() }),
            Err(Error::Http(response)) => Err(format!("the response to the handshake is {}", response.status())),
            Err(error) => Err(format!("the handshake failed: {error}")),
        }
    }

    pub(crate) async fn say(&mut self, text: &str) -> Result<(), String> {
        self.stream.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// Returns the first frame or event that matches. The others stay for later steps.
    pub(crate) async fn frame(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            if let Some(found) = self.inbox.take(&wanted) {
                return Ok(found);
            }
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.inbox.add(serde_json::from_str(&text).map_err(|_| "a frame is not JSON".to_owned())?);
                }
                Some(Ok(Message::Close(frame))) => return Err(format!("the socket was closed: {frame:?}")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(format!("the socket broke: {error}")),
                None => return Err("the socket ended".to_owned()),
            }
        }
    }

    /// Returns the first message of an event of this kind that matches.
    pub(crate) async fn event(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let mut event = self.frame(|frame| frame["type"] == kind && wanted(&frame["message"])).await?;
        Ok(event["message"].take())
    }

    pub(crate) async fn close(mut self) -> Result<(), String> {
        self.stream.close(None).await.map_err(|error| error.to_string())
    }
}
