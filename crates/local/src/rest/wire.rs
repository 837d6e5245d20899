//! What both gateways do with a request before a function sees it: bounded bodies, decoded parameters,
//! headers as JSON, and the address of the client.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::identifiers;

/// How much of a body that is over its limit is still read and thrown away. A client that is answered while it
/// is still sending may see a reset in place of the answer.
const DISCARDED_BYTES: usize = 32 * 1024 * 1024;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is over the limit.
    TooLarge,
    /// The client broke off or sent no valid HTTP.
    Broken,
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut chunks = body.into_data_stream();
    let mut read = BytesMut::new();
    let mut size = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        size = size.saturating_add(chunk.len());
        if size <= limit {
            read.extend_from_slice(&chunk);
        } else if size > limit.saturating_add(DISCARDED_BYTES) {
            break;
        }
    }
    if size > limit { Err(BodyError::TooLarge) } else { Ok(read.freeze()) }
}

/// Undoes percent-encoding. What is no valid encoding stays as it is; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// The parameters of a query string, decoded, in their order.
pub(crate) fn query_parameters(query: Option<&str>) -> Vec<(String, String)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| decode(&text.replace('+', " ")).into_owned();
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Names with their last value, and names with all their values: `headers` and `multiValueHeaders`,
/// `queryStringParameters` and `multiValueQueryStringParameters`.
pub(crate) fn single_and_multi<N: Into<String>>(pairs: impl IntoIterator<Item = (N, String)>) -> (Value, Value) {
    let (mut single, mut multi) = (Map::new(), Map::new());
    for (name, value) in pairs {
        let name = name.into();
        if let Some(values) = multi.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
            values.push(value.clone().into());
        }
        single.insert(name, value.into());
    }
    (single.into(), multi.into())
}

/// `value`, or null when it has no members: AWS sends null, not an empty object.
pub(crate) fn null_when_empty(value: Value) -> Value {
    if value.as_object().is_some_and(Map::is_empty) { Value::Null } else { value }
}

/// The client's address, from the listener; a router that is called directly has none.
pub(crate) fn source_ip(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip().to_canonical())
}

/// `User-Agent`.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<String> {
    headers.get(header::USER_AGENT).map(lossy)
}

/// A header value as text; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The client's headers with those that API Gateway adds, named as functions see them on AWS.
///
/// Names of other headers are lower-case, as they are on AWS for a client that speaks HTTP/2: code that works
/// here must not depend on their case.
pub(crate) fn event_headers(parts: &Parts, domain_name: &str, now: Timestamp) -> Vec<(String, String)> {
    // Hop-by-hop headers (RFC 9110, section 7.6.1) end at the gateway.
    const HOP_BY_HOP: [HeaderName; 6] = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    const FORWARDED_FOR: &str = "x-forwarded-for";
    const TRACE_ID: &str = "x-amzn-trace-id";
    let headers = &parts.headers;
    let mut all: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| {
            !HOP_BY_HOP.contains(name)
                && ![FORWARDED_FOR, TRACE_ID, "x-forwarded-proto", "x-forwarded-port", "host"].contains(&name.as_str())
        })
        .map(|(name, value)| (aws_case(name), lossy(value)))
        .collect();
    let host = headers
        .get(header::HOST)
        .map_or_else(|| parts.uri.authority().map_or_else(|| domain_name.to_owned(), ToString::to_string), lossy);
    let mut forwarded_for: Vec<String> = headers.get_all(FORWARDED_FOR).iter().map(lossy).collect();
    forwarded_for.push(source_ip(parts).to_string());
    let trace_id = headers
        .get(TRACE_ID)
        .map(lossy)
        .filter(|value| value.contains("Root="))
        .unwrap_or_else(|| identifiers::trace_id(now));
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port).to_owned();
    all.push(("Host".into(), host));
    all.push(("X-Amzn-Trace-Id".into(), trace_id));
    all.push(("X-Forwarded-For".into(), forwarded_for.join(", ")));
    all.push(("X-Forwarded-Port".into(), port));
    all.push(("X-Forwarded-Proto".into(), "http".into()));
    all
}

/// The names that AWS's documentation of the events shows in this case, whatever the client sent.
fn aws_case(name: &HeaderName) -> String {
    match name.as_str() {
        "accept" => "Accept".into(),
        "accept-encoding" => "Accept-Encoding".into(),
        "authorization" => "Authorization".into(),
        "content-type" => "Content-Type".into(),
        "sec-websocket-extensions" => "Sec-WebSocket-Extensions".into(),
        "sec-websocket-key" => "Sec-WebSocket-Key".into(),
        "sec-websocket-protocol" => "Sec-WebSocket-Protocol".into(),
        "sec-websocket-version" => "Sec-WebSocket-Version".into(),
        "user-agent" => "User-Agent".into(),
        other => other.to_owned(),
    }
}

/// Whether the request names its host the way a URL can hold it. Functions build URLs from it.
pub(crate) fn has_valid_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => host.to_str().is_ok_and(|host| {
            // As nearly all are; the rest is left to who reads URLs.
            let is_address = host.parse::<SocketAddrV4>().is_ok();
            is_address
                || reqwest::Url::parse(&format!("http://{host}/")).is_ok_and(|url| {
                    url.path() == "/" && url.username().is_empty() && url.query().is_none() && url.fragment().is_none()
                })
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_percent_encoding_is_kept() {
        assert_eq!(decode("a%2Fb%zz%"), "a/b%zz%");
        assert_eq!(decode("%ff"), "\u{fffd}");
        assert_eq!(
            query_parameters(Some("a=1+2&a=%26&b&&=x")),
            [("a", "1 2"), ("a", "&"), ("b", ""), ("", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[tokio::test]
    async fn a_body_at_its_limit_passes_and_one_over_it_does_not() {
        assert_eq!(read_body(Body::from("1234"), 4).await, Ok(Bytes::from("1234")));
        assert_eq!(read_body(Body::from("12345"), 4).await, Err(BodyError::TooLarge));
    }
}
