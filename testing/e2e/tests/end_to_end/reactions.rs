//! Reactions.

use std::path::Path;

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{PATIENCE, Socket, Stack};

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

/// Returns the next event of a socket, without its trace.
async fn heard(socket: &mut Socket) -> Value {
    let mut event = socket.events(1).await.remove(0);
    event.as_object_mut().unwrap().remove("traceparent");
    event
}

/// Returns the event of a thumb for the first message. All changes of the channel are of this message.
fn changed(kind: &str, version: u64, user: &str, count: u64) -> Value {
    let rev = version - 1;
    json!({ "type": kind, "seq": 1, "version": version, "rev": rev, "emoji": "👍", "user_id": user, "count": count })
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
    assert_eq!(heard(&mut socket).await, changed("reaction.added", 2, "bob", 1));
    for (user, reacted) in [("alice", false), ("bob", true)] {
        let (_, message) = stack.ask(user, Method::GET, "/channels/room/messages/1", Value::Null).await;
        let expected = json!([{ "emoji": "👍", "count": 1, "user_ids": ["bob"], "reacted": reacted }]);
        assert_eq!((&message["reactions"], message.get("edited_at")), (&expected, None), "{user}");
        assert_eq!(message["version"], 2);
        assert_eq!(stack.history(user, "room").await, [message], "{user}");
    }
    assert_eq!(react(&stack, "bob", Method::DELETE, 1, THUMB).await, 204);
    assert_eq!(react(&stack, "bob", Method::DELETE, 1, THUMB).await, 204);
    assert_eq!(heard(&mut socket).await, changed("reaction.removed", 3, "bob", 0));
    let (_, message) = stack.ask("bob", Method::GET, "/channels/room/messages/1", Value::Null).await;
    assert_eq!((message.get("reactions"), &message["version"]), (None, &json!(3)));
    assert_eq!(events(data.path()), 3, "the message, the reaction and its end: a repeated reaction is no event");

    for wrong in ["x", "hello", "%F0%9F%91%8D%F0%9F%91%8D", "%00", "%20"] {
        assert_eq!(react(&stack, "bob", Method::PUT, 1, wrong).await, 400, "{wrong}");
    }
    assert_eq!(react(&stack, "bob", Method::PUT, 9, THUMB).await, 404);
    assert_eq!(react(&stack, "bob", Method::PUT, 0, THUMB).await, 400);
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room/messages/1", Value::Null).await.0, 204);
    assert_eq!(react(&stack, "bob", Method::PUT, 1, THUMB).await, 404, "it is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_reactions_are_read_page_by_page() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    let users: Vec<String> = (10..25).map(|number| format!("u{number}")).collect();
    for user in &users {
        assert_eq!(react(&stack, user, Method::PUT, 1, THUMB).await, 204);
    }
    assert_eq!(react(&stack, "u12", Method::PUT, 1, "%F0%9F%8E%89").await, 204);
    let list = async |query: &str| {
        stack.ask("u20", Method::GET, &format!("/channels/room/messages/1/reactions{query}"), Value::Null).await
    };
    let thumbs = users.iter().map(|user| json!({ "emoji": "👍", "user_id": user }));
    let all: Vec<Value> = [json!({ "emoji": "🎉", "user_id": "u12" })].into_iter().chain(thumbs).collect();
    for (emoji, expected) in
        [("", all.as_slice()), ("&emoji=%F0%9F%91%8D", &all[1..]), ("&emoji=%F0%9F%9A%80", &all[..0])]
    {
        let (mut found, mut cursor): (Vec<Value>, String) = (Vec::new(), String::new());
        loop {
            let (status, page) = list(&format!("?limit=7{emoji}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            found.extend(page["reactions"].as_array().unwrap().iter().cloned());
            assert_eq!(page["has_more"], page.get("next").is_some());
            let Some(next) = page["next"]["cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected, "{emoji}");
    }
    // The message names the first ten, and counts all.
    let (_, message) = stack.ask("u20", Method::GET, "/channels/room/messages/1", Value::Null).await;
    let expected = json!({ "emoji": "👍", "count": 15, "user_ids": users[..10], "reacted": true });
    assert_eq!(message["reactions"][1], expected);
    assert_eq!(message["reactions"][0]["reacted"], false);

    for (wrong, field) in [("?cursor=x", "cursor"), ("?emoji=x", "emoji"), ("?limit=0", "limit"), ("?after=1", "after")]
    {
        let (status, problem) = list(wrong).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{wrong}");
    }
    let none = stack.ask("alice", Method::GET, "/channels/room/messages/9/reactions", Value::Null).await;
    assert_eq!(none.0, 404);
    stack.ask("alice", Method::DELETE, "/channels/room/messages/1", Value::Null).await;
    assert_eq!(list("").await, (200, json!({ "reactions": [], "has_more": false })), "a deleted message");
}
