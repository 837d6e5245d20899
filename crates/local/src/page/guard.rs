//! Who may ask, and what a browser may do with the answer.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::{PageConfig, problem};

/// Headers that are the same on every answer.
const FIXED_HEADERS: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// The `Content-Security-Policy` of the page: its own files, and connections to itself and the two APIs.
#[derive(Debug, Clone)]
pub(super) struct ContentSecurityPolicy(HeaderValue);

impl ContentSecurityPolicy {
    pub(super) fn new(config: &PageConfig) -> Self {
        let connect: Vec<_> =
            [&config.rest_url, &config.websocket_url].into_iter().filter_map(|url| origin_of(url)).collect();
        let connect = connect.join(" ");
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; \
             manifest-src 'self'; connect-src 'self' {connect}; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify"
        );
        // Without its connections the page would still be safe, only useless: never less strict than this.
        Self(HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'")))
    }
}

/// `scheme://host:port` of an absolute URL.
fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

pub(super) async fn secure_headers(
    State(ContentSecurityPolicy(policy)): State<ContentSecurityPolicy>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in FIXED_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses a host name that is not this machine's own: DNS rebinding makes a browser send one.
pub(super) async fn loopback_host_only(request: Request, next: Next) -> Response {
    // HTTP/2 carries the host in the request's URI.
    let host = host_of(request.headers()).or_else(|| request.uri().authority().cloned());
    if host.is_some_and(|host| is_loopback(host.host())) {
        next.run(request).await
    } else {
        problem(StatusCode::FORBIDDEN, "This page answers to localhost and 127.0.0.1 only.")
    }
}

/// Whether a request comes from the page itself, or from a program that is no browser.
///
/// Every browser sends `Origin` with a `POST`, and current ones `Sec-Fetch-Site`; neither can be set by a script.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let fetch_site_allows = match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => true,
    };
    let origin_allows = match headers.get(header::ORIGIN) {
        Some(origin) => host_of(headers).is_some_and(|host| origin.as_bytes() == format!("http://{host}").as_bytes()),
        None => true,
    };
    fetch_site_allows && origin_allows
}

fn host_of(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
