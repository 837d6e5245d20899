//! Reactions.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stack::{PATIENCE, Stack};

const THUMB: &str = "%F0%9F%91%8D";

async fn react(stack: &Stack, user: &str, method: Method, seq: u64, emoji: &str) -> u16 {
    stack.ask(user, method, &format!("/channels/room/messages/{seq}/reactions/{emoji}"), Value::Null).await.0
}

/// Counts the events of messages in the stream of a stack.
fn events(data: &Path) -> i64 {
    let database = rusqlite::Connection::open(data.join("dynamodb.sqlite")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let count = "SELECT count(*) FROM _stream_records WHERE table_name = 'chat_events'";
    database.query_row(count, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_are_kept_with_the_message_and_heard_of() {
    let data = tempfile::tempdir().unwrap();
    let stack = Stack::on(data.path());
    stack.create_channel("alice", "room", "public", "off").await;
    let mut socket = stack.socket("alice", "room").await;
    let sent = stack.send("alice", "room", "x").await;
    assert_eq!(socket.messages(1).await, [sent]);
    for _ in 0..2 {
        assert_eq!(react(&stack, "bob", Method::PUT, 1, THUMB).await, 204, "again changes nothing");
    }
    let expected = json!({ "👍": { "count": 1, "user_ids": ["bob"] } });
    let event = socket.events(1).await.remove(0);
    assert_eq!((&event["type"], &event["seq"]), (&json!("message.updated"), &json!(1)));
    assert_eq!(event["message"]["reactions"], expected);
    let (_, message) = stack.ask("alice", Method::GET, "/channels/room/messages/1", Value::Null).await;
    assert_eq!((&message["reactions"], message.get("edited_at")), (&expected, None));
    assert_eq!(react(&stack, "bob", Method::DELETE, 1, THUMB).await, 204);
    assert_eq!(react(&stack, "bob", Method::DELETE, 1, THUMB).await, 204);
    assert_eq!(socket.messages(1).await[0].get("reactions"), None);
    assert_eq!(events(data.path()), 3, "the message, the reaction and its end: a repeated reaction is no event");

    for wrong in ["x", "hello", "%F0%9F%91%8D%F0%9F%91%8D", "%00", "%20"] {
        assert_eq!(react(&stack, "bob", Method::PUT, 1, wrong).await, 400, "{wrong}");
    }
    assert_eq!(react(&stack, "bob", Method::PUT, 9, THUMB).await, 404);
    assert_eq!(react(&stack, "bob", Method::PUT, 0, THUMB).await, 400);
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room/messages/1", Value::Null).await.0, 204);
    assert_eq!(react(&stack, "bob", Method::PUT, 1, THUMB).await, 404, "it is deleted");
}
