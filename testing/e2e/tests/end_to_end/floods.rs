//! Floods: of frames, of channels, and of expensive requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use chat::model::limits::FRAME_BUCKET;
use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::stack::{Socket, Stack, token_of};

/// Number of frames of one flood.
const FRAMES: usize = 2_000;

/// Returns the contents of `count` different messages of users. The agent replies in the same channel.
async fn of_users(socket: &mut Socket, count: usize) -> BTreeSet<String> {
    let mut contents = BTreeSet::new();
    while contents.len() < count {
        let message = socket.messages(1).await.remove(0);
        if message["role"] == "user" {
            contents.insert(message["content"].as_str().unwrap().to_owned());
        }
    }
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_is_not_answered_ends_its_socket_and_leaves_fan_out_alone() {
    let stack = Stack::with(&[("FanoutThreshold", "1".to_owned())]);
    let (mut alice, mut bob) = (stack.socket("alice", "lobby").await, stack.socket("bob", "lobby").await);
    let mallory = stack.socket("mallory", "lobby").await;
    let flood = mallory.flood(r#"{"action":"ping"}"#, FRAMES);
    let chat = async {
        for number in 0..20 {
            stack.send("alice", "lobby", &format!("message {number}")).await;
        }
        (of_users(&mut alice, 20).await, of_users(&mut bob, 20).await)
    };
    let began = Instant::now();
    let (answers, (heard, also)) = futures::future::join(flood, chat).await;
    let sent: BTreeSet<String> = (0..20).map(|number| format!("message {number}")).collect();
    assert_eq!((&heard, &also), (&sent, &sent));
    // Each environment has a bucket, which is refilled meanwhile. A slow machine needs more environments.
    let refilled = began.elapsed().as_millis() / FRAME_BUCKET.every.as_millis() + 1;
    let most = stack.environments("answer-frame") * (FRAME_BUCKET.burst as usize + usize::try_from(refilled).unwrap());
    assert!(answers <= most, "{answers} of {FRAMES} frames were answered, at most {most} may be");
    assert!(most < FRAMES, "the flood took so long that {most} answers would be right");
    alice.say(r#"{"action":"ping"}"#).await;
    // A requeued frame may arrive twice.
    while alice.hear().await.expect("another socket is open")["type"] != "pong" {}
    assert!(stack.environments("answer-frame") >= 1 && stack.environments("send-message") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sockets_together_share_the_throttle_of_their_route() {
    let stack = Stack::with(&[("FrameRate", "1".to_owned()), ("FrameBurst", "5".to_owned())]);
    let mut refused = 0;
    for user in 0..10 {
        let mut socket = stack.socket(&format!("user-{user}"), "lobby").await;
        for _ in 0..10 {
            socket.say("ping").await;
            let answer = socket.hear_but_presence().await.unwrap();
            refused += usize::from(answer["message"] == "Too Many Requests");
        }
    }
    assert!(refused >= 50, "{refused} of 100 frames were refused");
}

/// Number of unwanted memberships; a socket has at most 100 subscriptions.
const UNWANTED: usize = 150;

/// Creates mallory's channels, and adds the victim to each.
async fn crowd(stack: &Stack, victim: &str, count: usize) {
    let one = async |number: usize| {
        let channel = format!("a-{number:03}");
        stack.create_channel("mallory", &channel, "private", "off").await;
        let path = format!("/channels/{channel}/members/{victim}");
        assert_eq!(stack.ask("mallory", Method::PUT, &path, Value::Null).await.0, 201);
    };
    futures::stream::iter(0..count).for_each_concurrent(4, one).await;
}

/// Reads frames until a message of `channel` and a number of omitted channels have arrived, in any order.
async fn heard(socket: &mut Socket, channel: &str, left_out: usize) -> Vec<String> {
    let (mut messages, mut is_told) = (Vec::new(), false);
    while messages.is_empty() || !is_told {
        let frame = socket.hear().await.expect("an open socket");
        if frame["type"] == "channels.left_out" {
            assert!(frame["count"].as_u64().is_some_and(|count| count >= 1), "{frame}");
            is_told |= frame["count"] == left_out;
        }
        if frame["type"] == "events" && frame["channel_id"] == channel {
            let events = frame["events"].as_array().unwrap();
            messages.extend(events.iter().map(|event| event["message"]["content"].as_str().unwrap().to_owned()));
        }
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn unwanted_memberships_keep_no_socket_from_its_users_own_channels() {
    let stack = Stack::in_memory();
    stack.create_channel("victim", "own", "private", "off").await;
    crowd(&stack, "victim", UNWANTED).await;
    let mut socket = stack.connect(&token_of("victim"), "").await.unwrap();
    stack.send("victim", "own", "mine").await;
    assert_eq!(socket.messages(1).await[0]["content"], "mine");
    // The omission is reported, and the list contains all channels.
    assert_eq!(socket.hello().await["channels_left_out"], UNWANTED + 1 - 100);
    let (mut listed, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = stack.ask("victim", Method::GET, &format!("/channels?limit=100{cursor}"), Value::Null).await.1;
        let ids = page["channels"].as_array().unwrap().iter().map(|one| one["channel_id"].as_str().unwrap().to_owned());
        listed.extend(ids);
        if page["has_more"] == false {
            break;
        }
        cursor = format!("&cursor={}", page["next"]["cursor"].as_str().unwrap());
    }
    assert_eq!(listed.len(), UNWANTED + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_socket_that_others_have_filled_gets_what_its_user_creates_and_joins() {
    let stack = Stack::in_memory();
    crowd(&stack, "victim", UNWANTED).await;
    let mut socket = stack.connect(&token_of("victim"), "").await.unwrap();
    stack.create_channel("victim", "own", "private", "off").await;
    stack.send("victim", "own", "mine").await;
    assert_eq!(heard(&mut socket, "own", UNWANTED + 1 - 100).await, ["mine"]);
    stack.create_channel("alice", "open", "public", "off").await;
    let path = "/channels/open/members/victim";
    assert_eq!(stack.ask("victim", Method::PUT, path, Value::Null).await.0, 201);
    stack.send("alice", "open", "theirs").await;
    assert_eq!(heard(&mut socket, "open", UNWANTED + 2 - 100).await, ["theirs"]);
}

/// Counts the statuses of responses. Checks that each rejection contains the time to wait.
fn count(answers: &[Response]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status().as_u16()).or_default() += 1;
        if answer.status() == 429 {
            let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            let limit = answer.headers()["ratelimit"].to_str().unwrap();
            assert!(limit.ends_with(&format!(";r=0;t={seconds}")), "{limit}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }
    counts
}

async fn tries(stack: &Stack, user: &str, method: &Method, paths: &[String], body: &Value) -> BTreeMap<u16, usize> {
    let mut answers = Vec::new();
    for path in paths {
        let mut request = stack.request(user, method.clone(), path);
        if !body.is_null() {
            request = request.json(body);
        }
        answers.push(request.send().await.unwrap());
    }
    count(&answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_not_created_without_limit_nor_names_asked_after() {
    let stack = Stack::with(&[("ChannelsPerMinute", "5".to_owned())]);
    let mut answers = Vec::new();
    for number in 0..150 {
        // Every second request checks whether an id is taken.
        let id = if number % 2 == 0 { format!("unwanted-{number}") } else { "lobby".to_owned() };
        let body = json!({ "channel_id": id, "name": id, "visibility": "public" });
        answers.push(stack.request("mallory", Method::POST, "/channels").json(&body).send().await.unwrap());
    }
    let counts = count(&answers);
    let told = counts[&201] + counts[&409];
    // Five, and one more every 12 seconds.
    assert!((5..=20).contains(&told), "{counts:?}");
    assert_eq!(told + counts[&429], 150, "{counts:?}");
    stack.create_channel("alice", "wanted", "private", "off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_limited_number_of_channels_however_many_are_asked_for_at_once() {
    const MOST: usize = 5;
    let stack = Stack::with(&[("ChannelsPerUser", MOST.to_string())]);
    let create = async |number: usize| {
        let body = json!({ "channel_id": format!("c-{number}"), "name": "c", "visibility": "public" });
        stack.ask("mallory", Method::POST, "/channels", body).await
    };
    let answers = futures::future::join_all((0..60).map(create)).await;
    let made = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(made, MOST, "{answers:?}");
    for (status, problem) in answers.iter().filter(|(status, _)| *status != 201) {
        assert_eq!((*status, &problem["code"]), (409, &json!("too_many_channels")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&MOST.to_string()), "{problem}");
    }
    let listed = stack.ask("mallory", Method::GET, "/channels", Value::Null).await.1;
    assert_eq!(listed["channels"].as_array().unwrap().len(), MOST);
    // A transferred channel still counts; a deleted one does not.
    let id = listed["channels"][0]["channel_id"].as_str().unwrap().to_owned();
    let path = format!("/channels/{id}/members/friend");
    assert_eq!(stack.ask("mallory", Method::PUT, &path, json!({ "role": "owner" })).await.0, 201);
    assert_eq!(
        stack.ask("mallory", Method::DELETE, &format!("/channels/{id}/members/mallory"), Value::Null).await.0,
        204
    );
    assert_eq!(create(100).await.0, 409);
    assert_eq!(stack.ask("friend", Method::DELETE, &format!("/channels/{id}"), Value::Null).await.0, 204);
    assert_eq!(create(101).await.0, 201);
    assert_eq!(create(102).await.0, 409);
    stack.create_channel("alice", "of-alice", "public", "off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_not_added_without_limit() {
    let stack = Stack::with(&[("MembersPerMinute", "5".to_owned())]);
    stack.create_channel("mallory", "club", "private", "off").await;
    let paths: Vec<String> = (0..150).map(|number| format!("/channels/club/members/victim-{number}")).collect();
    let counts = tries(&stack, "mallory", &Method::PUT, &paths, &Value::Null).await;
    assert!((5..=20).contains(&counts[&201]), "{counts:?}");
    assert_eq!(counts[&201] + counts[&429], 150, "{counts:?}");
    let path = "/channels/lobby/members/alice";
    assert_eq!(stack.ask("alice", Method::PUT, path, Value::Null).await.0, 201, "each user has a bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_more_than_it_looks_has_a_bucket_for_each_kind() {
    const TRIES: usize = 40;
    let stack = Stack::with(&[
        ("ActionRate", "1".to_owned()),
        ("ActionBurst", "5".to_owned()),
        ("PresencePerMinute", "5".to_owned()),
    ]);
    let mut socket = stack.connect(&token_of("mallory"), "?channels=lobby").await.unwrap();
    let id = socket.id().await.replace('=', "%3D");
    for number in 0..TRIES {
        stack.create_channel("mallory", &format!("room-{number}"), "private", "off").await;
    }
    let same = |path: &str| vec![path.to_owned(); TRIES];
    // A different channel each time, because the bucket of each channel is full.
    let typing: Vec<String> = (0..TRIES).map(|number| format!("/channels/room-{number}/typing")).collect();
    let kinds = [
        (Method::GET, same("/channels/lobby/presence"), Value::Null),
        (Method::GET, same("/channels"), Value::Null),
        (Method::PUT, same("/channels/room-0/read"), json!({ "seq": 0 })),
        (Method::POST, same(&format!("/connections/{id}/token")), Value::Null),
        (Method::POST, typing, Value::Null),
        // These requests store nothing and take no token of the other kinds.
        (Method::POST, same("/channels/nowhere/messages"), json!({ "content": "hi" })),
        (Method::PATCH, same("/channels/room-0"), json!({ "visibility": "private" })),
    ];
    for (method, paths, body) in kinds {
        let counts = tries(&stack, "mallory", &method, &paths, &body).await;
        let refused = counts.get(&429).copied().unwrap_or_default();
        assert!(TRIES - refused >= 5, "{method} {}: {counts:?}", paths[0]);
        assert!(refused >= TRIES / 2, "{method} {}: {counts:?}", paths[0]);
    }
    // Deletions and removals share the bucket of changes.
    let end = async |path: &str| stack.ask("mallory", Method::DELETE, path, Value::Null).await.0;
    let ends = [end("/channels/room-0/members/nobody").await, end("/channels/room-0").await];
    assert!(ends.contains(&429), "{ends:?}");
    stack.send("alice", "lobby", "others go on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_are_answered_up_to_a_bucket_of_their_own() {
    const TRIES: usize = 60;
    let stack = Stack::with(&[("ActionRate", "1".to_owned()), ("ActionBurst", "5".to_owned())]);
    let mut answers = Vec::new();
    for _ in 0..TRIES {
        answers.push(stack.post("mallory", "lobby", "again", Some("key-1")).await.unwrap());
    }
    let counts = count(&answers);
    assert_eq!(counts[&201], 1, "{counts:?}");
    assert!(counts[&200] >= 5, "a lost response is repeated: {counts:?}");
    assert!(counts[&429] >= TRIES / 2, "{counts:?}");
    let stored = stack.history("alice", "lobby").await;
    assert_eq!(stored.iter().filter(|message| message["sender_id"] == "mallory").count(), 1);
    assert_eq!(stack.post("alice", "lobby", "hi", Some("key-1")).await.unwrap().status(), 201);
}
