//! Edited and deleted messages.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

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
    let event = socket.hear_but_presence().await.unwrap()["events"][0].clone();
    assert_eq!((&event["type"], &event["seq"], &event["message"]), (&json!("message.updated"), &json!(1), &edited));

    for _ in ["once", "again"] {
        let (status, _) = request(&stack, "olga", Method::DELETE, &path, None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    let event = socket.hear_but_presence().await.unwrap()["events"][0].clone();
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
