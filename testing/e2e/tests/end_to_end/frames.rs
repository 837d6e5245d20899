//! Frames that are not stored: greetings, changes of channels and members, read marks, and the reasons for the end of a
//! socket. Each arrives at the right sockets, and at no others.

use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    issuers::{ALL, of_tenant, with_tenants},
    stack::{Socket, Stack, answered, claims_of, rounds, signed, token_of},
};

/// Lifetime, in seconds, of a token that ends while its socket is open.
const BRIEF: i64 = 5;

async fn ask(stack: &Stack, user: &str, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = stack.ask(user, method, path, body).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    answer
}

/// Returns a socket that follows all channels of its user.
async fn following(stack: &Stack, user: &str) -> Socket {
    stack.connect(&token_of(user), "").await.unwrap()
}

/// Sends a message to a channel that the socket receives, and returns the frames before it. All earlier pushes to the
/// socket have ended by then.
async fn until_marked(stack: &Stack, socket: &mut Socket, sender: &str, channel: &str) -> Vec<Value> {
    let mark = stack.send(sender, channel, "mark").await["seq"].clone();
    let is_mark = |event: &Value| event["seq"] == mark;
    let mut frames = Vec::new();
    loop {
        let frame = socket.hear().await.expect("an open socket");
        if frame["channel_id"] == channel && frame["events"].as_array().is_some_and(|all| all.iter().any(is_mark)) {
            return frames;
        }
        frames.push(frame);
    }
}

/// Returns the frames of a socket until its end.
async fn until_closed(socket: &mut Socket) -> Vec<Value> {
    let mut frames = Vec::new();
    while let Ok(frame) = socket.hear().await {
        frames.push(frame);
    }
    frames
}

fn of_channel<'a>(frames: &'a [Value], channel: &str) -> Vec<&'a Value> {
    frames.iter().filter(|frame| frame["channel_id"] == channel).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_socket_is_greeted_with_what_its_client_needs() {
    let stack = with_tenants();
    let ticket = ask(&stack, "alice", Method::POST, "/connections/tickets", json!({ "channels": ["lobby"] })).await;
    let of_ticket = format!("{}/?ticket={}", stack.address("websocket"), ticket["ticket"].as_str().unwrap());
    let tenants = of_tenant("alice", "acme", ALL);
    let tickets = answered(stack.bearing(&tenants, Method::POST, "/connections/tickets")).await.1;
    let of_tenants_ticket = format!("{}/?ticket={}", stack.address("websocket"), tickets["ticket"].as_str().unwrap());
    let mut sockets = [
        ("a token", stack.socket("alice", "lobby").await),
        ("no channels", following(&stack, "alice").await),
        ("a ticket", stack.handshake(&of_ticket, &[]).await.unwrap().0),
        ("a tenant", stack.connect(&tenants, "").await.unwrap()),
        ("a ticket of a tenant", stack.handshake(&of_tenants_ticket, &[]).await.unwrap().0),
    ];
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for (name, socket) in &mut sockets {
        let hello = socket.hello().await;
        assert_eq!(hello["connection_id"], socket.id().await, "{name}");
        assert_eq!((&hello["user_id"], &hello["channels_left_out"]), (&json!("alice"), &json!(0)), "{name}");
        let (now, ends_at) = (time(&hello["server_time"]), time(&hello["expires_at"]));
        assert!(now < ends_at && ends_at.duration_since(now).as_hours() <= 2, "{name}: {hello}");
    }
    // The greeting renews a token as the connection id of a pong does.
    let id = sockets[0].1.hello().await["connection_id"].as_str().unwrap().replace('=', "%3D");
    ask(&stack, "alice", Method::POST, &format!("/connections/{id}/token"), Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_receive_changes_of_a_private_channel() {
    let stack = with_tenants();
    let tenants = of_tenant("alice", "acme", ALL);
    let own = json!({ "channel_id": "secret", "name": "Theirs", "visibility": "private", "agent": { "mode": "off" } });
    assert_eq!(answered(stack.bearing(&tenants, Method::POST, "/channels").json(&own)).await.0, 201);
    let mut other = stack.connect(&tenants, "").await.unwrap();
    let (mut alice, mut bob, mut carol) =
        (following(&stack, "alice").await, following(&stack, "bob").await, following(&stack, "carol").await);
    stack.create_channel("carol", "carols", "private", "off").await;
    carol.hear_of("channel.created").await;

    let new = json!({ "channel_id": "secret", "name": "Ours", "visibility": "private", "agent": { "mode": "off" } });
    let created = ask(&stack, "alice", Method::POST, "/channels", new).await;
    let frame = alice.hear_of("channel.created").await;
    assert_eq!((&frame["channel_id"], &frame["channel"]["name"]), (&json!("secret"), &created["name"]));
    assert_eq!((&frame["channel"]["version"], frame["channel"].get("incarnation")), (&created["version"], None));

    let member = ask(&stack, "alice", Method::PUT, "/channels/secret/members/bob", Value::Null).await;
    for socket in [&mut alice, &mut bob] {
        let frame = socket.hear_of("member.joined").await;
        assert_eq!(frame, json!({ "type": "member.joined", "channel_id": "secret", "member": member }));
    }
    let role = json!({ "role": "moderator" });
    ask(&stack, "alice", Method::PUT, "/channels/secret/members/bob", role).await;
    for socket in [&mut alice, &mut bob] {
        let frame = socket.hear_of("member.updated").await;
        assert_eq!((&frame["member"]["user_id"], &frame["member"]["role"]), (&json!("bob"), &json!("moderator")));
    }
    let changed = ask(&stack, "alice", Method::PATCH, "/channels/secret", json!({ "name": "Renamed" })).await;
    for socket in [&mut alice, &mut bob] {
        let frame = socket.hear_of("channel.updated").await;
        assert_eq!((&frame["channel"]["name"], &frame["channel"]["version"]), (&json!("Renamed"), &changed["version"]));
    }

    ask(&stack, "alice", Method::DELETE, "/channels/secret/members/bob", Value::Null).await;
    let frame = alice.hear_of("member.removed").await;
    assert_eq!(frame, json!({ "type": "member.removed", "channel_id": "secret", "user_id": "bob" }));
    let mut bob = following(&stack, "bob").await;
    stack.create_channel("bob", "bobs", "private", "off").await;
    bob.hear_of("channel.created").await;
    ask(&stack, "alice", Method::PATCH, "/channels/secret", json!({ "name": "Without bob" })).await;
    alice.hear_of("channel.updated").await;

    let of_bob = until_marked(&stack, &mut bob, "bob", "bobs").await;
    let of_carol = until_marked(&stack, &mut carol, "carol", "carols").await;
    for frames in [of_bob, of_carol] {
        assert!(of_channel(&frames, "secret").is_empty(), "{frames:?}");
    }
    let send = stack.bearing(&tenants, Method::POST, "/channels/secret/messages").json(&json!({ "content": "mark" }));
    assert_eq!(answered(send).await.0, 201);
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &Value| frame["type"] != "events") {
        frames.push(other.hear().await.expect("an open socket"));
    }
    let kinds: Vec<&str> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert!(kinds.iter().all(|kind| kind.starts_with("presence.") || *kind == "events"), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_mark_reaches_the_users_other_sockets_and_as_a_receipt_the_whole_channel() {
    let stack = Stack::in_memory();
    for (channel, receipts) in [("quiet", false), ("open", true)] {
        let new = json!({
            "channel_id": channel, "name": channel, "visibility": "private", "agent": { "mode": "off" },
            "read_receipts": receipts,
        });
        ask(&stack, "alice", Method::POST, "/channels", new).await;
        ask(&stack, "alice", Method::PUT, &format!("/channels/{channel}/members/bob"), Value::Null).await;
        stack.send("alice", channel, "hello").await;
    }
    let mut alice = following(&stack, "alice").await;
    let mut bobs = [following(&stack, "bob").await, stack.socket("bob", "quiet").await];
    let mark = async |channel: &str| {
        ask(&stack, "bob", Method::PUT, &format!("/channels/{channel}/read"), json!({ "seq": 1 })).await;
        json!({ "type": "read.updated", "channel_id": channel, "user_id": "bob", "read_seq": 1 })
    };
    let marked = mark("quiet").await;
    for bob in &mut bobs {
        bob.hear_that(|frame| *frame == marked).await;
    }
    let frames = until_marked(&stack, &mut alice, "alice", "quiet").await;
    assert!(frames.iter().all(|frame| frame["type"] != "read.updated"), "{frames:?}");

    let marked = mark("open").await;
    // The first mark may be repeated, since pushes come at least once.
    for socket in [&mut alice, &mut bobs[0]] {
        socket.hear_that(|frame| *frame == marked).await;
    }
    let frames = until_marked(&stack, &mut bobs[1], "alice", "quiet").await;
    assert!(of_channel(&frames, "open").is_empty(), "the socket names another channel: {frames:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_ends_says_why() {
    let stack = Stack::in_memory();
    let closing = |reason: &str| json!({ "type": "closing", "reason": reason, "reconnect": true });
    for (kind, path) in [("member.removed", "/members/bob"), ("channel.deleted", "")] {
        let change = |channel: &str| match kind {
            "member.removed" => json!({ "type": kind, "channel_id": channel, "user_id": "bob" }),
            _ => json!({ "type": kind, "channel_id": channel }),
        };
        rounds(kind, async |round: usize| {
            let channel = format!("{kind}-{round}");
            stack.create_channel("alice", &channel, "private", "off").await;
            ask(&stack, "alice", Method::PUT, &format!("/channels/{channel}/members/bob"), Value::Null).await;
            let mut socket = stack.socket("bob", &channel).await;
            ask(&stack, "alice", Method::DELETE, &format!("/channels/{channel}{path}"), Value::Null).await;
            let mut frames = until_closed(&mut socket).await;
            frames.retain(|frame| !frame["type"].as_str().unwrap().starts_with("presence."));
            let expected = [change(&channel), closing("removed")];
            // Each of them may be missing, and no other frame comes.
            assert!(frames.iter().all(|heard| expected.contains(heard)), "{frames:?}");
            (frames == expected).then_some(())
        })
        .await;
    }

    rounds("the end of a token", async |_: usize| {
        let token = signed(&claims_of("carol", BRIEF), DEVELOPMENT_SECRET);
        // On a slow machine, the token may end before the handshake.
        let mut socket = stack.connect(&token, "?channels=lobby").await.ok()?;
        let frames = until_closed(&mut socket).await;
        let heard = frames.into_iter().find(|frame| frame["type"] == "closing")?;
        assert_eq!(heard, closing("token_expired"));
        Some(())
    })
    .await;
}
