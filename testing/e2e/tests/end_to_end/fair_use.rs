//! Rate limits.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::stack::{Stack, token_of};

fn parameters(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_often_is_told_when_to_go_on() {
    let stack = Stack::with(&parameters(&[("SendRate", "1"), ("SendBurst", "3")]));
    for _ in 0..3 {
        stack.send("alice", "lobby", "x").await;
    }
    let refused = stack.post("alice", "lobby", "x", None).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    // All changes count, and each user has a bucket.
    let edit = stack.ask("alice", Method::PATCH, "/channels/lobby/messages/1", json!({ "content": "y" })).await;
    assert_eq!(edit.0, 429);
    stack.send("bob", "lobby", "x").await;
    assert_eq!(stack.ask("alice", Method::GET, "/channels/lobby/messages", Value::Null).await.0, 200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    stack.send("alice", "lobby", "after as long as it said").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_bounded_in_number_and_in_rate() {
    let stack = Stack::with(&parameters(&[("ConnectionsPerUser", "2"), ("ConnectRate", "1"), ("ConnectBurst", "5")]));
    let connect = async |user: &str| stack.connect(&token_of(user), "?channels=lobby").await;
    let (first, _second) = (connect("alice").await.unwrap(), connect("alice").await.unwrap());
    assert_eq!(connect("alice").await.err(), Some(StatusCode::TOO_MANY_REQUESTS), "a third");
    let _bob = connect("bob").await.unwrap();
    drop(first);
    let mut again = connect("alice").await;
    while again.is_err() {
        // Continued attempts wait for the bucket as well.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        again = connect("alice").await;
    }
    let mut refusals = 0;
    for _ in 0..7 {
        let (status, _) = stack.ask("carol", Method::POST, "/connections/tickets", Value::Null).await;
        refusals += usize::from(status == 429);
    }
    assert!(refusals >= 1, "the burst is 5");
}
