//! HTTP itself, over every route: `HEAD`, conditions, lines of headers, declared formats of bodies.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    attacks::routes,
    stack::{Stack, answered, token_of, until},
};

async fn room() -> Stack {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    stack
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

/// Returns a header of a response, or an empty text.
fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_a_body() {
    let stack = room().await;
    let mut paths: Vec<String> =
        routes().into_iter().filter(|(method, _)| *method == Method::GET).map(|(_, path)| path).collect();
    assert!(paths.len() > 6);
    paths.extend(
        ["/health", "/channels/nowhere", "/channels/room/messages/99", "/channels?limit=0", "/nowhere"]
            .map(str::to_owned),
    );
    // A check of health fails after three seconds, and the next one may succeed.
    until("the back end is healthy", async || {
        sent(stack.anonymous(Method::GET, "/health")).await.status() == StatusCode::OK
    })
    .await;
    for path in paths {
        let get = sent(stack.request("alice", Method::GET, &path)).await;
        let head = sent(stack.request("alice", Method::HEAD, &path)).await;
        assert_eq!(head.status(), get.status(), "{path}");
        for name in ["content-type", "content-length", "etag", "cache-control", "access-control-allow-origin"] {
            assert_eq!(header(&head, name), header(&get, name), "{name} {path}");
        }
        assert!(!get.bytes().await.unwrap().is_empty());
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    let anonymous = sent(stack.anonymous(Method::HEAD, "/channels/room/messages")).await;
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_tell_their_methods() {
    let stack = room().await;
    for (method, path) in routes() {
        let options = sent(stack.anonymous(Method::OPTIONS, &path)).await;
        let allow = header(&options, "allow").to_owned();
        assert_eq!(header(&options, "access-control-allow-methods"), allow, "{path}");
        assert!(allow.split(", ").any(|allowed| allowed == method.as_str()), "{method} {path}: {allow}");
        let reads = allow.split(", ").any(|allowed| allowed == "GET");
        let head = sent(stack.request("alice", Method::HEAD, &path)).await;
        assert_eq!(head.status() == StatusCode::METHOD_NOT_ALLOWED, !reads, "{path}");
        if !reads {
            assert_eq!(header(&head, "allow"), allow, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_is_the_address_of_what_was_made() {
    let stack = room().await;
    // With the stage, as at the address of API Gateway, and without it, as behind a custom domain.
    for (base, channel) in [("", "one"), ("/local", "two")] {
        let root = format!("{}{base}/channels", stack.address("rest"));
        let new = json!({ "channel_id": channel, "name": channel, "visibility": "public" });
        let created = sent(stack.request("alice", Method::POST, &format!("{base}/channels")).json(&new)).await;
        assert_eq!((created.status().as_u16(), header(&created, "location")), (201, &*format!("{root}/{channel}")));
        let messages = format!("{base}/channels/{channel}/messages");
        let message = sent(stack.request("alice", Method::POST, &messages).json(&json!({ "content": "x" }))).await;
        assert_eq!(header(&message, "location"), format!("{root}/{channel}/messages/1"));
        for made in [created, message] {
            let there = header(&made, "location").strip_prefix(stack.address("rest")).unwrap().to_owned();
            let (status, found) = answered(stack.request("alice", Method::GET, &there)).await;
            assert_eq!((status, &found["channel_id"]), (200, &json!(channel)), "{there}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_result_have_no_body() {
    let stack = room().await;
    let tag = header(&sent(stack.request("alice", Method::GET, "/channels/room")).await, "etag").to_owned();
    for (request, status) in [
        (stack.request("alice", Method::POST, "/channels/room/typing"), 202),
        (stack.request("alice", Method::DELETE, "/channels/room/messages/1"), 204),
        (stack.request("alice", Method::GET, "/channels/room").header("if-none-match", &tag), 304),
        (stack.anonymous(Method::OPTIONS, "/channels/room"), 204),
    ] {
        let response = sent(request).await;
        assert_eq!(response.status(), status);
        assert!(["", "0"].contains(&header(&response, "content-length")), "{status}");
        assert!(response.bytes().await.unwrap().is_empty(), "{status}");
    }
}

/// Each kind of request takes a token of its own bucket. Reads take none.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_token_shows_its_bucket() {
    let stack = room().await;
    let changed = json!({ "name": "New" });
    let member = "/channels/room/members/bob";
    for (request, bucket) in [
        (stack.request("alice", Method::POST, "/channels/room/messages").json(&json!({ "content": "y" })), "send"),
        (stack.request("alice", Method::DELETE, "/channels/room/messages/9"), "send"),
        (stack.request("alice", Method::PATCH, "/channels/room").json(&changed), "change"),
        (stack.request("alice", Method::PUT, member), "add-member"),
        (stack.request("alice", Method::DELETE, member), "change"),
        (stack.request("alice", Method::GET, "/channels/room/presence"), "presence"),
        (stack.request("alice", Method::PUT, "/channels/room/read").json(&json!({ "seq": 1 })), "read"),
        (stack.request("alice", Method::POST, "/channels/room/typing"), "type"),
        (stack.request("alice", Method::POST, "/connections/tickets"), "connect"),
        (stack.request("alice", Method::GET, "/channels/room"), ""),
        (stack.request("alice", Method::PATCH, "/channels/room").json(&json!({ "x": 1 })), ""),
    ] {
        let response = sent(request).await;
        for (name, next) in [("ratelimit", "r"), ("ratelimit-policy", "q")] {
            let value = header(&response, name);
            let expected = if bucket.is_empty() { String::new() } else { format!("\"{bucket}\";{next}=") };
            assert!(value.starts_with(&expected) && value.is_empty() == bucket.is_empty(), "{bucket}: {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_those_of_http() {
    let stack = room().await;
    let read = async |method: Method, lines: &[(&str, &str)]| {
        let request = stack.request("alice", method, "/channels/room");
        sent(lines.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    let tag = header(&read(Method::GET, &[]).await, "etag").to_owned();
    let (weak, listed) = (format!("W/{tag}"), format!(r#""99", {tag}"#));
    for method in [Method::GET, Method::HEAD] {
        for value in [&*tag, &*weak, &*listed, "*"] {
            let response = read(method.clone(), &[("if-none-match", value)]).await;
            assert_eq!((response.status().as_u16(), header(&response, "etag")), (304, &*tag), "{value}");
            assert!(response.bytes().await.unwrap().is_empty());
        }
        for (lines, status) in [
            (vec![("if-none-match", "\"99\"")], 200),
            (vec![("if-match", &*tag)], 200),
            (vec![("if-match", "\"99\"")], 412),
            (vec![("if-match", &*weak)], 412),
            (vec![("if-match", "\"99\""), ("if-none-match", &*tag)], 412),
            (vec![("if-match", &*tag), ("if-none-match", &*tag)], 304),
            (vec![("if-match", "\"99\""), ("if-match", &*tag)], 200),
        ] {
            assert_eq!(read(method.clone(), &lines).await.status().as_u16(), status, "{method} {lines:?}");
        }
    }
    let outsider = stack.request("alice", Method::GET, "/channels/nowhere").header("if-none-match", "*");
    assert_eq!(answered(outsider).await.0, 404);

    let change = async |lines: &[(&str, &str)]| {
        let request = stack.request("alice", Method::PATCH, "/channels/room").json(&json!({}));
        answered(lines.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await.0
    };
    for (lines, status) in [
        (vec![("if-match", &*tag)], 200),
        (vec![("if-match", &*listed)], 200),
        (vec![("if-match", "*")], 200),
        (vec![("if-match", "\"99\""), ("if-match", &*tag)], 200),
        (vec![("if-match", &*tag), ("if-match", "\"99\"")], 200),
        (vec![("if-match", &*weak)], 412),
        (vec![("if-match", "")], 412),
        (vec![("if-match", "\"99\", \"98\"")], 412),
        (vec![("if-none-match", "*")], 412),
        (vec![("if-none-match", &*weak)], 412),
        (vec![("if-none-match", "\"99\"")], 200),
    ] {
        assert_eq!(change(&lines).await, status, "{lines:?}");
    }
    let delete = stack.request("alice", Method::DELETE, "/channels/room").header("if-match", &weak);
    assert_eq!(answered(delete).await.0, 412);
    let delete = stack.request("alice", Method::DELETE, "/channels/room").header("if-match", &listed);
    assert_eq!(answered(delete).await.0, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_one_value_is_sent_once_to_every_route() {
    let stack = room().await;
    for (method, path) in routes() {
        let token = format!("Bearer {}", token_of("alice"));
        let request = || stack.request("alice", method.clone(), &path);
        for (name, values) in [
            ("Authorization", vec![token.as_str()]),
            ("Idempotency-Key", vec!["a", "a"]),
            ("Content-Type", vec!["application/json", "application/json"]),
        ] {
            let repeated = values.iter().fold(request(), |request, value| request.header(name, *value));
            let response = sent(repeated).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name} {method} {path}");
            let challenge = header(&response, "x-amzn-remapped-www-authenticate").to_owned();
            assert_eq!(challenge.contains("invalid_request"), name == "Authorization", "{method} {path}");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(
                (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
                (&json!(name), &json!("repeated"))
            );
        }
    }
    assert_eq!(stack.history("alice", "room").await.len(), 1, "no request had an effect");
    let listed = stack.request("alice", Method::GET, "/channels").header("accept", "text/html").header("accept", "a/b");
    assert_eq!(answered(listed).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_in_utf_8() {
    let stack = room().await;
    let post = async |name: &str, value: &str| {
        let request = stack.request("alice", Method::POST, "/channels/room/messages").header(name, value);
        answered(request.body(r#"{"content":"hi"}"#)).await.0
    };
    for accepted in
        ["application/json; charset=utf-8", "Application/JSON", "application/x-www-form-urlencoded", "text/plain"]
    {
        assert_eq!(post("content-type", accepted).await, 201, "{accepted}");
    }
    for refused in
        ["application/json; charset=utf-16", "text/json", "application/xml", "multipart/form-data; boundary=x"]
    {
        assert_eq!(post("content-type", refused).await, 415, "{refused}");
    }
    assert_eq!((post("content-encoding", "identity").await, post("content-encoding", "gzip").await), (201, 415));
    let patch =
        stack.request("alice", Method::PATCH, "/channels/room").header("content-type", "application/merge-patch+json");
    assert_eq!(answered(patch.body(r#"{"name":"New"}"#)).await.0, 200);
    for limit in ["limit=1&limit=2", "limit=%2B5", "limit=05", "limit=5.0", "limit=%205"] {
        let (status, problem) = answered(stack.request("alice", Method::GET, &format!("/channels?{limit}"))).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("limit")), "{limit}");
    }
}
