//! A request as text, through the gateway to the function and its tables, and its response. The target follows
//! cursors, locations and entity tags.

use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::answer::Answer;
use crate::{
    functions::{World, block_on, with_world},
    tokens,
};

struct Answered {
    status: u16,
    headers: http::HeaderMap,
    json: Value,
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, _) = tokens::named(text);
    let Some(request) = super::request(&text) else { return };
    with_world(|world| block_on(exchange(world, request)));
}

async fn exchange(world: &World, request: Request<Body>) {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A request with several is refused.
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let answered = send(world, request).await;
    if method == http::Method::HEAD {
        return;
    }
    let get = |uri: String| {
        let mut request = Request::builder().uri(uri).header("host", "localhost");
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, token);
        }
        request.body(Body::empty()).expect("the API returns valid URLs")
    };
    if let Some(location) = answered.headers.get(header::LOCATION) {
        let there = send(world, get(path_of(location.to_str().expect("a location"), &path).to_owned())).await;
        assert_eq!(there.status, 200, "{location:?}");
        let mut created = answered.json.clone();
        // The answer to a send also tells the channel's number of changes, which is no part of the message.
        if location.as_bytes().windows(10).any(|part| part == b"/messages/") {
            created.as_object_mut().expect("a message is an object").remove("rev");
        }
        assert_eq!(there.json, created, "{location:?}");
    }
    // The place of the next page belongs to the same request.
    if method == http::Method::GET && answered.status == 200 {
        let Some((name, place)) = answered.json["next"].as_object().and_then(|next| next.iter().next()) else {
            return;
        };
        assert_eq!(answered.json["has_more"], true);
        let rest: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !is_place(pair.split('=').next().unwrap_or("")))
            .collect();
        let place = place.as_str().map_or_else(|| place.to_string(), encoded);
        let further = send(world, get(format!("{path}?{name}={place}&{}", rest.join("&")))).await;
        assert_eq!(further.status, 200, "{}", further.json);
        assert_ne!(further.json, answered.json, "a link leads on");
    }
}

/// Returns the path of a location below the request's path. The host is that of the input, and may be no part of a URL.
fn path_of<'a>(location: &'a str, path: &str) -> &'a str {
    let at = location.rfind(&format!("/{}/", path.trim_matches('/')));
    &location[at.expect("a location is below its request")..]
}

/// Returns whether a query parameter names the place of a page.
fn is_place(name: &str) -> bool {
    // Decoded like the gateway does.
    let request = Request::builder().uri(format!("/?{name}=1")).body(());
    let decoded = request.ok().and_then(|request| request.uri().query().map(decoded)).unwrap_or_default();
    ["after", "around", "before", "cursor"].iter().any(|place| decoded.starts_with(&format!("{place}=")))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).filter(|_| *first == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn send(world: &World, request: Request<Body>) -> Answered {
    let is_head = request.method() == http::Method::HEAD;
    let response = world.rest.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let content_type = header("content-type");
    let answer = Answer {
        status: parts.status.as_u16(),
        content_type: content_type.as_deref(),
        header: &header,
        body: std::str::from_utf8(&body).expect("JSON is UTF-8"),
    };
    let json = if is_head { answer.check_head() } else { answer.check() };
    Answered { status: parts.status.as_u16(), headers: parts.headers, json }
}
