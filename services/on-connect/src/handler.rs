//! Converts a handshake to a connection. The event contains the caller's token and is never logged.

use std::borrow::Cow;

use auth::{AuthError, Scope, Verifier};
use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    app::{
        connect::{Asked, Connect, ConnectLimits, Connector},
        tickets::redeem,
    },
    model::{
        error::ChatError,
        id::{ChannelId, ConnectionId, TenantId},
    },
    ports::clock::{Clock, SystemClock},
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
    pub(crate) limits: ConnectLimits,
    /// Whether the query string may contain the token.
    pub(crate) token_in_url: bool,
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
        let asked = Handshake::of(&event, self.token_in_url);
        let subprotocol = asked.as_ref().is_ok_and(|asked| asked.by_subprotocol);
        let outcome = match asked {
            Ok(asked) => self.connect(&event, asked).await,
            Err(status) => Err(status),
        };
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

    async fn connect(&self, event: &ApiGatewayWebsocketProxyRequest, asked: Handshake<'_>) -> Result<(), u16> {
        let id = event.request_context.connection_id.as_deref().unwrap_or_default();
        let connection_id: ConnectionId = id.parse().map_err(|_| 500_u16)?;
        let (tenant, request) = match asked.ticket {
            Some(ticket) => self.by_ticket(ticket, asked.channels, connection_id).await?,
            None => self.by_token(asked.token.as_deref().unwrap_or_default(), asked.channels, connection_id).await?,
        };
        let (channels, connections) =
            (self.channels.for_tenant(tenant.as_ref()), self.connections.for_tenant(tenant.as_ref()));
        // On the heap, because a nested future is part of its parent, and these are large.
        let connected = Box::pin(async {
            let connector = Connector {
                channels: &channels,
                connections: &connections,
                sockets: &self.sockets,
                clock: &SystemClock,
            };
            connector.connect(request, self.limits).await
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
        ChatError::TooManyRequests(_) | ChatError::TooManyConnections(_) => 429,
        error => {
            tracing::error!(%error, "connection was not stored");
            503
        }
    }
}

/// The token, ticket and channels of a handshake.
struct Handshake<'a> {
    token: Option<Cow<'a, str>>,
    /// The token is from the subprotocol pair `bearer, <token>`. Browsers let a page set no other header.
    by_subprotocol: bool,
    ticket: Option<&'a str>,
    channels: Option<Vec<ChannelId>>,
}

impl<'a> Handshake<'a> {
    /// Reads the headers and the query string. A token in the query string counts only if `token_in_url`, because
    /// proxies and browsers log URLs.
    ///
    /// # Errors
    /// Fails with 400 if `Authorization` or a parameter is repeated, or if a channel is no id.
    fn of(event: &'a ApiGatewayWebsocketProxyRequest, token_in_url: bool) -> Result<Self, u16> {
        let (in_query, ticket) = (parameter(event, "token")?, parameter(event, "ticket")?);
        let channels = asked_channels(parameter(event, "channels")?).map_err(|_| 400_u16)?;
        let asked = |token, by_subprotocol| Self { token, by_subprotocol, ticket, channels };
        let authorization = lines(event, "authorization");
        if authorization.len() > 1 {
            return Err(400);
        }
        if let Some(value) = authorization.first() {
            let token = value.trim().split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            return Ok(asked(token.map(|(_, token)| Cow::Borrowed(token.trim())), false));
        }
        // The lines of a list are one list (RFC 6455, section 11.3.4).
        let subprotocols = lines(event, SUBPROTOCOL).join(",");
        let mut subprotocols = subprotocols.split(',').map(str::trim).filter(|name| !name.is_empty());
        if subprotocols.next() == Some("bearer")
            && let Some(token) = subprotocols.next()
        {
            return Ok(asked(Some(Cow::Owned(token.to_owned())), true));
        }
        Ok(asked(in_query.filter(|_| token_in_url).map(Cow::Borrowed), false))
    }
}

/// Returns all lines of a header that are text. An event has its last line in `headers` as well.
fn lines<'a>(event: &'a ApiGatewayWebsocketProxyRequest, name: &str) -> Vec<&'a str> {
    let headers =
        if event.multi_value_headers.contains_key(name) { &event.multi_value_headers } else { &event.headers };
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// Returns a parameter of the query string. Fails with 400 if it is repeated.
fn parameter<'a>(event: &'a ApiGatewayWebsocketProxyRequest, name: &str) -> Result<Option<&'a str>, u16> {
    let all = event.multi_value_query_string_parameters.all(name).unwrap_or_default();
    if all.len() > 1 {
        return Err(400);
    }
    Ok(all.first().copied().or_else(|| event.query_string_parameters.first(name)))
}

/// Reads `?channels=a,b`. Returns `None` if the parameter is absent.
fn asked_channels(text: Option<&str>) -> Result<Option<Vec<ChannelId>>, chat::model::id::IdError> {
    let Some(text) = text else { return Ok(None) };
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::parse).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(headers: &Value, query: &Value) -> ApiGatewayWebsocketProxyRequest {
        let event = json!({
            "headers": {},
            "multiValueHeaders": headers,
            "queryStringParameters": {},
            "multiValueQueryStringParameters": query,
            "requestContext": {"identity": {}, "connectedAt": 0, "requestTimeEpoch": 0},
            "isBase64Encoded": false,
        });
        serde_json::from_value(event).unwrap()
    }

    fn token(headers: &Value, query: &Value) -> Result<(Option<String>, bool), u16> {
        let event = event(headers, query);
        let asked = Handshake::of(&event, true)?;
        Ok((asked.token.map(Cow::into_owned), asked.by_subprotocol))
    }

    #[test]
    fn a_token_is_given_once() {
        let (none, of) = (json!({}), |token: &str| Some(token.to_owned()));
        assert_eq!(token(&none, &none), Ok((None, false)));
        assert_eq!(token(&json!({"Authorization": ["Bearer a"]}), &none), Ok((of("a"), false)));
        assert_eq!(token(&json!({"Authorization": ["Bearer a", "Bearer a"]}), &none), Err(400));
        assert_eq!(token(&none, &json!({"token": ["a"]})), Ok((of("a"), false)));
        for name in ["token", "ticket", "channels"] {
            assert_eq!(token(&none, &json!({name: ["a", "a"]})), Err(400), "{name}");
        }
    }

    #[test]
    fn a_token_in_the_url_counts_only_where_it_is_allowed() {
        let event = event(&json!({}), &json!({"token": ["a"], "ticket": ["t"]}));
        for (allowed, token) in [(true, Some("a")), (false, None)] {
            let asked = Handshake::of(&event, allowed).unwrap();
            assert_eq!((asked.token.as_deref(), asked.ticket), (token, Some("t")));
        }
    }

    #[test]
    fn the_lines_of_the_subprotocols_are_one_list() {
        let none = json!({});
        for lines in
            [json!(["bearer, a"]), json!(["bearer", "a"]), json!(["bearer,a", "chat"]), json!([" bearer ,, a"])]
        {
            let asked = token(&json!({"Sec-WebSocket-Protocol": lines}), &none);
            assert_eq!(asked, Ok((Some("a".to_owned()), true)), "{lines}");
        }
        for lines in [json!(["bearer"]), json!(["chat, a"]), json!(["Bearer, a"])] {
            assert_eq!(token(&json!({"Sec-WebSocket-Protocol": lines}), &none), Ok((None, false)), "{lines}");
        }
    }
}
