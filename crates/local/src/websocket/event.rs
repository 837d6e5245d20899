//! The events that functions of a WebSocket API receive, in the shapes of "Set up integration request in API Gateway"
//! and of the fixtures of `aws_lambda_events`.

use std::{collections::BTreeMap, net::SocketAddr};

use http::{HeaderMap, StatusCode, request::Parts};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Gateway,
    connection::{Closed, Connection},
};

/// What the handshake told of the client.
pub(super) struct Client {
    pub(super) source_ip: String,
    pub(super) user_agent: Option<String>,
    headers: BTreeMap<String, Vec<String>>,
    query: BTreeMap<String, Vec<String>>,
}

impl Client {
    pub(super) fn new(parts: &Parts, peer: Option<SocketAddr>) -> Self {
        let source_ip = peer.map_or_else(|| "127.0.0.1".to_owned(), |peer| peer.ip().to_string());
        let text = |headers: &HeaderMap, name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(event_name(name.as_str())).or_default().push(value);
        }
        headers.insert("X-Forwarded-For".to_owned(), vec![source_ip.clone()]);
        headers.insert("X-Forwarded-Proto".to_owned(), vec!["http".to_owned()]);
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.entry(decode(name)).or_default().push(decode(value));
        }
        Self { source_ip, user_agent: text(&parts.headers, "user-agent"), headers, query }
    }
}

/// Header names as API Gateway hands them on for HTTP/1.1: each word with a capital.
fn event_name(name: &str) -> String {
    let words: Vec<String> = name
        .split('-')
        .map(|word| match word {
            "websocket" => "WebSocket".to_owned(),
            word => word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect(),
        })
        .collect();
    words.join("-")
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// A new request id.
pub(super) fn request_id() -> String {
    let bits: u128 = rand::random();
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn context(gateway: &Gateway, connection: &Connection, route_key: &str, kind: &str, id: &str) -> Map<String, Value> {
    let now = Timestamp::now();
    let context = json!({
        "routeKey": route_key,
        "eventType": kind,
        "extendedRequestId": id,
        "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "messageDirection": "IN",
        "stage": gateway.0.api.stage,
        "connectedAt": connection.connected_at.as_millisecond(),
        "requestTimeEpoch": now.as_millisecond(),
        "identity": { "userAgent": connection.user_agent, "sourceIp": connection.source_ip },
        "requestId": id,
        "domainName": gateway.0.domain_name,
        "connectionId": connection.id,
        "apiId": gateway.0.api.id,
    });
    match context {
        Value::Object(context) => context,
        _ => Map::new(),
    }
}

fn last_values(values: &BTreeMap<String, Vec<String>>) -> Value {
    values.iter().filter_map(|(name, values)| Some((name.clone(), Value::from(values.last()?.clone())))).collect()
}

/// `$connect`.
pub(super) fn connect(gateway: &Gateway, client: &Client, connection: &Connection) -> Value {
    let mut event = json!({
        "headers": last_values(&client.headers),
        "multiValueHeaders": client.headers,
        "requestContext": context(gateway, connection, "$connect", "CONNECT", &request_id()),
        "isBase64Encoded": false,
    });
    // Left out, as API Gateway does, when the URL has no query.
    if !client.query.is_empty() {
        event["queryStringParameters"] = last_values(&client.query);
        event["multiValueQueryStringParameters"] = json!(client.query);
    }
    event
}

/// A message of the client.
pub(super) fn message(gateway: &Gateway, connection: &Connection, route_key: &str, id: &str, body: &str) -> Value {
    let mut context = context(gateway, connection, route_key, "MESSAGE", id);
    context.insert("messageId".to_owned(), id.into());
    json!({ "requestContext": context, "body": body, "isBase64Encoded": false })
}

/// `$disconnect`.
pub(super) fn disconnect(gateway: &Gateway, client: &Client, connection: &Connection, closed: &Closed) -> Value {
    let mut context = context(gateway, connection, "$disconnect", "DISCONNECT", &request_id());
    context.insert("disconnectStatusCode".to_owned(), closed.code.into());
    context.insert("disconnectReason".to_owned(), closed.reason.clone().into());
    let host = client.headers.get("Host").and_then(|values| values.last()).cloned().unwrap_or_default();
    let headers = json!({ "Host": host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" });
    let multi: Map<String, Value> =
        headers.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), json!([value]))).collect();
    json!({ "headers": headers, "multiValueHeaders": multi, "requestContext": context, "isBase64Encoded": false })
}

/// What the gateway itself says on a socket.
pub(super) fn gateway_message(message: &str, connection: &Connection, request_id: &str) -> String {
    json!({ "message": message, "connectionId": connection.id, "requestId": request_id }).to_string()
}

/// The route that a message selects by `$request.body.<property>`, when it is JSON and has one.
pub(super) fn selected_route(expression: &str, text: &str) -> Option<String> {
    let path = expression.trim_start_matches("${").trim_end_matches('}').strip_prefix('$').unwrap_or(expression);
    let path = path.strip_prefix("request.body.")?;
    let body: Value = serde_json::from_str(text).ok()?;
    let value = path.split('.').try_fold(&body, |value, name| value.get(name))?;
    value.as_str().map(str::to_owned)
}

/// A status code of a function's answer: a number, or text that holds one.
pub(super) fn status_code(value: &Value) -> Option<StatusCode> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    StatusCode::from_u16(u16::try_from(number).ok()?).ok()
}

/// A header of a function's answer, whatever the case of its name.
pub(super) fn header(answer: &Value, name: &str) -> Option<String> {
    let headers = answer.get("headers")?.as_object()?;
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_selected_by_the_property_of_the_expression() {
        let expression = "$request.body.action";
        assert_eq!(selected_route(expression, r#"{"action":"sendmessage"}"#), Some("sendmessage".into()));
        for other in ["", "x", "[]", "{}", r#"{"action":1}"#, r#"{"action":null}"#] {
            assert_eq!(selected_route(expression, other), None, "{other}");
        }
        assert_eq!(selected_route("$request.body.a.b", r#"{"a":{"b":"c"}}"#), Some("c".into()));
    }
}
