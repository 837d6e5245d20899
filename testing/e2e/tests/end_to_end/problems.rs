//! Invalid input: its status, a problem body, and never a 5xx.

use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::stack::{Stack, answered, claims_of, signed};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_told_what_is_wrong() {
    let stack = Stack::in_memory();
    let messages = "/channels/lobby/messages";
    let content = |content: Value| json!({ "content": content }).to_string();
    let too_long = format!("/channels?name_prefix={}", "x".repeat(101));
    let cases: Vec<(Method, &str, String, u16, &[&str])> = vec![
        (Method::POST, messages, "{broken".into(), 400, &[]),
        (Method::POST, messages, "[]".into(), 400, &[]),
        (Method::POST, messages, String::new(), 400, &[]),
        (Method::POST, messages, "{}".into(), 400, &["content"]),
        (Method::POST, messages, content(json!("")), 400, &["content"]),
        (Method::POST, messages, content(json!(7)), 400, &["content"]),
        (Method::POST, messages, content(json!("x".repeat(33 * 1024))), 400, &["content"]),
        (Method::POST, messages, content(json!("a\u{0}")), 400, &["content"]),
        (Method::POST, messages, "x".repeat(300 * 1024), 413, &[]),
        (Method::POST, messages, "x".repeat(11 * 1024 * 1024), 413, &[]),
        (
            Method::POST,
            messages,
            json!({ "content": "x".repeat(40_000), "metadata": { "a": "y".repeat(5_000) }, "reply_to": 0, "role": "system" })
                .to_string(),
            400,
            &["content", "reply_to", "metadata", "role"],
        ),
        (Method::POST, messages, json!({ "content": "x", "content_type": "text/html" }).to_string(), 400, &["content_type"]),
        (Method::POST, messages, json!({ "content": "x", "reply_to": 99 }).to_string(), 400, &["reply_to"]),
        (
            Method::POST,
            messages,
            json!({ "content": "x", "reply_to": 99, "thread_seq": 98 }).to_string(),
            400,
            &["reply_to", "thread_seq"],
        ),
        (Method::POST, messages, json!({ "content": "x", "thread_seq": "1" }).to_string(), 400, &["thread_seq"]),
        (Method::POST, messages, json!({ "content": "x", "metadata": { "n": 1e200 } }).to_string(), 400, &["metadata"]),
        (Method::POST, "/channels/nowhere/messages", content(json!("x")), 404, &[]),
        (Method::POST, "/channels/no%20id/messages", content(json!("x")), 400, &["channel_id"]),
        (Method::GET, "/channels/lobby/messages?limit=0", String::new(), 400, &["limit"]),
        (Method::GET, "/channels/lobby/messages?limit=x&before=-1&zz=1", String::new(), 400, &["zz", "limit", "before"]),
        (Method::GET, "/channels/lobby/messages?before=1&after=1", String::new(), 400, &["after"]),
        (Method::GET, "/channels/lobby/messages?around=1&after=1&before=1", String::new(), 400, &["after", "around"]),
        (Method::GET, "/channels/lobby/messages?replies=no", String::new(), 400, &["replies"]),
        (Method::GET, "/channels/lobby/messages/1/replies?replies=true", String::new(), 400, &["replies"]),
        (Method::GET, "/channels/lobby/threads?cursor=x&before=1", String::new(), 400, &["cursor", "before"]),
        (Method::GET, "/channels/lobby/messages?before=9007199254740992", String::new(), 400, &["before"]),
        (Method::GET, "/channels/lobby/messages/1/replies?after=9007199254740992", String::new(), 400, &["after"]),
        (Method::GET, &too_long, String::new(), 400, &["name_prefix"]),
        (Method::GET, "/me?user_id=bob", String::new(), 400, &["user_id"]),
        (Method::GET, "/channels/%zz", String::new(), 400, &["channel_id"]),
        (Method::POST, "/channels", "{}".into(), 400, &["name", "visibility"]),
        (
            Method::POST,
            "/channels",
            json!({ "channel_id": "a b", "name": "", "visibility": "secret", "agent": { "mode": 1, "x": 1 } }).to_string(),
            400,
            &["channel_id", "visibility", "agent.mode", "agent.x", "name"],
        ),
        (Method::POST, "/channels", json!({ "channel_id": "lobby", "name": "L", "visibility": "public" }).to_string(), 409, &[]),
        (Method::GET, "/nowhere", String::new(), 404, &[]),
        (Method::GET, "/", String::new(), 404, &[]),
        (Method::DELETE, "/channels", String::new(), 405, &[]),
        (Method::PATCH, messages, String::new(), 405, &[]),
    ];
    for (method, path, body, status, fields) in cases {
        let short: String = body.chars().take(60).collect();
        let response = stack.request("alice", method.clone(), path).body(body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path} {short}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path} {short}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status);
        let code = match (status, fields) {
            (400, []) => "malformed_request",
            (400, _) => "invalid_request",
            (404, _) if path.starts_with("/channels/nowhere") => "channel_not_found",
            (404, _) => "no_such_route",
            (405, _) => "method_not_allowed",
            (409, _) => "channel_id_taken",
            _ => "body_too_large",
        };
        assert_eq!(problem["code"], code, "{method} {path} {short}");
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["instance"].is_string());
        let mut found: Vec<&str> =
            problem["errors"].as_array().into_iter().flatten().map(|error| error["field"].as_str().unwrap()).collect();
        let mut expected = fields.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{method} {path} {short}");
    }
    assert!(stack.history("alice", "lobby").await.is_empty(), "the request had no effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_that_makes_no_sense_changes_anything() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    let before = state(&stack).await;
    let routes = [
        (Method::POST, "/channels"),
        (Method::PATCH, "/channels/room"),
        (Method::PUT, "/channels/room/members/bob"),
        (Method::PUT, "/channels/room/read"),
        (Method::POST, "/channels/room/typing"),
        (Method::POST, "/channels/room/messages"),
        (Method::PATCH, "/channels/room/messages/1"),
        (Method::POST, "/connections/tickets"),
        (Method::POST, "/connections/x%3D/token"),
    ];
    let huge = format!("{{\"content\":\"{}\"}}", "x".repeat(300 * 1024));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [(&[u8], u16); 10] = [
        (b"[]", 400),
        (b"7", 400),
        (b"null", 400),
        (b"\"x\"", 400),
        (b"{", 400),
        (b"{\"unknown\":1}", 400),
        (b"{\"name\":{},\"seq\":[],\"role\":1,\"content\":{},\"channels\":7}", 400),
        (b"\xff\xfe", 400),
        (deep.as_bytes(), 400),
        (huge.as_bytes(), 413),
    ];
    for (method, path) in routes {
        for (body, status) in bodies {
            let response = stack.request("alice", method.clone(), path).body(body.to_vec()).send().await.unwrap();
            let short = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert_eq!(response.status(), status, "{method} {path} {short}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path} {short}");
        }
    }
    assert_eq!(state(&stack).await, before);
}

/// Returns all state that a body could change.
async fn state(stack: &Stack) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["", "/members", "/messages", "/messages/1/replies"] {
        all.push(stack.ask("alice", Method::GET, &format!("/channels/room{path}"), Value::Null).await.1);
    }
    all.push(stack.ask("alice", Method::GET, "/channels", Value::Null).await.1);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_code() {
    let stack = Stack::in_memory();
    for (channel, visibility) in [("room", "public"), ("attic", "public"), ("den", "private")] {
        stack.create_channel("alice", channel, visibility, "off").await;
    }
    stack.post("alice", "room", "x", Some("used")).await.unwrap();
    let archived = stack.ask("alice", Method::PATCH, "/channels/attic", json!({ "archived": true })).await;
    assert_eq!(archived.0, 200);
    let as_alice = |method: Method, path: &str| stack.request("alice", method, path);
    let as_bob = |method: Method, path: &str| stack.request("bob", method, path);
    let messages = "/channels/room/messages";
    let message = json!({ "content": "y" });
    let cases = [
        (as_bob(Method::PATCH, "/channels/room").json(&json!({ "name": "New" })), 403, "not_permitted"),
        (as_bob(Method::DELETE, "/channels/room/messages/1"), 403, "not_permitted"),
        (as_bob(Method::PUT, "/channels/room/read").json(&json!({ "seq": 1 })), 403, "not_a_member"),
        (as_bob(Method::GET, "/channels/den"), 404, "channel_not_found"),
        (as_alice(Method::GET, "/channels/room/messages/2"), 404, "message_not_found"),
        (as_alice(Method::DELETE, "/channels/room/members/nobody"), 404, "member_not_found"),
        (as_alice(Method::POST, "/connections/x%3D/token"), 404, "connection_not_found"),
        (as_alice(Method::POST, "/channels/room/messages/1/reply/cancel"), 404, "reply_not_found"),
        (as_alice(Method::GET, "/channels/room/messages/1/reply"), 404, "reply_not_found"),
        (as_alice(Method::GET, "/channels/room/changes?after=1"), 410, "changes_expired"),
        (as_alice(Method::GET, "/rooms"), 404, "no_such_route"),
        (as_alice(Method::PUT, "/channels/room"), 405, "method_not_allowed"),
        (as_alice(Method::POST, "/channels/attic/messages").json(&message), 409, "channel_archived"),
        (as_alice(Method::DELETE, "/channels/room/members/alice"), 409, "last_owner"),
        (as_alice(Method::DELETE, "/channels/room").header("if-match", "\"99\""), 412, "version_mismatch"),
        (as_alice(Method::POST, messages).body(vec![b' '; 300 * 1024]), 413, "body_too_large"),
        (as_alice(Method::POST, messages).header("content-type", "text/html").body("x"), 415, "unsupported_media_type"),
        (as_alice(Method::POST, messages).header("content-encoding", "gzip").body("x"), 415, "unsupported_media_type"),
        (
            as_alice(Method::POST, messages).header("idempotency-key", "used").json(&message),
            422,
            "idempotency_key_reused",
        ),
        (
            as_alice(Method::POST, messages)
                .header("idempotency-key", "a")
                .header("idempotency-key", "a")
                .json(&message),
            400,
            "malformed_request",
        ),
        (as_alice(Method::POST, messages).header("idempotency-key", "a b").json(&message), 400, "invalid_request"),
        (stack.anonymous(Method::GET, "/channels"), 401, "missing_token"),
        (stack.bearing("no.valid.token", Method::GET, "/channels"), 401, "invalid_token"),
        (
            stack.bearing(&signed(&claims_of("alice", -61), DEVELOPMENT_SECRET), Method::GET, "/channels"),
            401,
            "token_expired",
        ),
        (stack.bearing(&early(), Method::GET, "/channels"), 401, "token_not_yet_valid"),
    ];
    for (request, status, code) in cases {
        let (found, problem) = answered(request).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{problem}");
    }
}

/// Returns a token that is not valid yet.
fn early() -> String {
    let mut claims = claims_of("alice", 7_200);
    claims["nbf"] = json!(jiff::Timestamp::now().as_second() + 3_600);
    signed(&claims, DEVELOPMENT_SECRET)
}

/// Each body is valid for its route to a reader that takes the first value, and to one that takes the last.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_reads_a_body_refuses_one_that_says_two_things() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    let before = state(&stack).await;
    let cases = [
        (Method::POST, "/channels", r#"{"name":"a","visibility":"public","name":"b"}"#, "name"),
        (
            Method::POST,
            "/channels",
            r#"{"name":"a","visibility":"public","agent":{"mode":"off","mode":"always"}}"#,
            "agent.mode",
        ),
        (Method::PATCH, "/channels/room", r#"{"name":"a","n\u0061me":"b"}"#, "name"),
        (Method::PUT, "/channels/room/members/bob", r#"{"role":"member","role":"owner"}"#, "role"),
        (Method::PUT, "/channels/room/read", r#"{"seq":1,"seq":0}"#, "seq"),
        (Method::POST, "/channels/room/messages", r#"{"content":"a","content":"b"}"#, "content"),
        (
            Method::POST,
            "/channels/room/messages",
            r#"{"content":"a","metadata":{"x":[{"y":1,"\u0079":2}]}}"#,
            "metadata.x[0].y",
        ),
        (Method::PATCH, "/channels/room/messages/1", r#"{"content":"a","content":"a"}"#, "content"),
        (Method::POST, "/connections/tickets", r#"{"channels":["room"],"channels":[]}"#, "channels"),
        (Method::POST, "/channels/room/typing", r#"{"x":1,"x":1}"#, "x"),
        (Method::POST, "/connections/x%3D/token", r#"{"x":1,"x":1}"#, "x"),
    ];
    for (method, path, body, field) in cases {
        let (status, problem) = answered(stack.request("alice", method.clone(), path).body(body)).await;
        assert_eq!(status, 400, "{method} {path} {body}: {problem}");
        let [error] = problem["errors"].as_array().unwrap().as_slice() else { panic!("{path}: {problem}") };
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!("duplicate_field")), "{path} {body}");
    }
    assert_eq!(state(&stack).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_but_health_answers_without_a_token() {
    let stack = Stack::in_memory();
    let routes = [
        (Method::GET, "/channels"),
        (Method::POST, "/channels"),
        (Method::GET, "/channels/lobby"),
        (Method::GET, "/channels/lobby/messages"),
        (Method::POST, "/channels/lobby/messages"),
        (Method::PUT, "/channels/lobby/members/alice"),
        (Method::DELETE, "/channels/lobby/members/alice"),
    ];
    for (method, path) in routes {
        let response = stack.anonymous(method.clone(), path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(response.headers()["x-amzn-remapped-www-authenticate"], "Bearer");
    }
    let health: Value = stack.anonymous(Method::GET, "/health").send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["checks"].as_object().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_call() {
    let stack = Stack::in_memory();
    let preflight = stack.anonymous(Method::OPTIONS, "/channels/lobby/messages").send().await.unwrap();
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    let headers = preflight.headers();
    assert_eq!(headers["access-control-allow-origin"], "*");
    for header in ["authorization", "content-type", "idempotency-key"] {
        assert!(headers["access-control-allow-headers"].to_str().unwrap().contains(header));
    }
    for path in ["/health", "/channels", "/nowhere"] {
        let response = stack.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{path}");
        let exposed: Vec<&str> =
            response.headers()["access-control-expose-headers"].to_str().unwrap().split(", ").collect();
        for header in ["Date", "ETag", "Location", "RateLimit", "Retry-After", "x-amzn-remapped-www-authenticate"] {
            assert!(exposed.contains(&header), "{header} {path}");
        }
        assert!(response.headers().contains_key("date"), "{path}");
    }
}
