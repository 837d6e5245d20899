//! Deleting channels.

use std::path::Path;

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, until};

async fn rows(stack: &Stack, table: &str, channel: &str) -> usize {
    let found = stack.dynamodb().await.scan().table_name(table).send().await.unwrap();
    let is_of = |item: &&std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>| {
        item.values().any(|value| value.as_s().is_ok_and(|text| text.contains(channel)))
    };
    found.items().iter().filter(is_of).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_channel_is_gone_and_its_history_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::on(directory.path());
    fill(&stack).await;
    let sockets = [stack.socket("alice", "doomed").await, stack.socket("bob", "doomed").await];
    let delete = async |user: &str, tag: &str| {
        let request = stack.request(user, Method::DELETE, "/channels/doomed").header("if-match", tag);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(delete("bob", "*").await, 403);
    assert_eq!(delete("mallory", "*").await, 404);
    assert_eq!(delete("alice", "\"99\"").await, 412);
    assert_eq!(delete("alice", "*").await, 204);
    assert_eq!(delete("alice", "*").await, 404);
    for mut socket in sockets {
        // Messages from before the deletion may still be under way. Each socket is closed after them.
        while socket.hear().await.is_ok() {}
    }
    for (method, path) in [
        (Method::GET, "/channels/doomed"),
        (Method::GET, "/channels/doomed/messages"),
        (Method::GET, "/channels/doomed/members"),
        (Method::POST, "/channels/doomed/messages"),
        (Method::PUT, "/channels/doomed/members/carol"),
    ] {
        let body = if method == Method::POST { json!({ "content": "x" }) } else { Value::Null };
        assert_eq!(stack.ask("alice", method.clone(), path, body).await.0, 404, "{method} {path}");
    }
    assert_eq!(stack.ask("alice", Method::GET, "/channels", Value::Null).await.1["channels"], json!([]));
    // The process is killed during the removal; the next run continues it.
    stack.kill();
    let stack = Stack::on(Path::new(directory.path()));
    until("all items are removed", async || {
        rows(&stack, "chat_events", "doomed").await + rows(&stack, "chat_channels", "doomed").await == 0
    })
    .await;
    stack.create_channel("carol", "doomed", "public", "off").await;
    assert!(stack.history("carol", "doomed").await.is_empty(), "a new channel of that id has no past");
}

async fn fill(stack: &Stack) {
    stack.create_channel("alice", "doomed", "private", "off").await;
    assert_eq!(stack.ask("alice", Method::PUT, "/channels/doomed/members/bob", Value::Null).await.0, 201);
    for number in 0..60 {
        stack.send("alice", "doomed", &format!("message {number}")).await;
    }
}
