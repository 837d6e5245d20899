//! The opening handshake by RFC 6455, section 4.2.1.
//!
//! AWS documents no responses to broken handshakes. These are the ones of the RFC and of RFC 9110.

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::json;

use super::plain;

/// Length of a decoded `Sec-WebSocket-Key` in bytes.
const KEY_BYTES: usize = 16;

/// Returns the response to a request that is no opening handshake.
pub(super) fn refusal(parts: &Parts) -> Option<Response<Body>> {
    let headers = &parts.headers;
    if !lists(headers, &header::UPGRADE, "websocket") || !lists(headers, &header::CONNECTION, "upgrade") {
        return Some(upgrade_required());
    }
    if parts.method != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": "Method Not Allowed"}));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Some(response);
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Some(upgrade_required());
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    let is_valid = key.is_some_and(|key| key.len() == KEY_BYTES);
    (!is_valid).then(|| plain(StatusCode::BAD_REQUEST, &json!({"message": "Bad Request"})))
}

/// Returns the response that names the required protocol and version (RFC 6455, section 4.4).
pub(super) fn upgrade_required() -> Response<Body> {
    let mut response = plain(StatusCode::UPGRADE_REQUIRED, &json!({"message": "Upgrade Required"}));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// Returns `true` if a list has `element`, in any of its lines and in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case(element))
}

/// Returns the only line of a header.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    line.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    /// Returns the response to a good handshake with another value of one header, or without it.
    fn changed(method: Method, name: &str, values: &[&'static str]) -> Option<Response<Body>> {
        let mut request = http::Request::builder().method(method).uri("/");
        for (good, value) in GOOD.into_iter().filter(|(good, _)| *good != name) {
            request = request.header(good, value);
        }
        for value in values {
            request = request.header(name, *value);
        }
        refusal(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_an_opening_handshake_is_accepted() {
        let status =
            |name: &str, values: &[&'static str]| changed(Method::GET, name, values).map(|r| r.status().as_u16());
        assert_eq!(status("", &[]), None);
        assert_eq!(status("connection", &["keep-alive", "upgrade"]), None);
        let cases: [(&str, &[&'static str], u16); 12] = [
            ("connection", &[], 426),
            ("connection", &["keep-alive"], 426),
            ("upgrade", &[], 426),
            ("upgrade", &["h2c"], 426),
            ("sec-websocket-version", &[], 426),
            ("sec-websocket-version", &["8"], 426),
            ("sec-websocket-version", &["13", "13"], 426),
            ("sec-websocket-key", &[], 400),
            ("sec-websocket-key", &[""], 400),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"], 400),
            ("sec-websocket-key", &["YQ=="], 400),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="], 400),
        ];
        for (name, values, expected) in cases {
            assert_eq!(status(name, values), Some(expected), "{name} {values:?}");
        }
        let version = changed(Method::GET, "sec-websocket-version", &["14"]).unwrap();
        assert_eq!(version.headers()["sec-websocket-version"], "13");
        let posted = changed(Method::POST, "", &[]).unwrap();
        assert_eq!((posted.status().as_u16(), &posted.headers()["allow"]), (405, &HeaderValue::from_static("GET")));
    }
}
