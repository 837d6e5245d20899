//! Ends that do not fit in one invocation: channels with many subscriptions that become private or are deleted.
//!
//! `SUBSCRIPTIONS=100000` runs the tests with as many subscriptions.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{PATIENCE, Socket, Stack, pending_ends};

/// Maximum number of removals until a function is killed in the middle of one.
const ROUNDS: usize = 20;

/// Number of real sockets of users without a membership.
const STRANGERS: usize = 6;

type Item = HashMap<String, AttributeValue>;

fn subscriptions() -> usize {
    std::env::var("SUBSCRIPTIONS").map_or(1_000, |count| count.parse().unwrap())
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item[name].as_s().unwrap()
}

/// Returns the rows of a table whose partition key begins with `prefix`.
async fn rows(stack: &Stack, table: &str, partition: &str, prefix: &str) -> Vec<Item> {
    let scan = stack.dynamodb().await.scan().table_name(table).into_paginator().items().send();
    let all: Vec<Item> = scan.collect::<Result<_, _>>().await.unwrap();
    all.into_iter().filter(|item| text(item, partition).starts_with(prefix)).collect()
}

/// Returns the subscriptions of a channel, without the items of its gate.
async fn subscribed(stack: &Stack, channel: &str) -> Vec<Item> {
    let mut all = rows(stack, "chat_connections", "pk", &format!("chan#{channel}@")).await;
    all.retain(|item| text(item, "sk").starts_with("conn#"));
    all
}

/// Copies a real subscription `count` times, with different users and connections.
async fn crowd(stack: &Stack, channel: &str, count: usize) {
    let template = subscribed(stack, channel).await.remove(0);
    let client = stack.dynamodb().await;
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(25) {
        let puts = chunk.iter().map(|number| {
            let mut item = template.clone();
            item.insert("sk".to_owned(), AttributeValue::S(format!("conn#crowd{number:06}=")));
            item.insert("user_id".to_owned(), AttributeValue::S(format!("crowd{number:06}")));
            item.insert("connected_at".to_owned(), AttributeValue::S("2026-11-24T00:00:00.000Z".to_owned()));
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        client.batch_write_item().request_items("chat_connections", puts.collect()).send().await.unwrap();
    }
}

async fn strangers(stack: &Stack, channel: &str) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for number in 0..STRANGERS {
        sockets.push(stack.socket(&format!("stranger{number}"), channel).await);
    }
    sockets
}

/// Reads until the socket is closed, and returns the received messages.
async fn hear_to_the_end(mut socket: Socket) -> Vec<Value> {
    let mut heard = Vec::new();
    while let Ok(mut frame) = socket.hear().await {
        let events = frame["events"].as_array_mut().into_iter().flatten();
        heard.extend(events.map(|event| event["message"].take()));
    }
    heard
}

/// Runs the maintenance function until all ends are finished. A killed function holds its lease for 20 s.
async fn finish(stack: &Stack) {
    let done = async {
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        while stack.pending_ends().await > 0 {
            stack.maintain().await;
            every_second.tick().await;
        }
    };
    // Much longer than needed, also in a debug build on a busy machine.
    tokio::time::timeout(PATIENCE * (5 + u32::try_from(subscriptions() / 2_000).unwrap()), done)
        .await
        .expect("all ends are finished");
}

/// Sends a message, and then kills the maintenance function during its work.
async fn send_and_kill_maintenance(stack: &Stack, sender: &str, content: &str) {
    let send = async {
        stack.send(sender, "room", content).await;
        for (pid, _) in stack.functions().into_iter().filter(|(_, name)| name == "maintenance") {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    };
    futures::future::join(stack.maintain(), send).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_channel_that_is_made_private_is_silent_for_strangers_from_the_answer_on() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    assert_eq!(stack.ask("bob", Method::PUT, "/channels/room/members/bob", Value::Null).await.0, 201);
    let mut bob = stack.socket("bob", "room").await;
    let strangers = strangers(&stack, "room").await;
    crowd(&stack, "room", subscriptions()).await;

    stack.send("alice", "room", "for everybody").await;
    let (status, changed) =
        stack.ask("alice", Method::PATCH, "/channels/room", json!({ "visibility": "private" })).await;
    assert_eq!((status, &changed["visibility"]), (200, &json!("private")), "{changed}");
    let last_public = stack.ask("alice", Method::GET, "/channels/room", Value::Null).await.1["last_seq"].clone();
    for number in 0..5 {
        send_and_kill_maintenance(&stack, "alice", &format!("among us {number}")).await;
    }
    let again = stack.ask("alice", Method::PATCH, "/channels/room", json!({ "visibility": "private" })).await;
    assert_eq!(again.0, 200, "{}", again.1);
    // Shards of a big channel are pushed concurrently, so the order is open.
    let heard: BTreeSet<String> =
        bob.messages(6).await.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect();
    let sent = (0..5).map(|number| format!("among us {number}")).chain(["for everybody".to_owned()]);
    assert_eq!(heard, sent.collect::<BTreeSet<String>>());
    finish(&stack).await;
    for heard in futures::future::join_all(strangers.into_iter().map(hear_to_the_end)).await {
        let mut seqs = heard.iter().map(|message| message["seq"].as_u64().unwrap());
        assert!(seqs.all(|seq| seq <= last_public.as_u64().unwrap()), "a stranger heard {heard:?}");
    }
    let users: Vec<String> =
        subscribed(&stack, "room").await.iter().map(|item| text(item, "user_id").to_owned()).collect();
    assert_eq!(users, ["bob"], "only the member is subscribed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_channel_that_is_deleted_is_silent_from_the_answer_on_and_its_id_is_free() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    let strangers = strangers(&stack, "room").await;
    crowd(&stack, "room", subscriptions()).await;
    stack.send("alice", "room", "the last").await;
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room", Value::Null).await.0, 204);
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room", Value::Null).await.0, 404);
    stack.create_channel("carol", "room", "private", "off").await;
    let mut carol = stack.socket("carol", "room").await;
    for number in 0..3 {
        send_and_kill_maintenance(&stack, "carol", &format!("another channel {number}")).await;
    }
    assert_eq!(carol.messages(3).await[2]["content"], "another channel 2");
    finish(&stack).await;
    for heard in futures::future::join_all(strangers.into_iter().map(hear_to_the_end)).await {
        // Pushes come at least once.
        assert!(heard.iter().all(|message| message["content"] == "the last"), "a stranger heard {heard:?}");
    }
    assert_eq!(subscribed(&stack, "room").await.len(), 1, "only the new channel's");
    assert_eq!(stack.history("carol", "room").await.len(), 3);
}

/// Returns when a pending end is recorded. It asks as fast as it can, because the end may be finished soon after.
async fn recorded(client: &aws_sdk_dynamodb::Client) {
    let query = pending_ends(client).consistent_read(true).limit(1);
    while query.clone().send().await.unwrap().count() == 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_whose_function_is_killed_is_finished_by_another() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    let client = stack.dynamodb().await;
    let (mut killed, mut round) = (0, 0);
    // A function may have ended its work before the signal arrives. A round with a hit lasts as long as a lease.
    while killed == 0 && round < ROUNDS {
        round += 1;
        let user = format!("bob{round}");
        let path = format!("/channels/room/members/{user}");
        assert_eq!(stack.ask("alice", Method::PUT, &path, Value::Null).await.0, 201);
        let mut sockets = Vec::new();
        for _ in 0..10 {
            sockets.push(stack.socket(&user, "room").await);
        }
        let mut removal = std::pin::pin!(stack.ask("alice", Method::DELETE, &path, Value::Null));
        let mut status = tokio::select! {
            answer = &mut removal => answer.0,
            () = recorded(&client) => {
                for (pid, _) in stack.functions().into_iter().filter(|(_, name)| name == "channels") {
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
                removal.await.0
            }
        };
        killed += usize::from(status == 502);
        // The client retries after an error; the next environment may have been killed as well.
        for _ in 0..5 {
            if status == 502 {
                status = stack.ask("alice", Method::DELETE, &path, Value::Null).await.0;
            }
        }
        assert!(matches!(status, 204 | 404), "round {round}: {status}");
        let last = stack.send("alice", "room", "without you").await["seq"].as_u64().unwrap();
        finish(&stack).await;
        for heard in futures::future::join_all(sockets.into_iter().map(hear_to_the_end)).await {
            assert!(heard.iter().all(|message| message["seq"] != last), "round {round}: {heard:?}");
        }
    }
    assert!(killed > 0, "no function was killed after the change and before its ends");
}
