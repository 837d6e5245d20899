//! Edited and deleted messages.

use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::stack::{Stack, seqs};

async fn request(stack: &Stack, user: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let mut request = stack.request(user, method, path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletions_reach_the_socket_and_history_keeps_the_number() {
    let stack = Stack::in_memory();
    stack.create_channel("olga", "room", "public", "off").await;
    let mut socket = stack.socket("bob", "room").await;
    let posted = stack.post("alice", "room", "frist", None).await.unwrap();
    let path = "/channels/room/messages/1".to_owned();
    assert_eq!(posted.headers()["location"], format!("{}{path}", stack.address("rest")));
    stack.send("alice", "room", "second").await;
    assert_eq!(seqs(&socket.messages(2).await), [1, 2]);

    let edit = json!({ "content": "first", "metadata": { "typo": true } });
    let (status, edited) = request(&stack, "alice", Method::PATCH, &path, Some(edit)).await;
    assert_eq!((status, &edited["content"]), (StatusCode::OK, &json!("first")));
    assert!(edited["edited_at"].is_string());
    let event = socket.events(1).await.remove(0);
    assert_eq!((&event["type"], &event["seq"], &event["message"]), (&json!("message.updated"), &json!(1), &edited));

    for _ in ["once", "again"] {
        let (status, _) = request(&stack, "olga", Method::DELETE, &path, None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    let event = socket.events(1).await.remove(0);
    assert_eq!((&event["type"], &event["seq"]), (&json!("message.deleted"), &json!(1)));
    let (status, tombstone) = request(&stack, "bob", Method::GET, &path, None).await;
    assert_eq!((status, &tombstone["content"], tombstone.get("metadata")), (StatusCode::OK, &json!(""), None));
    assert_eq!(event["message"], tombstone);
    let history = stack.history("bob", "room").await;
    assert_eq!((seqs(&history), &history[0]), (vec![1, 2], &tombstone));
    assert_eq!(
        request(&stack, "alice", Method::PATCH, &path, Some(json!({ "content": "x" }))).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_author_and_moderators_change_a_message_and_wrong_changes_are_explained() {
    let stack = Stack::in_memory();
    stack.create_channel("olga", "room", "public", "off").await;
    stack.send("alice", "room", "mine").await;
    let path = "/channels/room/messages/1";
    let wrong = [
        ("bob", Method::PATCH, path, json!({ "content": "x" }), StatusCode::FORBIDDEN),
        ("bob", Method::DELETE, path, Value::Null, StatusCode::FORBIDDEN),
        ("alice", Method::PATCH, path, json!({ "content": "" }), StatusCode::BAD_REQUEST),
        ("alice", Method::PATCH, path, json!({ "content": 1 }), StatusCode::BAD_REQUEST),
        ("alice", Method::PATCH, path, json!({ "content": "x".repeat(33_000) }), StatusCode::BAD_REQUEST),
        ("alice", Method::PATCH, path, json!({ "seq": 7 }), StatusCode::BAD_REQUEST),
        ("alice", Method::PATCH, path, json!([]), StatusCode::BAD_REQUEST),
        ("alice", Method::PATCH, "/channels/room/messages/2", json!({ "content": "x" }), StatusCode::NOT_FOUND),
        ("alice", Method::PATCH, "/channels/room/messages/0", json!({ "content": "x" }), StatusCode::BAD_REQUEST),
        ("alice", Method::PATCH, "/channels/room/messages/x", json!({ "content": "x" }), StatusCode::BAD_REQUEST),
        ("alice", Method::DELETE, "/channels/room/messages/99999999999999999999", Value::Null, StatusCode::BAD_REQUEST),
        ("alice", Method::PUT, path, json!({}), StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (user, method, path, body, expected) in wrong {
        let body = (!body.is_null()).then_some(body);
        let (status, problem) = request(&stack, user, method.clone(), path, body).await;
        assert_eq!(status, expected, "{user} {method} {path}");
        assert_eq!(problem["status"], expected.as_u16(), "{user} {method} {path}");
    }
    let history = stack.history("alice", "room").await;
    assert_eq!((history.len(), &history[0]["content"]), (1, &json!("mine")));
    assert_eq!(history[0].get("edited_at"), None);
}

/// Sends a request with these headers. Returns the status, the entity tag and the body.
async fn conditional(
    stack: &Stack,
    method: Method,
    headers: &[(&'static str, &str)],
    body: Option<Value>,
) -> (StatusCode, Option<String>, Value) {
    let mut request = stack.request("alice", method, "/channels/room/messages/1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let (status, tag) = (response.status(), response.headers().get("etag").cloned());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    (status, tag.map(|tag| tag.to_str().unwrap().to_owned()), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_at_the_version_that_its_request_names() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let mut socket = stack.socket("bob", "room").await;
    let posted = stack.post("alice", "room", "first", None).await.unwrap();
    assert_eq!(posted.headers()["etag"], "\"1\"");
    let changed = |content: &str| Some(json!({ "content": content }));
    let (status, tag, message) = conditional(&stack, Method::GET, &[], None).await;
    assert_eq!((status, tag.as_deref(), &message["version"]), (StatusCode::OK, Some("\"1\""), &json!(1)));

    let (status, tag, edited) = conditional(&stack, Method::PATCH, &[("if-match", "\"1\"")], changed("second")).await;
    assert_eq!((status, tag.as_deref(), &edited["version"]), (StatusCode::OK, Some("\"2\""), &json!(2)));
    // An edit without a change adds no version.
    let (status, tag, _) = conditional(&stack, Method::PATCH, &[("if-match", "\"2\"")], changed("second")).await;
    assert_eq!((status, tag.as_deref()), (StatusCode::OK, Some("\"2\"")));
    for stale in ["\"1\"", "\"3\"", "W/\"2\"", "2"] {
        for (method, body) in [(Method::PATCH, changed("third")), (Method::DELETE, None), (Method::GET, None)] {
            let (status, _, problem) = conditional(&stack, method.clone(), &[("if-match", stale)], body).await;
            assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{method} {stale}: {problem}");
        }
    }
    let unless = [("if-none-match", "\"2\"")];
    assert_eq!(conditional(&stack, Method::PATCH, &unless, changed("third")).await.0, StatusCode::PRECONDITION_FAILED);
    let (status, _, found) = conditional(&stack, Method::GET, &unless, None).await;
    assert_eq!((status, &found), (StatusCode::OK, &edited), "a message is always returned");

    let reaction = "/channels/room/messages/1/reactions/%F0%9F%91%8D";
    assert_eq!(stack.ask("bob", Method::PUT, reaction, Value::Null).await.0, 204);
    let (status, ..) = conditional(&stack, Method::DELETE, &[("if-match", "\"2\"")], None).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "a reaction has another version");
    for _ in ["once", "again"] {
        let (status, ..) = conditional(&stack, Method::DELETE, &[("if-match", "\"3\"")], None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    let (_, tag, tombstone) = conditional(&stack, Method::GET, &[], None).await;
    assert_eq!((tag.as_deref(), &tombstone["version"]), (Some("\"4\""), &json!(4)));
    let events = socket.events(4).await;
    let told: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), event["version"].as_u64())).collect();
    let expected = ["message.created", "message.updated", "reaction.added", "message.deleted"];
    assert_eq!(told, expected.into_iter().zip((1..).map(Some)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_a_merge_patch() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let body =
        json!({ "content": "x", "content_type": "text/markdown", "metadata": { "a": { "b": 1, "c": 2 }, "d": 3 } });
    assert_eq!(stack.ask("alice", Method::POST, "/channels/room/messages", body).await.0, 201);
    let patch = async |patch: Value| {
        let path = "/channels/room/messages/1";
        stack.ask("alice", Method::PATCH, path, patch).await
    };
    for (change, metadata, version) in [
        (
            json!({ "metadata": { "a": { "b": null, "e": [null] } } }),
            json!({ "a": { "c": 2, "e": [null] }, "d": 3 }),
            2,
        ),
        (json!({}), json!({ "a": { "c": 2, "e": [null] }, "d": 3 }), 2),
        (json!({ "metadata": {} }), json!({ "a": { "c": 2, "e": [null] }, "d": 3 }), 2),
        (json!({ "metadata": { "a": null } }), json!({ "d": 3 }), 3),
        (json!({ "metadata": null }), Value::Null, 4),
        (json!({ "metadata": { "new": { "gone": null } } }), json!({ "new": {} }), 5),
    ] {
        let (status, edited) = patch(change.clone()).await;
        assert_eq!((status, &edited["metadata"], &edited["version"]), (200, &metadata, &json!(version)), "{change}");
        assert_eq!((&edited["content"], &edited["content_type"]), (&json!("x"), &json!("text/markdown")), "{change}");
    }
    let (status, problem) = patch(json!({ "content": null, "content_type": null, "metadata": 1 })).await;
    let errors = problem["errors"].as_array().unwrap().iter();
    let mut errors: Vec<_> =
        errors.map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap())).collect();
    errors.sort_unstable();
    let expected = [("content", "not_nullable"), ("content_type", "not_nullable"), ("metadata", "wrong_type")];
    assert_eq!((status, errors), (400, expected.to_vec()));
}
