//! One module per target: the use of the input, and its checks.

mod answer;
mod connect;
mod event;
mod frame;
mod ids;
mod management;
mod message;
mod otlp;
mod prompt;
mod reply;
mod rest;
mod socket;
mod stream;
mod template;
mod token;

/// Every target by name.
pub const ALL: [(&str, fn(&[u8])); 14] = [
    ("connect", connect::run),
    ("event", event::run),
    ("frame", frame::run),
    ("ids", ids::run),
    ("management", management::run),
    ("message", message::run),
    ("otlp", otlp::run),
    ("prompt", prompt::run),
    ("reply", reply::run),
    ("rest", rest::run),
    ("socket", socket::run),
    ("stream", stream::run),
    ("template", template::run),
    ("token", token::run),
];

/// Parses an input as an HTTP request: the first line, headers, and after an empty line the body.
fn request(input: &str) -> Option<http::Request<axum::body::Body>> {
    let (head, body) = input.split_once("\n\n").unwrap_or((input, ""));
    let mut lines = head.lines();
    let (method, uri) = lines.next()?.split_once(' ')?;
    let mut request = http::Request::builder().method(method).uri(uri);
    let mut has_host = false;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        has_host |= name.eq_ignore_ascii_case("host");
        request = request.header(name.trim(), value.trim());
    }
    if !has_host {
        request = request.header("host", "localhost");
    }
    // The server rejects invalid HTTP itself.
    let request = request.body(axum::body::Body::from(body.to_owned())).ok()?;
    request.uri().path().starts_with('/').then_some(request)
}
