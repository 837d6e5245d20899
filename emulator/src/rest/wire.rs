//! Request processing of both gateways before a function is invoked: bounded bodies, decoded parameters, headers as
//! JSON, and the address of the client.

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

/// Maximum number of bytes that are read and discarded after a body exceeds its limit. A client that receives a
/// response while it is sending may see a reset instead.
const DISCARDED_BYTES: usize = 32 * 1024 * 1024;

/// Name of the trace header in events.
pub(super) const TRACE_ID: &str = "X-Amzn-Trace-Id";

/// Reason why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body exceeds the limit.
    TooLarge,
    /// The client disconnected or sent invalid HTTP.
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

/// Decodes percent-encoding. Invalid encodings stay unchanged. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Returns the decoded parameters of a query string, in their order.
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

/// Returns names with their last value, and names with all their values: `headers` and `multiValueHeaders`,
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

/// Returns `value`, or null if it has no members, because AWS sends null instead of an empty object.
pub(crate) fn null_when_empty(value: Value) -> Value {
    if value.as_object().is_some_and(Map::is_empty) { Value::Null } else { value }
}

/// Returns the client's address from the listener. A router without a listener has none and uses the loopback address.
pub(crate) fn source_ip(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip().to_canonical())
}

/// Returns the `User-Agent`.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<String> {
    headers.get(header::USER_AGENT).map(lossy)
}

/// Returns a header value as text. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Returns the client's headers and those that API Gateway adds, named as functions see them on AWS.
///
/// Names of other headers are lower-case, as on AWS for a client that uses HTTP/2. Functions must not depend on their
/// case.
pub(crate) fn event_headers(parts: &Parts, domain_name: &str, now: Timestamp) -> Vec<(String, String)> {
    // Hop-by-hop headers (RFC 9110, section 7.6.1) end at the gateway. So does the length of the body (recorded at AWS).
    const ENDING: [HeaderName; 7] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    const FORWARDED_FOR: &str = "x-forwarded-for";
    let headers = &parts.headers;
    let mut all: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| {
            !ENDING.contains(name)
                && ![FORWARDED_FOR, "x-amzn-trace-id", "x-forwarded-proto", "x-forwarded-port", "host"]
                    .contains(&name.as_str())
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
    all.push((TRACE_ID.into(), trace_id));
    all.push(("X-Forwarded-For".into(), forwarded_for.join(", ")));
    all.push(("X-Forwarded-Port".into(), port));
    all.push(("X-Forwarded-Proto".into(), "http".into()));
    all
}

/// Returns the names in the case of AWS's documentation of the events, for any case of the client.
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

/// Returns `true` if the request names a host that is valid in a URL. Functions build URLs from it.
pub(crate) fn has_valid_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => host.to_str().is_ok_and(|host| {
            // Fast path for the usual hosts. The URL parser checks the others.
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
