//! The three events of a WebSocket API, by "Integration requests in API Gateway WebSocket APIs" and "WebSocket API
//! mapping template reference".

use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::rest::{identifiers, wire};

use super::connection::Connection;

/// Names of the API of a connection.
#[derive(Debug, Clone)]
pub(super) struct ApiNames {
    pub(super) api_id: String,
    pub(super) stage: String,
    pub(super) domain_name: String,
}

/// Returns the event of `$connect`, the only one with the client's headers and query string.
pub(super) fn connect(api: &ApiNames, connection: &Connection, parts: &Parts, request_id: &str) -> Value {
    let (headers, multi_value_headers) =
        wire::single_and_multi(wire::event_headers(parts, &api.domain_name, connection.connected_at));
    let (query, multi_value_query) = wire::single_and_multi(wire::query_parameters(parts.uri.query()));
    let mut event = json!({
        "headers": headers,
        "multiValueHeaders": multi_value_headers,
        "requestContext": context(api, connection, "$connect", "CONNECT", request_id, connection.connected_at),
        "isBase64Encoded": false,
    });
    // AWS omits these members if there is no query string.
    if query.as_object().is_some_and(|query| !query.is_empty()) {
        event["queryStringParameters"] = query;
        event["multiValueQueryStringParameters"] = multi_value_query;
    }
    event
}

/// Returns the event of a text frame.
pub(super) fn message(api: &ApiNames, connection: &Connection, route_key: &str, request_id: &str, body: &str) -> Value {
    let mut context = context(api, connection, route_key, "MESSAGE", request_id, Timestamp::now());
    context.insert("messageId".into(), identifiers::extended_request_id().into());
    json!({"requestContext": context, "body": body, "isBase64Encoded": false})
}

/// Returns the event of `$disconnect`.
pub(super) fn disconnect(api: &ApiNames, connection: &Connection) -> Value {
    let request_id = identifiers::extended_request_id();
    let mut context = context(api, connection, "$disconnect", "DISCONNECT", &request_id, Timestamp::now());
    let close = connection.reason();
    context.insert("disconnectStatusCode".into(), close.code.into());
    context.insert("disconnectReason".into(), close.reason.into());
    let headers = [("Host", connection.host.as_str()), ("x-api-key", ""), ("X-Forwarded-For", ""), ("x-restapi", "")];
    let (headers, multi_value_headers) = wire::single_and_multi(headers.map(|(name, value)| (name, value.to_owned())));
    json!({
        "headers": headers,
        "multiValueHeaders": multi_value_headers,
        "requestContext": context,
        "isBase64Encoded": false,
    })
}

fn context(
    api: &ApiNames,
    connection: &Connection,
    route_key: &str,
    event_type: &str,
    request_id: &str,
    now: Timestamp,
) -> Map<String, Value> {
    let mut identity = Map::from_iter([("sourceIp".to_owned(), Value::from(connection.source_ip.as_str()))]);
    if let Some(user_agent) = &connection.user_agent {
        identity.insert("userAgent".into(), user_agent.as_str().into());
    }
    [
        ("routeKey", Value::from(route_key)),
        ("eventType", event_type.into()),
        ("extendedRequestId", request_id.into()),
        ("requestTime", identifiers::request_time(now).into()),
        ("messageDirection", "IN".into()),
        ("stage", api.stage.as_str().into()),
        ("connectedAt", connection.connected_at.as_millisecond().into()),
        ("requestTimeEpoch", now.as_millisecond().into()),
        ("identity", identity.into()),
        ("requestId", request_id.into()),
        ("domainName", api.domain_name.as_str().into()),
        ("connectionId", connection.id.as_str().into()),
        ("apiId", api.api_id.as_str().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}
