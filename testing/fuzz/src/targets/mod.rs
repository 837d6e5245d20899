//! One module per target: the use of the input, and its checks.

mod answer;
mod connect;
mod event;
mod frame;
mod header;
mod ids;
mod json;
mod management;
mod mention;
mod message;
mod opening;
mod otlp;
mod prompt;
mod refusal;
mod reply;
mod rest;
mod socket;
mod stream;
mod subject;
mod template;
mod text;
mod think;
mod token;

/// Every target by name.
pub const ALL: [(&str, fn(&[u8])); 22] = [
    ("connect", connect::run),
    ("event", event::run),
    ("frame", frame::run),
    ("header", header::run),
    ("ids", ids::run),
    ("json", json::run),
    ("management", management::run),
    ("mention", mention::run),
    ("message", message::run),
    ("opening", opening::run),
    ("otlp", otlp::run),
    ("prompt", prompt::run),
    ("refusal", refusal::run),
    ("reply", reply::run),
    ("rest", rest::run),
    ("socket", socket::run),
    ("stream", stream::run),
    ("subject", subject::run),
    ("template", template::run),
    ("text", text::run),
    ("think", think::run),
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
