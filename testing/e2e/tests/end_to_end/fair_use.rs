//! Rate limits.

use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::stack::{PATIENCE, Stack, token_of};

/// Number of requests that are sent at once. A slow machine answers them faster than a bucket refills, too.
const AT_ONCE: usize = 60;

fn parameters(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_often_is_told_when_to_go_on() {
    let stack = Stack::with(&parameters(&[("SendRate", "1"), ("SendBurst", "3")]));
    stack.create_channel("alice", "room", "public", "off").await;
    let began = Instant::now();
    let first = stack.post("alice", "room", "x", None).await.unwrap();
    assert_eq!(first.status(), StatusCode::CREATED);
    assert_eq!(first.headers()["ratelimit-policy"], r#""send";q=3;w=3"#);
    // The bucket refills within a second, which a slow machine may take to respond.
    let limit = first.headers()["ratelimit"].to_str().unwrap();
    assert!([r#""send";r=2;t=1"#, r#""send";r=3;t=1"#].contains(&limit), "{limit}");
    let sends = join_all((0..AT_ONCE).map(|_| stack.post("alice", "room", "x", None)));
    // No edit changes the message, so that they do not meet.
    let edit = || stack.ask("alice", Method::PATCH, "/channels/room/messages/1", json!({ "content": "x" }));
    let (sends, edits) = join(sends, join_all((0..AT_ONCE).map(|_| edit()))).await;
    let (mut taken, mut refused) = (1, 0);
    for answer in sends.into_iter().map(Result::unwrap) {
        if answer.status() == StatusCode::CREATED {
            taken += 1;
            continue;
        }
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.headers()["ratelimit-policy"], r#""send";q=3;w=3"#);
        assert_eq!(answer.headers()["ratelimit"], r#""send";r=0;t=1"#);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        refused += 1;
    }
    assert!(refused >= 1, "the burst is 3");
    // All changes count.
    assert!(edits.iter().all(|(status, _)| [200, 429].contains(status)), "{edits:?}");
    taken += edits.iter().filter(|(status, _)| *status == 200).count() as u64;
    let most = 3 + began.elapsed().as_secs();
    assert!((3..=most).contains(&taken), "{taken} of at most {most}");
    // Each user has a bucket.
    stack.send("bob", "room", "x").await;
    assert_eq!(stack.ask("alice", Method::GET, "/channels/room/messages", Value::Null).await.0, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stack.send("alice", "room", "after as long as it said").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_bounded_in_number_and_in_rate() {
    let stack = Stack::with(&parameters(&[("ConnectionsPerUser", "2"), ("ConnectRate", "1"), ("ConnectBurst", "5")]));
    let connect = async |user: &str| stack.connect(&token_of(user), "?channels=lobby").await;
    let (first, _second) = (connect("alice").await.unwrap(), connect("alice").await.unwrap());
    assert_eq!(connect("alice").await.err(), Some(StatusCode::TOO_MANY_REQUESTS), "a third");
    let _bob = connect("bob").await.unwrap();
    drop(first);
    let again = async {
        while connect("alice").await.is_err() {
            // Continued attempts wait for the bucket as well.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the closed socket leaves its place");
    let began = Instant::now();
    let ticket = || stack.ask("carol", Method::POST, "/connections/tickets", Value::Null);
    let answers = join_all((0..AT_ONCE).map(|_| ticket())).await;
    let issued = answers.iter().filter(|(status, _)| *status == 201).count() as u64;
    let refused = answers.iter().filter(|(status, _)| *status == 429).count() as u64;
    assert_eq!(issued + refused, AT_ONCE as u64, "{answers:?}");
    let most = 5 + began.elapsed().as_secs();
    assert!(refused >= 1 && (5..=most).contains(&issued), "{issued} of at most {most}");
}
