//! From a handshake to a connection. The event holds the caller's token and is never logged.

use auth::Verifier;
use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    channel::ChannelStore,
    clock::{Clock, SystemClock, Timestamp},
    connect::{Connect, connect},
    connection::ConnectionStore,
    error::ChatError,
    id::{ChannelId, ConnectionId, UserId},
};
use serde::Serialize;
use serde_json::{Map, Value};

const SUBPROTOCOL: &str = "sec-websocket-protocol";

/// Accepts or refuses handshakes.
pub(crate) struct Handler<Channels, Connections> {
    pub(crate) channels: Channels,
    pub(crate) connections: Connections,
    pub(crate) verifier: Verifier,
}

/// The answer to `$connect`: any status but 2xx refuses the handshake with it. To accept a subprotocol, the
/// answer names it ("WebSocket APIs: `$connect` route requiring a subprotocol" in the API Gateway guide).
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    #[serde(rename = "statusCode")]
    status: u16,
    #[serde(skip_serializing_if = "Map::is_empty")]
    headers: Map<String, Value>,
}

impl<Channels: ChannelStore, Connections: ConnectionStore> Handler<Channels, Connections> {
    pub(crate) async fn handle(&self, event: ApiGatewayWebsocketProxyRequest) -> Answer {
        let request_id = event.request_context.request_id.clone().unwrap_or_default();
        let connection_id = event.request_context.connection_id.clone().unwrap_or_default();
        let (token, subprotocol) = token(&event);
        let outcome = self.connect(&event, token.unwrap_or_default()).await;
        let status = match &outcome {
            Ok(()) => 200,
            Err(status) => *status,
        };
        tracing::info!(request_id, connection_id, status, "answered $connect");
        let mut headers = Map::new();
        if outcome.is_ok() && subprotocol {
            headers.insert("Sec-WebSocket-Protocol".to_owned(), "bearer".into());
        }
        Answer { status, headers }
    }

    async fn connect(&self, event: &ApiGatewayWebsocketProxyRequest, token: &str) -> Result<(), u16> {
        let identity = self.verifier.verify(token, SystemClock.now().as_secs()).await.map_err(|error| match error {
            auth::AuthError::KeysUnavailable => 503_u16,
            _ => 401,
        })?;
        let user_id: UserId = identity.user_id.parse().map_err(|_| 401_u16)?;
        let id = event.request_context.connection_id.as_deref().unwrap_or_default();
        let connection_id: ConnectionId = id.parse().map_err(|_| 500_u16)?;
        let channels = asked_channels(event).map_err(|_| 400_u16)?;
        let request = Connect {
            connection_id,
            user_id,
            token_expires_at: Timestamp::from_secs(identity.expires_at_secs),
            channels,
        };
        match connect(&self.channels, &self.connections, &SystemClock, request).await {
            Ok(_) => Ok(()),
            // What the caller may not know of is not told from what does not exist.
            Err(ChatError::ChannelNotFound) => Err(403),
            Err(ChatError::Invalid(_)) => Err(400),
            Err(error) => {
                tracing::error!(%error, "could not store a connection");
                Err(503)
            }
        }
    }
}

/// The caller's token, and whether it came as the subprotocol pair `bearer, <token>`: the only header that a
/// browser lets a page choose.
fn token(event: &ApiGatewayWebsocketProxyRequest) -> (Option<&str>, bool) {
    let header = |name: &str| event.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(value) = header("authorization") {
        let token = value.trim().split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return (token.map(|(_, token)| token.trim()), false);
    }
    if let Some((scheme, token)) = header(SUBPROTOCOL).and_then(|value| value.split_once(','))
        && scheme.trim() == "bearer"
    {
        return (Some(token.trim()), true);
    }
    (event.query_string_parameters.first("token"), false)
}

/// `?channels=a,b`; `None` when there is no such parameter.
fn asked_channels(event: &ApiGatewayWebsocketProxyRequest) -> Result<Option<Vec<ChannelId>>, chat::id::IdError> {
    let Some(text) = event.query_string_parameters.first("channels") else { return Ok(None) };
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::parse).collect::<Result<_, _>>().map(Some)
}
