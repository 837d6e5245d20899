//! The opening handshake of a socket: a method, and a header on each further line. A broken handshake is refused by RFC
//! 6455 and RFC 9110.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use tower::ServiceExt;

use crate::functions::{block_on, with_world};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Ok(method) = Method::from_bytes(lines.next().unwrap_or_default().as_bytes()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.trim()));
        let (Ok(name), Ok(value)) = (name, value) else { continue };
        if name != header::HOST {
            headers.append(name, value);
        }
    }
    let expected = status(&method, &headers);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    with_world(|world| {
        let answer = block_on(world.sockets.clone().oneshot(request)).expect("an answer");
        assert_eq!(answer.status(), expected, "{text:?}");
        let value = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
        match expected {
            426 => assert_eq!(
                (value(header::UPGRADE), value(header::SEC_WEBSOCKET_VERSION)),
                (Some("websocket"), Some("13"))
            ),
            405 => assert_eq!(value(header::ALLOW), Some("GET")),
            _ => {}
        }
    });
}

/// Returns the status of the response. A complete handshake has 426 too, because no connection carries the request.
fn status(method: &Method, headers: &HeaderMap) -> u16 {
    let lists = |name: HeaderName, element: &str| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case(element))
    };
    if !lists(header::UPGRADE, "websocket") || !lists(header::CONNECTION, "upgrade") {
        return 426;
    }
    if method != Method::GET {
        return 405;
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return 426;
    }
    if only(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(is_key) { 426 } else { 400 }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() { None } else { line.to_str().ok() }
}

/// Returns whether a text is 16 bytes in base64 (RFC 6455, section 4.1): 22 characters, of which the last has four zero
/// bits, and the padding.
fn is_key(text: &str) -> bool {
    let Some(digits) = text.strip_suffix("==").filter(|digits| digits.len() == 22) else { return false };
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && digits.ends_with(['A', 'Q', 'g', 'w'])
}
