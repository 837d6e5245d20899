//! Presence, typing and read marks.

use std::time::Instant;

use chat::model::limits::TYPING_BUCKET;
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    connections::key_of,
    stack::{PATIENCE, Socket, Stack, until},
};

async fn users(stack: &Stack, caller: &str, channel: &str) -> Vec<String> {
    let (status, found) = stack.ask(caller, Method::GET, &format!("/channels/{channel}/presence"), Value::Null).await;
    assert_eq!(status, 200, "{found}");
    let users = found["users"].as_array().unwrap();
    users.iter().map(|user| user["user_id"].as_str().unwrap().to_owned()).collect()
}

async fn next(socket: &mut Socket) -> (String, String) {
    let frame = socket.hear().await.unwrap();
    let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
    assert!(frame["channel_id"] == "lobby", "{frame}");
    (text("type"), text("user_id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn members_see_who_is_there_and_who_comes_and_goes() {
    let stack = Stack::in_memory();
    let mut alice = stack.socket("alice", "lobby").await;
    let (bob, mut second) = (stack.socket("bob", "lobby").await, stack.socket("bob", "lobby").await);
    assert_eq!(users(&stack, "carol", "lobby").await, ["alice", "bob"]);
    assert_eq!(next(&mut alice).await, ("presence.joined".into(), "bob".into()));
    let page = async |query: &str| {
        let path = format!("/channels/lobby/presence?{query}");
        stack.ask("carol", Method::GET, &path, Value::Null).await.1
    };
    let first = page("limit=1").await;
    assert_eq!((&first["users"][0]["user_id"], &first["has_more"]), (&json!("alice"), &json!(true)));
    let rest = page(&format!("limit=1&cursor={}", first["next"]["cursor"].as_str().unwrap())).await;
    assert_eq!((&rest["users"][0]["user_id"], &rest["has_more"]), (&json!("bob"), &json!(false)));

    // The end of the first of two sockets sends no event, and neither does a page reload.
    drop(bob);
    let third = stack.socket("bob", "lobby").await;
    let pushed = async || stack.send("carol", "lobby", "hello").await;
    pushed().await;
    assert_eq!(second.messages(1).await[0]["content"], "hello");
    drop((second, third));
    until("bob has gone", async || users(&stack, "carol", "lobby").await == ["alice"]).await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(kind, _)| kind != "presence.left") {
        heard.push(next(&mut alice).await);
    }
    assert_eq!(heard.iter().filter(|(kind, _)| kind.starts_with("presence.")).count(), 1, "{heard:?}");

    stack.create_channel("alice", "secret", "private", "off").await;
    assert_eq!(stack.ask("bob", Method::GET, "/channels/secret/presence", Value::Null).await.0, 404);
    assert!(users(&stack, "alice", "secret").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_disconnect_never_came_is_not_there_for_long() {
    use aws_sdk_dynamodb::types::AttributeValue;
    let stack = Stack::in_memory();
    let (dynamodb, text) = (stack.dynamodb().await, |text: &str| AttributeValue::S(text.to_owned()));
    let key = key_of(&stack, "lobby").await;
    for (pk, sk) in [("conn#ghost=", "meta"), (&format!("chan#{key}"), "conn#ghost=")] {
        let put = dynamodb.put_item().table_name("chat_connections").item("pk", text(pk)).item("sk", text(sk));
        put.item("user_id", text("ghost"))
            .item("channels", AttributeValue::Ss(vec![key.clone()]))
            .item("connected_at", text("2026-11-24T00:00:00.000Z"))
            .item("token_expires_at", text("2126-11-24T00:00:00.000Z"))
            .item("expires_at", AttributeValue::N("4900000000".to_owned()))
            .send()
            .await
            .unwrap();
    }
    let _alice = stack.socket("alice", "lobby").await;
    // A socket counts as present while the gateway does not answer in time.
    until("a list ends stale users", async || users(&stack, "bob", "lobby").await == ["alice"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_passed_on_and_kept_nowhere() {
    let stack = Stack::in_memory();
    let (mut alice, mut bob) = (stack.socket("alice", "lobby").await, stack.socket("bob", "lobby").await);
    let typing = async |user: &str| stack.request(user, Method::POST, "/channels/lobby/typing").send().await.unwrap();
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(typing("bob").await.status(), 202);
        loop {
            if next(&mut alice).await == ("typing".into(), "bob".into()) {
                break;
            }
        }
    }
    // The bucket regains tokens meanwhile, so a slow machine sends more events until it is empty.
    let (mut accepted, mut refused) = (3, None);
    while refused.is_none() {
        assert!(began.elapsed() < PATIENCE, "{accepted} events were accepted and none refused");
        for answer in futures::future::join_all((0..8).map(|_| typing("bob"))).await {
            if answer.status() == 202 {
                accepted += 1;
            } else {
                assert_eq!(answer.status(), 429);
                refused = Some(answer);
            }
        }
        let regained = began.elapsed().as_secs() / TYPING_BUCKET.every.as_secs();
        assert!(
            accepted <= u64::from(TYPING_BUCKET.burst) + regained,
            "{accepted} events were accepted, with {regained} regained tokens"
        );
    }
    let refused = refused.unwrap();
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(typing("alice").await.status(), 202, "each user has a bucket");
    loop {
        // bob does not receive his own typing event.
        let heard = next(&mut bob).await;
        assert_ne!(heard, ("typing".into(), "bob".into()));
        if heard == ("typing".into(), "alice".into()) {
            break;
        }
    }
    assert!(stack.history("alice", "lobby").await.is_empty());
    stack.create_channel("alice", "secret", "private", "off").await;
    assert_eq!(stack.ask("bob", Method::POST, "/channels/secret/typing", Value::Null).await.0, 404);
    assert_eq!(stack.ask("alice", Method::POST, "/channels/secret/typing", json!({ "x": 1 })).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_messages_are_counted_from_a_mark_that_never_goes_back() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "before bob").await;
    assert_eq!(stack.ask("bob", Method::PUT, "/channels/room/members/bob", Value::Null).await.0, 201);
    for _ in 0..3 {
        stack.send("alice", "room", "x").await;
    }
    let unread = async |user: &str| {
        let (_, list) = stack.ask(user, Method::GET, "/channels", Value::Null).await;
        let membership = &list["channels"][0]["membership"];
        (membership["read_seq"].clone(), membership["unread_count"].clone())
    };
    assert_eq!(unread("bob").await, (json!(1), json!(3)), "what came before bob is not unread");
    let mark =
        async |user: &str, seq: Value| stack.ask(user, Method::PUT, "/channels/room/read", json!({ "seq": seq })).await;
    assert_eq!(mark("bob", json!(3)).await, (200, json!({ "channel_id": "room", "read_seq": 3 })));
    assert_eq!(mark("bob", json!(2)).await, (200, json!({ "channel_id": "room", "read_seq": 3 })));
    assert_eq!(unread("bob").await, (json!(3), json!(1)));
    for wrong in [json!(5), json!(-1), json!("1"), json!(null), json!(1.5)] {
        assert_eq!(mark("bob", wrong.clone()).await.0, 400, "{wrong}");
    }
    assert_eq!(mark("carol", json!(1)).await.0, 403, "no member");
    assert_eq!(stack.ask("bob", Method::PUT, "/channels/nowhere/read", json!({ "seq": 1 })).await.0, 404);
}
