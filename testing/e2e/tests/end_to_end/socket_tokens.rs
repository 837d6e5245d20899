//! Tokens of sockets: tickets, expiry and renewal.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use local::token::DEVELOPMENT_SECRET;
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::stack::{Stack, answered, claims_of, signed, token_of, until};

/// Returns the lifetime, in seconds, of a token that must last for the same steps as a rehearsal with another token.
/// The rehearsal includes the starts of the functions, so it is longer. A busy machine may pause for seconds.
pub(crate) fn lifetime(rehearsal: Duration) -> i64 {
    10 + 3 * i64::try_from(rehearsal.as_secs()).unwrap()
}

async fn ticket(stack: &Stack, user: &str, body: Value) -> String {
    let (status, issued) = stack.ask(user, Method::POST, "/connections/tickets", body).await;
    assert_eq!(status, 201, "{issued}");
    issued["ticket"].as_str().unwrap().to_owned()
}

async fn redeem(stack: &Stack, query: &str) -> Result<crate::stack::Socket, StatusCode> {
    let url = format!("{}/{query}", stack.address("websocket"));
    stack.handshake(&url, &[]).await.map(|(socket, _)| socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_socket_on_its_channels() {
    let stack = Stack::in_memory();
    for channel in ["one", "two"] {
        stack.create_channel("alice", channel, "private", "off").await;
    }
    let (status, _) = stack.ask("mallory", Method::POST, "/connections/tickets", json!({ "channels": ["one"] })).await;
    assert_eq!(status, 404, "a channel that is private to others");
    let text = ticket(&stack, "alice", json!({ "channels": ["one"] })).await;
    let beside = redeem(&stack, &format!("?ticket={text}&channels=two")).await.err();
    assert_eq!(beside, Some(StatusCode::BAD_REQUEST), "the ticket names the channels");
    let mut socket = redeem(&stack, &format!("?ticket={text}")).await.unwrap();
    assert_eq!(redeem(&stack, &format!("?ticket={text}")).await.err(), Some(StatusCode::UNAUTHORIZED), "once");
    stack.send("alice", "two", "elsewhere").await;
    stack.send("alice", "one", "here").await;
    assert_eq!(socket.messages(1).await[0]["content"], "here");
    for made_up in ["", "x", &"A".repeat(43)] {
        assert_eq!(redeem(&stack, &format!("?ticket={made_up}")).await.err(), Some(StatusCode::UNAUTHORIZED));
    }

    // Without channels, the socket follows the memberships.
    let text = ticket(&stack, "bob", Value::Null).await;
    let mut socket = redeem(&stack, &format!("?ticket={text}")).await.unwrap();
    stack.ask("alice", Method::PUT, "/channels/two/members/bob", Value::Null).await;
    stack.send("alice", "two", "welcome").await;
    assert_eq!(socket.messages(1).await[0]["content"], "welcome");

    // Of many concurrent uses of one ticket, one succeeds.
    let text = ticket(&stack, "alice", json!({ "channels": ["one"] })).await;
    let query = format!("?ticket={text}");
    let tries = futures::future::join_all((0..8).map(|_| redeem(&stack, &query))).await;
    assert_eq!(tries.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let many = vec!["one"; 101];
    for wrong in [
        json!([]),
        json!({ "channels": "one" }),
        json!({ "channels": ["a b"] }),
        json!({ "channels": many }),
        json!({ "x": 1 }),
    ] {
        let (status, _) = stack.ask("alice", Method::POST, "/connections/tickets", wrong).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token() {
    let stack = Stack::in_memory();
    stack.create_channel("bob", "room", "public", "off").await;
    let heard_in_time = async |token: &str| {
        let mut socket = stack.connect(token, "?channels=room").await.unwrap();
        let sent = stack.send("bob", "room", "in time").await;
        assert_eq!(socket.messages(1).await, [sent]);
        socket
    };
    let began = Instant::now();
    drop(heard_in_time(&token_of("alice")).await);
    let token = signed(&claims_of("alice", lifetime(began.elapsed())), DEVELOPMENT_SECRET);
    let mut socket = heard_in_time(&token).await;
    let id = socket.id().await;
    // Not the rehearsal's connection: the entry of its end stays until the end of its token.
    let rows = async || {
        let scan = stack.dynamodb().await.scan().table_name("chat_connections").send().await.unwrap();
        let names = |item: &HashMap<String, AttributeValue>| {
            ["pk", "sk"].iter().any(|key| item[*key].as_s().unwrap().contains(&id))
        };
        scan.items().iter().filter(|item| names(item)).count()
    };
    assert!(rows().await > 1);
    assert!(socket.hear_but_presence().await.is_err(), "closed, without another frame");
    until("all items of the connection are removed", async || rows().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_keeps_a_socket_open() {
    let stack = Stack::in_memory();
    stack.create_channel("bob", "room", "public", "off").await;
    let renewed = async |seconds: i64| {
        let token = signed(&claims_of("alice", seconds), DEVELOPMENT_SECRET);
        let mut socket = stack.connect(&token, "?channels=room").await.unwrap();
        let path = format!("/connections/{}/token", socket.id().await.replace('=', "%3D"));
        assert_eq!(stack.ask("bob", Method::POST, &path, Value::Null).await.0, 404, "not bob's");
        assert_eq!(stack.ask("alice", Method::POST, "/connections/unknown%3D/token", Value::Null).await.0, 404);
        assert_eq!(stack.ask("alice", Method::POST, &path, json!({ "token": "x" })).await.0, 400);
        let (status, renewed) = stack.ask("alice", Method::POST, &path, Value::Null).await;
        assert_eq!(status, 200);
        assert!(renewed["expires_at"].is_string(), "{renewed}");
        (socket, path)
    };
    let began = Instant::now();
    drop(renewed(600).await);
    let seconds = lifetime(began.elapsed());
    let (mut socket, path) = renewed(seconds).await;
    // After the end of the first token, and after a run of the maintenance function.
    tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs() + 1)).await;
    assert!(stack.maintain().await.is_success());
    stack.send("bob", "room", "still here").await;
    assert_eq!(socket.messages(1).await[0]["content"], "still here");

    // A narrower token ends the subscriptions that it does not allow.
    let mut claims = claims_of("alice", 600);
    claims["channels"] = json!(["other"]);
    let narrow = signed(&claims, DEVELOPMENT_SECRET);
    assert_eq!(answered(stack.bearing(&narrow, Method::POST, &path)).await.0, 200);
    stack.send("bob", "room", "not for alice").await;
    socket.say(r#"{"action":"ping"}"#).await;
    assert_eq!(socket.hear_but_presence().await.unwrap()["type"], "pong", "and no message before it");
}
