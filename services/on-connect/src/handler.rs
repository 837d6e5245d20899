//! Converts a handshake to a connection. The event contains the caller's token and is never logged.

use auth::{AuthError, Scope, Verifier};
use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    app::{
        connect::{Asked, Connect, Connector},
        rate_limit::check_rate_limit,
        tickets::redeem,
    },
    model::{
        error::ChatError,
        id::{ChannelId, ConnectionId, TenantId},
        token_bucket::Bucket,
    },
    ports::{
        clock::{Clock, SystemClock},
        rate_limiter::LimitedAction,
    },
};
use chat_aws::{DynamoChannels, DynamoConnections, ManagementApi};
use serde::Serialize;
use serde_json::{Map, Value};
use telemetry::{OpenTelemetrySpanExt, Status, invocation, metrics};
use tracing::{Instrument, Span};

const SUBPROTOCOL: &str = "sec-websocket-protocol";

/// The handler that accepts or refuses handshakes.
pub(crate) struct Handler {
    pub(crate) channels: DynamoChannels,
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) verifier: Verifier,
    pub(crate) bucket: Bucket,
    /// Maximum number of connections per user.
    pub(crate) most: usize,
}

/// The response to `$connect`. Any status but 2xx refuses the handshake with that status. An accepted subprotocol is
/// named in the response ("WebSocket APIs: `$connect` route requiring a subprotocol" in the API Gateway guide).
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    #[serde(rename = "statusCode")]
    status: u16,
    #[serde(skip_serializing_if = "Map::is_empty")]
    headers: Map<String, Value>,
}

impl Handler {
    pub(crate) async fn handle(&self, event: ApiGatewayWebsocketProxyRequest) -> Answer {
        // The handshake has a trace of its own, because its headers contain the token and are read for the token only.
        let span = invocation::span("server", "http");
        invocation::begin_trace(&span);
        self.answer(event).instrument(span).await
    }

    async fn answer(&self, event: ApiGatewayWebsocketProxyRequest) -> Answer {
        let request_id = event.request_context.request_id.clone().unwrap_or_default();
        let connection_id = event.request_context.connection_id.clone().unwrap_or_default();
        let (token, subprotocol) = token(&event);
        let outcome = self.connect(&event, token.unwrap_or_default()).await;
        let status = match &outcome {
            Ok(()) => 200,
            Err(status) => *status,
        };
        if outcome.is_ok() {
            metrics::count(&metrics::CONNECTIONS_OPENED, 1);
        }
        let span = Span::current();
        span.set_attribute("http.route", "$connect");
        span.set_attribute("http.response.status_code", i64::from(status));
        if status >= 500 {
            span.set_attribute("error.type", status.to_string());
            span.set_status(Status::error(String::new()));
        }
        tracing::info!(request_id, connection_id, status, "answered $connect");
        let mut headers = Map::new();
        if outcome.is_ok() && subprotocol {
            headers.insert("Sec-WebSocket-Protocol".to_owned(), "bearer".into());
        }
        Answer { status, headers }
    }

    async fn connect(&self, event: &ApiGatewayWebsocketProxyRequest, token: &str) -> Result<(), u16> {
        let id = event.request_context.connection_id.as_deref().unwrap_or_default();
        let connection_id: ConnectionId = id.parse().map_err(|_| 500_u16)?;
        let asked = asked_channels(event).map_err(|_| 400_u16)?;
        let (tenant, request) = match event.query_string_parameters.first("ticket") {
            Some(ticket) => self.by_ticket(ticket, asked, connection_id).await?,
            None => self.by_token(token, asked, connection_id).await?,
        };
        let (channels, connections) =
            (self.channels.for_tenant(tenant.as_ref()), self.connections.for_tenant(tenant.as_ref()));
        // On the heap, because a nested future is part of its parent, and these are large.
        let connected = Box::pin(async {
            check_rate_limit(&channels, &SystemClock, &request.user_id, &LimitedAction::Connect, self.bucket).await?;
            let connector = Connector {
                channels: &channels,
                connections: &connections,
                sockets: &self.sockets,
                clock: &SystemClock,
            };
            connector.connect(request, self.most).await
        });
        connected.await.map(|_| ()).map_err(|error| status(&error))
    }

    async fn by_token(
        &self,
        token: &str,
        channels: Option<Vec<ChannelId>>,
        connection_id: ConnectionId,
    ) -> Result<(Option<TenantId>, Connect), u16> {
        let refused = |error| if error == AuthError::KeysUnavailable { 503_u16 } else { 401 };
        let identity = self.verifier.verify(token, SystemClock.now()).await.map_err(refused)?;
        if !identity.permits(Scope::Read) {
            return Err(403);
        }
        let token_expires_at = identity.open_until(SystemClock.now()).map_err(refused)?;
        let connect = Connect {
            connection_id,
            user_id: identity.caller.user_id,
            token_expires_at,
            asked: Asked::of_request(channels),
            allowed_channels: identity.caller.allowed_channels,
        };
        Ok((identity.caller.tenant, connect))
    }

    /// Opens a connection by a ticket, which contains the channels to subscribe.
    async fn by_ticket(
        &self,
        ticket: &str,
        asked: Option<Vec<ChannelId>>,
        connection_id: ConnectionId,
    ) -> Result<(Option<TenantId>, Connect), u16> {
        if asked.is_some() {
            return Err(400);
        }
        let ticket = redeem(&self.connections, &SystemClock, ticket).await.map_err(|error| status(&error))?;
        let connect = Connect {
            connection_id,
            user_id: ticket.user_id,
            token_expires_at: ticket.token_expires_at,
            asked: Asked::of_ticket(ticket.channels),
            allowed_channels: ticket.allowed_channels,
        };
        Ok((ticket.tenant, connect))
    }
}

fn status(error: &ChatError) -> u16 {
    match error {
        // A channel that the caller may not see is not distinguished from one that does not exist.
        ChatError::ChannelNotFound => 403,
        ChatError::Invalid(_) => 400,
        ChatError::TicketInvalid => 401,
        ChatError::TooManyRequests { .. } | ChatError::TooManyConnections(_) => 429,
        error => {
            tracing::error!(%error, "connection was not stored");
            503
        }
    }
}

/// Returns the caller's token, and whether it is from the subprotocol pair `bearer, <token>`. Browsers let a page set
/// no other header.
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

/// Reads `?channels=a,b`. Returns `None` if the parameter is absent.
fn asked_channels(event: &ApiGatewayWebsocketProxyRequest) -> Result<Option<Vec<ChannelId>>, chat::model::id::IdError> {
    let Some(text) = event.query_string_parameters.first("channels") else { return Ok(None) };
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::parse).collect::<Result<_, _>>().map(Some)
}
