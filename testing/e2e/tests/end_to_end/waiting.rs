//! Requests that wait for messages or changes, for clients without a socket.

use futures::future::{Either, join, join_all, select};
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::{
    changes::changes,
    stack::{Stack, until},
};

/// Number of requests that are sent at once. A slow machine answers them faster than a bucket refills, too.
const AT_ONCE: usize = 40;

/// Beginning of the name of the function's processes, which the system cuts.
const FUNCTION: &str = "get-channel-me";

/// Members of the channels besides alice.
const USERS: [&str; 4] = ["bob", "carol", "dave", "erin"];

/// Starts a stack whose requests may wait for this number of seconds, with the channels `room` and `quiet`.
async fn waiting(seconds: u64) -> Stack {
    let stack = Stack::with(&[("MaxWaitSeconds", seconds.to_string())]);
    for channel in ["room", "quiet"] {
        stack.create_channel("alice", channel, "private", "off").await;
        for user in USERS {
            let path = format!("/channels/{channel}/members/{user}");
            assert_eq!(stack.ask("alice", Method::PUT, &path, Value::Null).await.0, 201);
        }
        stack.send("alice", channel, "one").await;
    }
    stack
}

/// Sends a request of bob.
async fn get(stack: &Stack, path: &str) -> (u16, Value) {
    stack.ask("bob", Method::GET, path, Value::Null).await
}

/// Requests `query` from two channels, and lets something happen in one of them. Requires that its response comes first.
/// Each waiting request takes a token of its user.
async fn answered_first(stack: &Stack, user: &str, query: &str, happening: impl AsyncFn() -> u16) -> Value {
    let before = stack.environments(FUNCTION);
    let happened = async {
        until("both requests wait", async || stack.environments(FUNCTION) >= before.max(2)).await;
        happening().await
    };
    let (room, quiet) = (format!("/channels/room/{query}"), format!("/channels/quiet/{query}"));
    let in_room = join(stack.ask(user, Method::GET, &room, Value::Null), happened);
    let in_quiet = stack.ask(user, Method::GET, &quiet, Value::Null);
    let first = select(Box::pin(in_room), Box::pin(in_quiet)).await;
    let Either::Left((((status, page), happened), _)) = first else { panic!("the quiet channel answers first") };
    assert!(status == 200 && happened < 300, "{query}: {happened}, {status} {page}");
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_as_soon_as_there_is_something() {
    let stack = waiting(20).await;
    let page = answered_first(&stack, "bob", "messages?after=1&wait=20", async || {
        stack.post("alice", "room", "two", None).await.unwrap().status().as_u16()
    })
    .await;
    assert_eq!((&page["messages"][0]["content"], &page["rev"]), (&json!("two"), &json!(0)));
    let page = answered_first(&stack, "carol", "changes?after=0&wait=20", async || {
        let edit = json!({ "content": "first" });
        stack.ask("alice", Method::PATCH, "/channels/room/messages/1", edit).await.0
    })
    .await;
    assert_eq!((&page["changes"][0]["rev"], &page["rev"]), (&json!(1), &json!(1)));
    assert_eq!(page["changes"][0]["message"]["content"], "first");
    // What is there already is no reason to wait.
    for (user, path) in [("dave", "messages?after=1&wait=20"), ("erin", "changes?after=0&wait=20")] {
        let page = answered_first(&stack, user, path, async || 200).await;
        assert_eq!(page.get("messages").unwrap_or(&page["changes"]).as_array().map(Vec::len), Some(1), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_waited_for_its_time_is_answered_with_nothing() {
    let stack = waiting(10).await;
    let (messages, changed) = join(
        get(&stack, "/channels/room/messages?after=1&wait=1"),
        get(&stack, "/channels/room/changes?after=0&wait=1"),
    )
    .await;
    assert_eq!(messages, (200, json!({ "messages": [], "has_more": false, "rev": 0 })));
    assert_eq!(changed, (200, json!({ "changes": [], "has_more": false, "rev": 0 })));
    assert_eq!(get(&stack, "/channels/room/changes?after=0&wait=0").await, changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_refused_if_it_is_off_or_too_long() {
    let off = Stack::in_memory();
    off.create_channel("alice", "room", "public", "off").await;
    let on = waiting(10).await;
    for (stack, query, code, message) in [
        (&off, "after=0&wait=1", "out_of_range", "waiting is off"),
        (&off, "after=0&wait=20", "out_of_range", "waiting is off"),
        (&on, "after=0&wait=11", "out_of_range", "at most 10"),
        (&on, "after=0&wait=21", "out_of_range", "from 0 to 20"),
        (&on, "after=0&wait=-1", "malformed", ""),
        (&on, "after=0&wait=1.5", "malformed", ""),
        (&on, "after=0&wait=01", "malformed", ""),
        (&on, "after=0&wait=", "malformed", ""),
        (&on, "after=0&wait=1&wait=1", "malformed", ""),
    ] {
        for resource in ["messages", "changes"] {
            let (status, problem) = get(stack, &format!("/channels/room/{resource}?{query}")).await;
            let error = &problem["errors"][0];
            let told = (status, &error["field"], &error["code"]);
            assert_eq!(told, (400, &json!("wait"), &json!(code)), "{resource}?{query}: {problem}");
            assert!(error["message"].as_str().unwrap().contains(message), "{resource}?{query}: {problem}");
        }
    }
    let (status, problem) = get(&on, "/channels/room/messages?wait=5").await;
    let error = &problem["errors"][0];
    assert_eq!((status, &error["field"], &error["code"]), (400, &json!("wait"), &json!("requires_after")), "{problem}");
    for resource in ["messages", "changes"] {
        assert_eq!(get(&off, &format!("/channels/room/{resource}?after=0&wait=0")).await.0, 200, "{resource}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_often_is_told_when_to_go_on() {
    let stack = waiting(10).await;
    // There is a message already, so that no request waits; each takes a token all the same.
    let path = "/channels/room/messages?after=0&wait=1";
    let requests = (0..AT_ONCE).map(|_| stack.request("bob", Method::GET, path).send());
    let responses = join_all(requests).await;
    let (mut accepted, mut refused) = (0, 0);
    for response in responses.into_iter().map(Result::unwrap) {
        if response.status() == StatusCode::OK {
            accepted += 1;
            continue;
        }
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=2).contains(&seconds), "{seconds}");
        assert_eq!(response.headers()["ratelimit-policy"], r#""wait";q=5;w=10"#);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "rate_limited");
        refused += 1;
    }
    assert!(accepted >= 5 && refused >= 1, "{accepted} accepted, {refused} refused");
    // Requests without `wait` take no token, and each user has a bucket.
    assert_eq!(get(&stack, "/channels/room/messages?after=0").await.0, 200);
    assert_eq!(get(&stack, "/channels/room/messages?after=0&wait=0").await.0, 200);
    assert_eq!(stack.ask("alice", Method::GET, path, Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_removed_waits_no_longer_and_reads_nothing() {
    let stack = waiting(20).await;
    let remove = async {
        until("both requests wait", async || stack.environments(FUNCTION) >= 2).await;
        let status = stack.ask("alice", Method::DELETE, "/channels/room/members/bob", Value::Null).await.0;
        assert_eq!(status, 204);
        stack.send("alice", "room", "among us").await;
    };
    let ((messages, changed), ()) = join(
        join(get(&stack, "/channels/room/messages?after=1&wait=20"), changes(&stack, "bob", "room", "after=0&wait=20")),
        remove,
    )
    .await;
    for (status, problem) in [messages, changed] {
        assert_eq!((status, &problem["code"]), (404, &json!("channel_not_found")), "{problem}");
    }
}
