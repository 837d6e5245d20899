//! Security headers of responses to a browser.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Uri, header},
    middleware::Next,
    response::Response,
};

use super::PageConfig;

/// Headers of every response.
const FIXED_HEADERS: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// `Content-Security-Policy` of the page: its own files, and connections to itself and the two APIs.
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
        // Falls back to a stricter policy: the page cannot connect, but stays safe.
        Self(HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'")))
    }
}

/// Returns `scheme://host:port` of an absolute URL.
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
