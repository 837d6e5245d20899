//! Access to a listener: programs, and the pages of a [`Door`].

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, uri::Authority};
use serde_json::json;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Maximum number of rejected origins in the log, each logged once. Further ones are rejected without a log line.
const NAMED_IN_LOG: usize = 16;

/// Origin of a page, such as `http://localhost:5173`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// Error: the text is not an origin.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not an origin: write SCHEME://HOST or SCHEME://HOST:PORT with the scheme http or https and without a path, \
     such as http://localhost:5173"
)]
pub struct OriginError(String);

impl FromStr for Origin {
    type Err = OriginError;

    /// Parses an origin, and normalizes it as browsers do ("ASCII serialization of an origin" in the HTML standard).
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let unreadable = || OriginError(text.to_owned());
        let url: reqwest::Url = text.parse().map_err(|_| unreadable())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        if !matches!(url.scheme(), "http" | "https") || !bare || !anonymous {
            return Err(unreadable());
        }
        Ok(Self(url.origin().ascii_serialization()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rule that defines which pages of a browser may send requests to a listener. Programs may send requests to every
/// listener.
#[derive(Debug, Clone)]
pub struct Door {
    pages: Pages,
    /// Rejected origins that are already logged.
    named: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, Clone)]
enum Pages {
    /// No page.
    None,
    /// Pages that this listener serves itself.
    Own,
    /// Pages of these origins, and pages that this listener serves itself.
    Of(Arc<[Origin]>),
}

impl Door {
    /// Returns the rule for DynamoDB, Lambda, SQS, the Runtime API and OTLP: programs only.
    #[must_use]
    pub fn programs() -> Self {
        Self::new(Pages::None)
    }

    /// Returns the rule for programs and the page that the listener serves.
    ///
    /// A link on another site may lead to the page only without a query. A query names a user and a channel, which the
    /// page opens and creates.
    #[must_use]
    pub fn own_page() -> Self {
        Self::new(Pages::Own)
    }

    /// Returns the rule for the REST API and the WebSocket API: programs and pages of these origins.
    #[must_use]
    pub fn pages_of(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self::new(Pages::Of(origins.into_iter().collect()))
    }

    fn new(pages: Pages) -> Self {
        Self { pages, named: Arc::default() }
    }

    /// Returns the response to a request that is not allowed.
    pub(super) fn refuse<B>(&self, request: &Request<B>) -> Option<Response> {
        let refusal = self.check(request).err()?;
        if let (Refusal::Page(origin), Pages::Of(_)) = (&refusal, &self.pages)
            && origin.parse::<Origin>().is_ok()
        {
            self.name(origin);
        }
        Some(refusal.answer())
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let headers = request.headers();
        let host = one(headers, &header::HOST).map_err(|()| Refusal::Host)?.ok_or(Refusal::Host)?;
        // The target of a request in absolute form overrides its `Host` (RFC 9112, section 3.2.2).
        let target = request.uri().authority();
        if !is_this_machine(host)? || !target.is_none_or(|target| is_loopback(target.host())) {
            return Err(Refusal::ForeignHost);
        }
        let origin = one(headers, &header::ORIGIN).map_err(|()| Refusal::Page("several origins".to_owned()))?;
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        let foreign = || {
            let origin = origin.map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
            Err(Refusal::Page(origin.unwrap_or_else(|| "another origin".to_owned())))
        };
        let is_own = |origin: &HeaderValue| origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes());
        // A request without an origin comes from the document itself, or from the address bar.
        let is_direct = |site: &[u8]| matches!(site, b"same-origin" | b"none");
        match (&self.pages, origin, site) {
            (_, None, None) => Ok(()),
            (Pages::None, ..) => Err(Refusal::Programs),
            (Pages::Own, Some(origin), site) if is_own(origin) && site.is_none_or(is_direct) => Ok(()),
            (Pages::Own, None, Some(site)) if is_direct(site) || is_visit(request) => Ok(()),
            (Pages::Of(origins), Some(origin), _)
                if is_own(origin) || origins.iter().any(|known| known.0.as_bytes() == origin.as_bytes()) =>
            {
                Ok(())
            }
            (Pages::Of(_), None, Some(site)) if is_direct(site) => Ok(()),
            _ => foreign(),
        }
    }

    /// Logs a rejected origin with the option that allows it.
    fn name(&self, origin: &str) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED_IN_LOG && named.insert(origin.to_owned()) {
            tracing::warn!("a page of {origin} was refused; --allow-origin {origin} lets it call the two APIs");
        }
    }
}

/// Reason why a request is rejected.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The request does not name exactly one host.
    Host,
    /// The request names a host that is not this machine.
    ForeignHost,
    /// The request comes from a browser, and the listener allows programs only.
    Programs,
    /// The request comes from a page that the rule does not allow.
    Page(String),
}

impl Refusal {
    /// Returns an RFC 9457 problem, with the members in which AWS's SDKs look for errors. No header lets a page read
    /// it.
    fn answer(&self) -> Response {
        let (status, title, detail) = match self {
            Self::Host => (StatusCode::BAD_REQUEST, "Bad Request", "Name one host in the header Host."),
            Self::ForeignHost => {
                (StatusCode::FORBIDDEN, "Forbidden", "The local run answers to localhost and 127.0.0.1 only.")
            }
            Self::Programs => (StatusCode::FORBIDDEN, "Forbidden", "This port is for programs, not for web pages."),
            Self::Page(_) => (
                StatusCode::FORBIDDEN,
                "Forbidden",
                "This is for pages of the local run only, not for other sites. Start it with --allow-origin ORIGIN to \
                 let the REST API and the WebSocket API be called by a page of yours.",
            ),
        };
        let body = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail, "message": detail,
        });
        problem(status, &body.to_string())
    }
}

/// Returns a problem response that caches do not store and pages cannot read.
pub(super) fn problem(status: StatusCode, body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = status;
    for (name, value) in [
        ("content-type", "application/problem+json"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-amzn-errortype", "ForbiddenException"),
        ("x-content-type-options", "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns `true` if a request comes from a page of any origin, or from the address bar of a browser.
pub(crate) fn is_from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE)
}

/// Returns `true` if a request has a Signature Version 4 in its header, as all requests of the AWS CLI and the SDKs do
/// ("Authentication methods" in the IAM user guide). A page cannot set this header without a preflight.
pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
    let parts = ["Credential=", "SignedHeaders=", "Signature="];
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("AWS4-"))
        .is_some_and(|signature| parts.iter().all(|part| signature.contains(part)))
}

/// Returns `true` if the request opens the page by a link in a tab, without a query.
fn is_visit<B>(request: &Request<B>) -> bool {
    let says = |name: &HeaderName, value: &str| request.headers().get(name).is_some_and(|said| said == value);
    request.method() == Method::GET
        && request.uri().path() == "/"
        && request.uri().query().is_none()
        && says(&FETCH_MODE, "navigate")
        && says(&FETCH_DEST, "document")
}

/// Returns the only header of this name, if any. Fails if there are several.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (first, None) => Ok(first),
        _ => Err(()),
    }
}

/// Returns `true` if a `Host` is a name of this machine, with or without a port.
fn is_this_machine(host: &HeaderValue) -> Result<bool, Refusal> {
    let bytes = host.as_bytes();
    // Fast path for the usual hosts.
    let port = bytes.strip_prefix(b"127.0.0.1").or_else(|| bytes.strip_prefix(b"localhost"));
    if port.is_some_and(|port| {
        port.is_empty() || port.strip_prefix(b":").is_some_and(|port| port.iter().all(u8::is_ascii_digit))
    }) {
        return Ok(true);
    }
    let authority = Authority::try_from(bytes).map_err(|_| Refusal::Host)?;
    Ok(is_loopback(authority.host()))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "127.0.0.1:3000";

    fn request(headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    fn passes(door: &Door, host: &str, headers: &[(&'static str, &str)]) -> bool {
        door.check(&request(&[&[("host", host)], headers].concat())).is_ok()
    }

    fn doors() -> [Door; 3] {
        [Door::programs(), Door::own_page(), Door::pages_of(["http://127.0.0.1:3002".parse().unwrap()])]
    }

    #[test]
    fn programs_pass_each_door() {
        for door in doors() {
            for host in ["127.0.0.1:3000", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:3000", "127.0.0.2:3000"] {
                assert!(passes(&door, host, &[]), "{door:?}: {host}");
                // Node's fetch sends this header.
                assert!(passes(&door, host, &[("sec-fetch-mode", "cors")]), "{door:?}: {host}");
            }
        }
    }

    #[test]
    fn another_host_opens_no_door() {
        let foreign = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:3000",
            "localhost5",
            "127.0.0.1x",
            "0.0.0.0",
            "192.168.0.7",
            "[::ffff:7f00:1]",
            "[2001:db8::1]",
            "2130706433",
            "evil@evil.example",
            "localhost@evil.example",
            "localhost.",
            "xn--localhost",
            "",
        ];
        for door in doors() {
            for host in foreign {
                assert!(!passes(&door, host, &[]), "{door:?}: {host}");
                let origin = format!("http://{host}");
                assert!(!passes(&door, host, &[("origin", &origin), ("sec-fetch-site", "same-origin")]), "{host}");
            }
            assert_eq!(door.check(&request(&[])), Err(Refusal::Host));
            assert_eq!(door.check(&request(&[("host", HOST), ("host", HOST)])), Err(Refusal::Host));
            let mut absolute = request(&[("host", HOST)]);
            *absolute.uri_mut() = "http://evil.example/".parse().unwrap();
            assert_eq!(door.check(&absolute), Err(Refusal::ForeignHost));
            *absolute.uri_mut() = "http://localhost:3000/".parse().unwrap();
            assert_eq!(door.check(&absolute), Ok(()));
        }
    }

    #[test]
    fn pages_of_other_origins_open_no_door() {
        let foreign: [&[(&'static str, &str)]; 15] = [
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "file://")],
            &[("origin", "")],
            &[("origin", "http://localhost.evil.example:3002")],
            &[("origin", "http://127.0.0.1:3003")],
            &[("origin", "http://localhost:3002")],
            &[("origin", "https://127.0.0.1:3002")],
            &[("origin", "http://127.0.0.1:3002.evil.example")],
            &[("origin", "http://127.0.0.1:3002"), ("origin", "https://evil.example")],
            &[("origin", "chrome-extension://abcdefghijklmnop")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
        ];
        for door in doors() {
            for headers in foreign {
                assert!(!passes(&door, HOST, headers), "{door:?}: {headers:?}");
            }
        }
    }

    #[test]
    fn doors_for_programs_let_no_page_in() {
        let door = Door::programs();
        for headers in [
            &[("origin", "http://127.0.0.1:3000")][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!passes(&door, HOST, headers), "{headers:?}");
        }
    }

    #[test]
    fn pages_that_are_named_and_the_listeners_own_pass() {
        let door = Door::pages_of(["http://127.0.0.1:3002", "http://localhost:5173"].map(|one| one.parse().unwrap()));
        for headers in [
            &[("origin", "http://127.0.0.1:3002"), ("sec-fetch-site", "same-site")][..],
            &[("origin", "http://localhost:5173"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:5173")],
            // Some socket libraries send the address that they connect to.
            &[("origin", "http://127.0.0.1:3000")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert!(passes(&door, HOST, headers), "{headers:?}");
        }
    }

    #[test]
    fn the_page_is_for_itself_and_for_visitors() {
        let door = Door::own_page();
        for headers in [
            &[("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-origin")][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(passes(&door, HOST, headers), "{headers:?}");
        }
        let visit = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        let to = |uri: &str, method: Method, headers: &[(&'static str, &str)]| {
            let mut request = request(&[&[("host", HOST)], headers].concat());
            *request.uri_mut() = uri.parse().unwrap();
            *request.method_mut() = method;
            door.check(&request).is_ok()
        };
        assert!(to("/", Method::GET, &visit));
        assert!(!to("/?user=a&channel=b", Method::GET, &visit));
        assert!(!to("/token", Method::GET, &visit));
        assert!(!to("/", Method::POST, &visit));
        let frame = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert!(!to("/", Method::GET, &frame));
    }

    #[test]
    fn a_refusal_can_be_read_by_programs_and_not_by_pages() {
        let refused = Door::programs().refuse(&request(&[("host", HOST), ("origin", "null")])).unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        assert!(!refused.headers().keys().any(|name| name.as_str().starts_with("access-control")));
    }

    #[test]
    fn signatures_are_told_from_other_authorizations() {
        let signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, \
                      Signature=00";
        for (value, expected) in [(signed, true), ("Bearer a.b.c", false), ("AWS4-HMAC-SHA256 Credential=a", false)] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(is_signed(&headers), expected, "{value}");
        }
        assert!(!is_signed(&HeaderMap::new()));
    }
}
