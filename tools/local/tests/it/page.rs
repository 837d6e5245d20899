//! The page's server: its responses, its callers, and its rules for browsers.

use emulator::doors::{self, Door};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use local::{
    otlp::{Collector, Limits},
    page::{PageConfig, router},
    secret::Secret,
    token,
};
use reqwest::{Client, Response, StatusCode, header::HOST};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Any origin: paths are resolved against it.
const PAGE: &str = "http://page.localhost/";
const REST: &str = "http://127.0.0.1:3000";
const WEBSOCKET: &str = "ws://127.0.0.1:3001";

struct Page {
    collector: Collector,
    client: Client,
    secret: Secret,
    origin: String,
    port: u16,
}

impl Page {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let secret = Secret::random();
        let config = PageConfig { rest_url: REST.into(), websocket_url: WEBSOCKET.into(), secret: secret.clone() };
        let collector = Collector::new(Limits::default(), None);
        let router = router(config, collector.clone());
        tokio::spawn(doors::serve(listener, Door::own_page(), doors::LIMITS, router, CancellationToken::new()));
        Self { collector, client: Client::new(), secret, origin: format!("http://127.0.0.1:{port}"), port }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.origin)).send().await.unwrap()
    }

    async fn get_json(&self, path: String) -> Value {
        let response = self.get(&path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn token(&self, headers: &[(&str, &str)]) -> Response {
        let mut request = self.client.post(format!("{}/token", self.origin)).json(&json!({"user": "alice"}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}

impl Page {
    /// Receives spans, as `(trace, span, seq)`, of the channel `lobby`.
    async fn receive(&self, spans: &[(&str, &str, u64)]) {
        let spans: Vec<Value> = spans
            .iter()
            .map(|(trace, span, seq)| {
                json!({
                    "traceId": trace, "spanId": span, "name": format!("span {span}"),
                    "startTimeUnixNano": format!("179000000000000000{seq}"), "endTimeUnixNano": "1790000000000000009",
                    "attributes": [
                        {"key": "switchboard.channel_id", "value": {"stringValue": "lobby"}},
                        {"key": "switchboard.seq", "value": {"intValue": seq.to_string()}},
                    ],
                })
            })
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let router = self.collector.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let export = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
        assert_eq!(self.client.post(url).json(&export).send().await.unwrap().status(), 200);
        server.abort();
    }
}

async fn problem(response: Response, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status.as_u16());
    body
}

fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

#[tokio::test]
async fn the_page_and_everything_that_it_names_is_served() {
    let page = Page::start().await;
    let html = page.get("/").await;
    assert_eq!(content_type(&html), "text/html; charset=utf-8");

    // Follows every reference between files: a module that is not embedded would break the page.
    let mut open = vec![(String::from("/"), html.text().await.unwrap())];
    let mut seen = vec![];
    while let Some((from, text)) = open.pop() {
        for reference in references(&text) {
            assert!(!reference.contains("//"), "{from} asks another server for {reference}");
            // As a browser resolves it.
            let base = reqwest::Url::parse(PAGE).unwrap().join(&from).unwrap();
            let path = base.join(&reference).unwrap().path().to_owned();
            if seen.contains(&path) {
                continue;
            }
            let response = page.get(&path).await;
            assert_eq!(response.status(), 200, "{path}, named by {from}");
            let expected = match path.rsplit_once('.').unwrap().1 {
                "js" | "mjs" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                _ => "font/woff2",
            };
            assert_eq!(content_type(&response), expected, "{path}");
            seen.push(path.clone());
            if expected.contains("javascript") || expected.contains("css") {
                open.push((path, response.text().await.unwrap()));
            }
        }
    }
    for path in ["/app.js", "/js/src/store.js", "/style.css", "/vendor/dompurify.mjs", "/vendor/markdown-it.mjs"] {
        assert!(seen.iter().any(|one| one == path), "{path} is not reached from the page: {seen:?}");
    }
}

/// Returns the files that a file of the page loads: `src`, `href`, `url(…)`, `from "./…"` and `from "../…"`.
fn references(text: &str) -> Vec<String> {
    let mut found = vec![];
    for (marker, prefix) in [(" src=\"", ""), (" href=\"", ""), ("url(\"", ""), (" from \".", "."), ("import \".", ".")]
    {
        for rest in text.split(marker).skip(1) {
            let reference = format!("{prefix}{}", rest.split('"').next().unwrap());
            if !reference.is_empty() && !reference.starts_with(['#', '$']) && !reference.contains(['<', '\n']) {
                found.push(reference);
            }
        }
    }
    found
}

#[tokio::test]
async fn config_names_the_two_endpoints() {
    let response = Page::start().await.get("/config.json").await;
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"rest": REST, "websocket": WEBSOCKET}));
}

#[tokio::test]
async fn every_answer_carries_the_strict_headers() {
    let page = Page::start().await;
    for path in ["/", "/app.js", "/config.json", "/nothing-here"] {
        let response = page.get(path).await;
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        let directives: Vec<_> = policy.split("; ").collect();
        assert!(directives.contains(&"default-src 'none'"), "{policy}");
        assert!(directives.contains(&"script-src 'self'"), "{policy}");
        assert!(directives.contains(&format!("connect-src 'self' {REST} {WEBSOCKET}").as_str()), "{policy}");
        assert!(directives.contains(&"frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn the_page_itself_gets_a_token_that_lasts_as_long_as_it_says() {
    let page = Page::start().await;
    let response = page.token(&[("origin", &page.origin), ("sec-fetch-site", "same-origin")]).await;
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();

    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[token::ISSUER]);
    validation.set_audience(&[token::AUDIENCE]);
    let key = DecodingKey::from_secret(page.secret.as_str().as_bytes());
    let claims =
        jsonwebtoken::decode::<token::Claims>(body["token"].as_str().unwrap(), &key, &validation).unwrap().claims;
    assert_eq!(claims.sub, "alice");
    let expires_at: jiff::Timestamp = body["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires_at.as_second(), claims.exp);
}

#[tokio::test]
async fn another_site_in_the_same_browser_gets_no_token() {
    let page = Page::start().await;
    let other_port = format!("http://127.0.0.1:{}", page.port.wrapping_add(1));
    let other_name = format!("http://localhost:{}", page.port);
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", other_port.as_str())],
        &[("origin", other_name.as_str())],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", page.origin.as_str()), ("sec-fetch-site", "cross-site")],
    ] {
        let body = problem(page.token(headers).await, StatusCode::FORBIDDEN).await;
        assert!(body.get("token").is_none(), "{headers:?}");
    }
}

#[tokio::test]
async fn only_the_names_of_this_machine_are_answered() {
    let page = Page::start().await;
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.0.7", "[2001:db8::1]"] {
        for path in ["/", "/config.json"] {
            let request =
                page.client.get(format!("{}{path}", page.origin)).header(HOST, format!("{host}:{}", page.port));
            problem(request.send().await.unwrap(), StatusCode::FORBIDDEN).await;
        }
        // DNS rebinding: the foreign page has the same origin as the requested host.
        let host = format!("{host}:{}", page.port);
        let origin = format!("http://{host}");
        problem(page.token(&[("host", &host), ("origin", &origin)]).await, StatusCode::FORBIDDEN).await;
    }
    for host in ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "LOCALHOST"] {
        let request = page.client.get(&page.origin).header(HOST, format!("{host}:{}", page.port));
        assert_eq!(request.send().await.unwrap().status(), 200, "{host}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_request_is_said() {
    let page = Page::start().await;
    let post = |body: &'static str, content_type: &'static str| {
        let url = format!("{}/token", page.origin);
        page.client.post(url).header("content-type", content_type).body(body).send()
    };
    let wrong_name = post(r#"{"user":".."}"#, "application/json").await.unwrap();
    let body = problem(wrong_name, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(body["detail"].as_str().unwrap().contains("is not a user"), "{body}");
    problem(post("{", "application/json").await.unwrap(), StatusCode::BAD_REQUEST).await;
    problem(post("{}", "application/json").await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
    // A form can be sent across origins without a preflight; JSON cannot.
    let form = post("user=alice", "application/x-www-form-urlencoded").await.unwrap();
    problem(form, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    problem(page.get("/token").await, StatusCode::METHOD_NOT_ALLOWED).await;
    problem(page.get("/nothing-here").await, StatusCode::NOT_FOUND).await;
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn the_traces_of_a_message_are_told_and_then_each_of_them() {
    let page = Page::start().await;
    let of_message = |seq: u64| page.get_json(format!("/traces?channel_id=lobby&seq={seq}"));
    assert_eq!(of_message(7).await, json!({"traces": []}));
    problem(page.get(&format!("/traces/{TRACE}")).await, StatusCode::NOT_FOUND).await;

    page.receive(&[(TRACE, "b7ad6b7169203331", 7), (TRACE, "00f067aa0ba902b7", 8)]).await;
    let summary =
        json!({"trace_id": TRACE, "name": "span b7ad6b7169203331", "start_ns": "1790000000000000007", "spans": 2});
    assert_eq!(of_message(7).await, json!({"traces": [summary]}));
    assert_eq!(of_message(8).await, json!({"traces": [summary]}));
    assert_eq!(of_message(9).await, json!({"traces": []}));
    let trace = page.get_json(format!("/traces/{TRACE}")).await;
    assert_eq!(trace["spans"][0]["span_id"], "b7ad6b7169203331");
    assert_eq!(trace["spans"].as_array().unwrap().len(), 2);
    assert_eq!(trace["linked"], json!([]));
}

#[tokio::test]
async fn a_trace_that_has_not_changed_is_not_sent_again() {
    let page = Page::start().await;
    page.receive(&[(TRACE, "b7ad6b7169203331", 7)]).await;
    let path = format!("/traces/{}", TRACE.to_uppercase());
    let tag = page.get(&path).await.headers()["etag"].clone();
    let again = || page.client.get(format!("{}{path}", page.origin)).header("if-none-match", &tag).send();
    let unchanged = again().await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(unchanged.headers()["etag"], tag);
    page.receive(&[(TRACE, "00f067aa0ba902b7", 7)]).await;
    let changed = again().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], tag);
}

#[tokio::test]
async fn traces_are_for_the_page_alone_and_wrong_questions_are_told_so() {
    let page = Page::start().await;
    page.receive(&[(TRACE, "b7ad6b7169203331", 7)]).await;
    for path in [format!("/traces/{TRACE}"), "/traces?channel_id=lobby&seq=7".to_owned()] {
        for (name, value) in
            [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("host", "evil.example")]
        {
            let request = page.client.get(format!("{}{path}", page.origin)).header(name, value);
            problem(request.send().await.unwrap(), StatusCode::FORBIDDEN).await;
        }
    }
    for id in [
        "0",
        "00000000000000000000000000000000",
        "+af7651916cd43dd8448eb211c80319c",
        "zaf7651916cd43dd8448eb211c80319c",
    ] {
        let body = problem(page.get(&format!("/traces/{id}")).await, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(body["detail"].as_str().unwrap().contains("32 hexadecimal digits"), "{body}");
    }
    for query in ["", "?channel_id=lobby", "?channel_id=lobby&seq=-1", "?channel_id=lobby&seq=7&limit=1"] {
        problem(page.get(&format!("/traces{query}")).await, StatusCode::BAD_REQUEST).await;
    }
}
