//! Deleted channels whose ids are reused by other users.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Socket, Stack, until};

/// Number of rounds of each attack.
const ROUNDS: usize = 15;

/// Number of messages that are accepted during the removal of the old channel.
const MESSAGES: usize = 120;

async fn create(stack: &Stack, owner: &str, channel: &str, visibility: &str) -> u16 {
    let body = json!({ "channel_id": channel, "name": channel, "visibility": visibility, "agent": { "mode": "off" } });
    stack.ask(owner, Method::POST, "/channels", body).await.0
}

async fn delete(stack: &Stack, owner: &str, channel: &str) -> u16 {
    stack.ask(owner, Method::DELETE, &format!("/channels/{channel}"), Value::Null).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_removal_of_a_channel_never_touches_the_one_that_took_its_id() {
    let stack = Stack::in_memory();
    create(&stack, "alice", "room", "private").await;
    for number in 0..MESSAGES {
        stack.send("alice", "room", &format!("old {number}")).await;
    }
    assert_eq!(delete(&stack, "alice", "room").await, 204);
    assert_eq!(create(&stack, "carol", "room", "public").await, 201, "the id is free at once");
    let sending = async {
        let mut accepted = BTreeSet::new();
        for number in 0..MESSAGES {
            let message = stack.send("dave", "room", &format!("new {number}")).await;
            assert!(accepted.insert(message["seq"].as_u64().unwrap()));
        }
        accepted
    };
    let maintaining = async {
        for _ in 0..5 {
            let both = futures::future::join(stack.maintain(), stack.maintain()).await;
            assert!(both.0.is_success() && both.1.is_success(), "{both:?}");
        }
    };
    let (accepted, ()) = futures::future::join(sending, maintaining).await;
    until("the old channel is gone", async || stack.pending_ends().await == 0).await;
    let history = stack.history("dave", "room").await;
    let kept: BTreeSet<u64> = history.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert_eq!((accepted.len(), kept), (MESSAGES, accepted), "every accepted message is there");
    assert!(history.iter().all(|message| message["content"].as_str().unwrap().starts_with("new ")));
    let members = stack.ask("carol", Method::GET, "/channels/room/members", Value::Null).await.1;
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "{members}");
}

/// Reads messages until one with the content `last` arrives.
async fn hear_until(socket: &mut Socket, last: &str) -> Vec<String> {
    let mut contents = Vec::new();
    while contents.last().is_none_or(|content| content != last) {
        let message = socket.messages(1).await.remove(0);
        contents.push(message["content"].as_str().unwrap().to_owned());
    }
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_deleted_channel_never_reach_the_one_that_took_its_id() {
    let stack = Stack::pacing("250ms", &[]);
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        create(&stack, "alice", &channel, "private").await;
        for number in 0..3 {
            stack.send("alice", &channel, &format!("secret {number}")).await;
        }
        assert_eq!(delete(&stack, "alice", &channel).await, 204);
        assert_eq!(create(&stack, "mallory", &channel, "public").await, 201);
        let mut socket = stack.socket("mallory", &channel).await;
        // The stream delivers records in the order of their writes, so the old ones precede this one.
        stack.send("mallory", &channel, "last").await;
        assert_eq!(hear_until(&mut socket, "last").await, ["last"], "round {round}");
        assert_eq!(stack.history("mallory", &channel).await.len(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_channel_opens_or_decides_in_the_one_that_took_its_id() {
    let stack = Stack::in_memory();
    create(&stack, "alice", "room", "private").await;
    stack.ask("alice", Method::PUT, "/channels/room/members/bob", Value::Null).await;
    // The socket is there before the message, so it hears the message, and hears it before the deletion.
    let mut following = stack.connect(&crate::stack::token_of("bob"), "").await.unwrap();
    let first = stack.post("bob", "room", "hello", Some("key")).await.unwrap();
    assert_eq!(first.status(), 201);
    assert_eq!(following.messages(1).await[0]["content"], "hello");
    assert_eq!(stack.ask("bob", Method::PUT, "/channels/room/read", json!({ "seq": 1 })).await.0, 200);

    // Requested last, because a ticket lasts for a minute.
    let ticket = stack.ask("bob", Method::POST, "/connections/tickets", json!({ "channels": ["room"] })).await.1;
    assert_eq!(delete(&stack, "alice", "room").await, 204);
    assert_eq!(create(&stack, "carol", "room", "public").await, 201);
    // The ticket is for another channel.
    let url = format!("{}/?ticket={}", stack.address("websocket"), ticket["ticket"].as_str().unwrap());
    assert_eq!(stack.handshake(&url, &[]).await.err().map(|status| status.as_u16()), Some(403));
    // Memberships, read marks, keys and subscriptions ended with the channel.
    assert_eq!(stack.ask("bob", Method::GET, "/channels", Value::Null).await.1["channels"], json!([]));
    assert_eq!(stack.ask("bob", Method::PUT, "/channels/room/read", json!({ "seq": 0 })).await.0, 403);
    let mut stranger = stack.socket("mallory", "room").await;
    let again = stack.post("bob", "room", "hello", Some("key")).await.unwrap();
    assert_eq!(again.status(), 201, "the key was used for a message of another channel");
    assert_eq!(stranger.messages(1).await[0]["content"], "hello");
    assert!(following.hear_but_presence().await.is_err(), "the socket was closed without a frame of the new channel");
    // The opposite case: a private channel takes the id of a public one.
    assert_eq!(delete(&stack, "carol", "room").await, 204);
    assert_eq!(create(&stack, "alice", "room", "private").await, 201);
    stack.send("alice", "room", "among us").await;
    assert!(stranger.hear_but_presence().await.is_err(), "closed, without a frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_under_way_never_land_in_a_channel_that_took_the_id() {
    let stack = Stack::in_memory();
    for round in 0..ROUNDS {
        let channel = format!("room-{round}");
        create(&stack, "alice", &channel, "private").await;
        stack.ask("alice", Method::PUT, &format!("/channels/{channel}/members/bob"), Value::Null).await;
        let send = async |number: usize| {
            let content = format!("for members {number}");
            stack.post("bob", &channel, &content, Some(&format!("key-{number}"))).await.unwrap().status().as_u16()
        };
        let changing = async {
            let deleted = delete(&stack, "alice", &channel).await;
            (deleted, create(&stack, "carol", &channel, "private").await)
        };
        let sending = futures::future::join_all((0..8).map(send));
        let (changed, answers) = futures::future::join(changing, sending).await;
        assert_eq!(changed, (204, 201), "round {round}");
        // A send that loses against the others for too long is refused with 503.
        assert!(answers.iter().all(|status| matches!(status, 201 | 404 | 503)), "round {round}: {answers:?}");
        assert!(stack.history("carol", &channel).await.is_empty(), "round {round}: bob is no member of this one");
    }
}
