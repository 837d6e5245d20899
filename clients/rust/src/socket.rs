//! One connection, from its handshake to its end.

use std::time::Duration;

use futures::{
    SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderValue, header::RETRY_AFTER},
        protocol::WebSocketConfig,
    },
};

/// Maximum size of a frame and of a message, in bytes ("Quotas for configuring and running a WebSocket API in API
/// Gateway").
const MESSAGE_BYTES: usize = 128 * 1024;

/// Timeout of a handshake. API Gateway allows 29 s for `$connect`.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Reason why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The server refused the handshake.
    #[error("the response to the handshake is {status}")]
    Status {
        /// Status of the response.
        status: u16,
        /// Time to wait before the next handshake.
        retry_after: Option<Duration>,
    },
    /// The connection failed, or the address is invalid.
    #[error("the handshake failed: {0}")]
    Failed(String),
}

/// End of a socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the socket ended ({code:?}): {reason}")]
pub struct Ended {
    /// Close code; `None` if the connection broke.
    pub code: Option<u16>,
    /// Reason for people.
    pub reason: String,
}

/// A handshake that has not begun.
#[derive(Debug, Clone)]
pub struct Handshake {
    url: String,
    headers: Vec<(&'static str, String)>,
    receive_buffer: Option<u32>,
    read_buffer: Option<usize>,
    limit: Duration,
}

impl Handshake {
    /// Describes a handshake with the address of the WebSocket API, and a query such as `?ticket=…`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), headers: Vec::new(), receive_buffer: None, read_buffer: None, limit: OPEN_WITHIN }
    }

    /// Describes a handshake for `channels`; if there are none, for all channels of the user.
    #[must_use]
    pub fn for_channels(url: &str, channels: &[impl AsRef<str>]) -> Self {
        let channels: Vec<&str> = channels.iter().map(AsRef::as_ref).collect();
        let query = if channels.is_empty() { String::new() } else { format!("?channels={}", channels.join(",")) };
        Self::new(&format!("{}/{query}", url.trim_end_matches('/')))
    }

    /// Sends a token in the header `authorization`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sends a token as a subprotocol, as browsers do.
    #[must_use]
    pub fn subprotocol(self, token: &str) -> Self {
        self.header("sec-websocket-protocol", &format!("bearer, {token}"))
    }

    /// Sends any header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Limits the receive buffer of the system, in bytes.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Sets the size of the buffer of this library, in bytes.
    #[must_use]
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.read_buffer = Some(bytes);
        self
    }

    /// Sets the timeout.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Opens the socket.
    ///
    /// # Errors
    /// Fails with [`Refused`].
    pub async fn open(self) -> Result<Socket, Refused> {
        // A handshake with TLS is a large future.
        let opened = Box::pin(tokio::time::timeout(self.limit, self.shake())).await;
        opened.unwrap_or_else(|_| Err(Refused::Failed("it took too long".to_owned())))
    }

    async fn shake(&self) -> Result<Socket, Refused> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may install one at the same time.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let mut request = with_path(&self.url).into_client_request().map_err(failed)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).map_err(failed)?);
        }
        let stream = self.connect(&request).await?;
        let mut config =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
        if let Some(bytes) = self.read_buffer {
            config = config.read_buffer_size(bytes);
        }
        match client_async_tls_with_config(request, stream, Some(config), None).await {
            Ok((wire, response)) => {
                let subprotocol = response.headers().get("sec-websocket-protocol");
                let subprotocol = subprotocol.and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok(Socket { wire, subprotocol })
            }
            Err(tungstenite::Error::Http(response)) => {
                let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let retry_after = after.map(Duration::from_secs);
                Err(Refused::Status { status: response.status().as_u16(), retry_after })
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn connect(&self, request: &Request) -> Result<TcpStream, Refused> {
        let uri = request.uri();
        let host = uri.host().ok_or_else(|| failed("the address has no host"))?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("wss") { 443 } else { 80 });
        let mut reason = failed("the address has no host");
        for address in lookup_host((host, port)).await.map_err(failed)? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
            if let Some(bytes) = self.receive_buffer {
                socket.set_recv_buffer_size(bytes).map_err(failed)?;
            }
            match socket.connect(address).await {
                Ok(stream) => {
                    // Frames are small: none waits for the next.
                    stream.set_nodelay(true).map_err(failed)?;
                    return Ok(stream);
                }
                Err(error) => reason = failed(error),
            }
        }
        Err(reason)
    }
}

fn failed(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Refused {
    Refused::Failed(reason.into().to_string())
}

/// Adds the path `/` to an address that has none.
fn with_path(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (before, after) = url.split_at(start);
    let (host, rest) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
    let slash = if rest.starts_with('/') { "" } else { "/" };
    format!("{before}{host}{slash}{rest}")
}

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    wire: Wire,
    subprotocol: Option<String>,
}

impl Socket {
    /// Returns the subprotocol that the server chose.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// Fails with [`Ended`].
    pub async fn say(&mut self, text: &str) -> Result<(), Ended> {
        Ok(self.wire.send(Message::text(text)).await?)
    }

    /// Returns the next text frame. May be cancelled without loss.
    ///
    /// # Errors
    /// Fails with [`Ended`].
    pub async fn hear(&mut self) -> Result<String, Ended> {
        hear(&mut self.wire).await
    }

    /// Divides the socket, to send and to hear at once.
    #[must_use]
    pub fn split(self) -> (Speaker, Listener) {
        let (sink, stream) = self.wire.split();
        (Speaker(sink), Listener(stream))
    }

    /// Closes the socket.
    ///
    /// # Errors
    /// Fails with [`Ended`] if it ended before.
    pub async fn close(mut self) -> Result<(), Ended> {
        Ok(self.wire.close(None).await?)
    }

    /// Ends the connection without a closing handshake.
    pub fn cut(self) {
        drop(self);
    }
}

/// The sending half of a socket.
#[derive(Debug)]
pub struct Speaker(SplitSink<Wire, Message>);

impl Speaker {
    /// Sends a text frame.
    ///
    /// # Errors
    /// Fails with [`Ended`].
    pub async fn say(&mut self, text: &str) -> Result<(), Ended> {
        Ok(self.0.send(Message::text(text)).await?)
    }
}

/// The hearing half of a socket.
#[derive(Debug)]
pub struct Listener(SplitStream<Wire>);

impl Listener {
    /// Returns the next text frame.
    ///
    /// # Errors
    /// Fails with [`Ended`].
    pub async fn hear(&mut self) -> Result<String, Ended> {
        hear(&mut self.0).await
    }
}

async fn hear(stream: &mut (impl Stream<Item = tungstenite::Result<Message>> + Unpin)) -> Result<String, Ended> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(frame))) => {
                let code = frame.as_ref().map(|frame| frame.code.into());
                let reason = frame.map(|frame| frame.reason.as_str().to_owned()).unwrap_or_default();
                return Err(Ended { code, reason });
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Ended { code: None, reason: "the connection broke".to_owned() }),
        }
    }
}

impl From<tungstenite::Error> for Ended {
    fn from(error: tungstenite::Error) -> Self {
        Self { code: None, reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_path() {
        for (url, expected) in [
            ("ws://localhost:3001", "ws://localhost:3001/"),
            ("ws://localhost:3001?ticket=a/b", "ws://localhost:3001/?ticket=a/b"),
            ("wss://example.com/prod?channels=a", "wss://example.com/prod?channels=a"),
        ] {
            assert_eq!(with_path(url), expected);
        }
        assert_eq!(Handshake::for_channels("ws://localhost/", &["a", "b"]).url, "ws://localhost/?channels=a,b");
        assert_eq!(Handshake::for_channels("wss://example.com/prod", &[""; 0]).url, "wss://example.com/prod/");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_left() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let refused = Handshake::new(&url).within(Duration::from_millis(50)).open().await.unwrap_err();
        assert!(matches!(refused, Refused::Failed(_)), "{refused}");
    }
}
