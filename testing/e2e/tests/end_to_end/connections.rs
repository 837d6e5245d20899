//! Sockets: their handshakes, their frames and their ends.

use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_client::StatusCode;

use crate::stack::{Socket, Stack, token_of, until};

async fn rows_of(stack: &Stack, user: &str) -> usize {
    let found = stack.dynamodb().await.scan().table_name("chat_connections").send().await.unwrap();
    let (of_user, list) = (AttributeValue::S(user.to_owned()), AttributeValue::S(format!("user#{user}")));
    found.items().iter().filter(|item| item.get("user_id") == Some(&of_user) || item.get("pk") == Some(&list)).count()
}

/// Returns the key of a channel, under which its subscriptions are stored.
pub(crate) async fn key_of(stack: &Stack, channel: &str) -> String {
    let get = stack.dynamodb().await.get_item().table_name("chat_channels");
    let get =
        get.key("channel_id", AttributeValue::S(channel.to_owned())).key("sk", AttributeValue::S("meta".to_owned()));
    let found = get.consistent_read(true).send().await.unwrap().item.unwrap();
    format!("{channel}@{}", found["incarnation"].as_s().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_socket_in_each_of_the_three_ways() {
    let stack = Stack::with(&[("TokenInUrl", "true".to_owned())]);
    let base = format!("{}/?channels=lobby", stack.address("websocket"));
    let token = token_of("alice");
    let (header, pair, query) =
        (format!("Bearer {token}"), format!("bearer, {token}"), format!("{base}&token={token}"));
    let by_header = stack.handshake(&base, &[("authorization", &header)]).await.unwrap();
    let by_subprotocol = stack.handshake(&base, &[("sec-websocket-protocol", &pair)]).await.unwrap();
    let by_query = stack.handshake(&query, &[]).await.unwrap();
    assert_eq!((by_header.1, by_query.1), (None, None));
    assert_eq!(by_subprotocol.1.as_deref(), Some("bearer"));
    stack.send("bob", "lobby", "hello").await;
    for mut socket in [by_header.0, by_subprotocol.0, by_query.0] {
        assert_eq!(socket.messages(1).await[0]["content"], "hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_url_opens_no_socket_unless_the_deployment_allows_it() {
    let stack = Stack::in_memory();
    let url = format!("{}/?channels=lobby&token={}", stack.address("websocket"), token_of("alice"));
    assert_eq!(stack.handshake(&url, &[]).await.err(), Some(StatusCode::UNAUTHORIZED));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_right_there_is_no_socket_and_no_trace_of_one() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "secret", "private", "off").await;
    let (secret, ttl) = (local::secret::Secret::development(), jiff::SignedDuration::from_secs(-1));
    let expired = local::token::for_command_line(&secret, "mallory", ttl, jiff::Timestamp::now());
    let (expired, valid) = (format!("Bearer {}", expired.unwrap()), format!("Bearer {}", token_of("mallory")));
    let cases = [
        ("lobby", None, StatusCode::UNAUTHORIZED),
        ("lobby", Some("Bearer a.b.c"), StatusCode::UNAUTHORIZED),
        ("lobby", Some(expired.as_str()), StatusCode::UNAUTHORIZED),
        ("secret", Some(valid.as_str()), StatusCode::FORBIDDEN),
        ("nowhere", Some(valid.as_str()), StatusCode::FORBIDDEN),
        ("lobby,secret", Some(valid.as_str()), StatusCode::FORBIDDEN),
        ("no%20id", Some(valid.as_str()), StatusCode::BAD_REQUEST),
    ];
    for (channels, authorization, expected) in cases {
        let url = format!("{}/?channels={channels}", stack.address("websocket"));
        let headers: Vec<_> = authorization.into_iter().map(|value| ("authorization", value)).collect();
        let refused = stack.handshake(&url, &headers).await.err();
        assert_eq!(refused, Some(expected), "{channels} {authorization:?}");
    }
    assert_eq!(rows_of(&stack, "mallory").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_only_receives() {
    let stack = Stack::in_memory();
    let mut socket = stack.socket("alice", "lobby").await;
    for frame in ["hello", "[]", r#"{"action":"sendmessage","content":"hi"}"#, r#"{"action":"$connect"}"#, ""] {
        socket.say(frame).await;
        let answer = socket.hear_but_presence().await.unwrap();
        assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &"receive_only".into()), "{frame}");
    }
    assert!(!socket.id().await.is_empty());
    assert!(stack.history("alice", "lobby").await.is_empty());

    socket.say("x".repeat(128 * 1024 + 1)).await;
    assert_eq!(socket.hear_but_presence().await.unwrap_err().code, Some(1009));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_channels_a_socket_has_all_of_its_user() {
    let stack = Stack::in_memory();
    for channel in ["one", "two"] {
        stack.create_channel("alice", channel, "private", "off").await;
    }
    let authorization = format!("Bearer {}", token_of("alice"));
    let (mut socket, _) =
        stack.handshake(stack.address("websocket"), &[("authorization", &authorization)]).await.unwrap();
    for channel in ["one", "two"] {
        stack.send("alice", channel, "hello").await;
        assert_eq!(socket.messages(1).await[0]["channel_id"], channel);
    }
}

async fn connected(stack: &Stack, user: &str) -> Socket {
    let socket = stack.socket(user, "lobby").await;
    assert_eq!(rows_of(stack, user).await, 3, "the connection, also among its user's, and its subscription");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_socket_that_closed_or_vanished() {
    let stack = Stack::in_memory();
    connected(&stack, "alice").await.vanish();
    until("the vanished socket's rows are gone", async || rows_of(&stack, "alice").await == 0).await;

    let mut bob = connected(&stack, "bob").await;
    let (id, management) = (bob.id().await, stack.management().await);
    management.delete_connection().connection_id(&id).send().await.unwrap();
    assert_eq!(bob.hear_but_presence().await.unwrap_err().code, Some(1000));
    let gone = management.post_to_connection().connection_id(&id).data(b"x".to_vec().into()).send().await.unwrap_err();
    assert!(gone.into_service_error().is_gone_exception());
    until("the deleted socket's rows are gone", async || rows_of(&stack, "bob").await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_disconnect_never_came_is_removed_by_the_next_delivery() {
    // By the delivery worker itself, and by the function to which it dispatches many sockets.
    for threshold in ["200", "1"] {
        ghosts_are_removed(&Stack::with(&[("FanoutThreshold", threshold.to_owned())])).await;
    }
}

async fn ghosts_are_removed(stack: &Stack) {
    let (dynamodb, text) = (stack.dynamodb().await, |text: &str| AttributeValue::S(text.to_owned()));
    let key = key_of(stack, "lobby").await;
    let audience = format!("chan#{key}");
    let ghost = [("user#ghost", "conn#ghost="), ("conn#ghost=", "meta"), (&audience, "conn#ghost=")];
    // The only remaining item of another connection.
    let subscription = (audience.as_str(), "conn#gone=");
    for (pk, sk) in ghost.into_iter().chain([subscription]) {
        dynamodb
            .put_item()
            .table_name("chat_connections")
            .item("pk", text(pk))
            .item("sk", text(sk))
            .item("user_id", text("ghost"))
            .item("follows", AttributeValue::Bool(false))
            .item("channels", AttributeValue::Ss(vec![key.clone()]))
            .item("connected_at", text("2026-11-24T00:00:00.000Z"))
            .item("token_expires_at", text("2126-11-24T00:00:00.000Z"))
            .item("expires_at", AttributeValue::N("4900000000".to_owned()))
            .send()
            .await
            .unwrap();
    }
    let mut socket = stack.socket("alice", "lobby").await;
    stack.send("alice", "lobby", "hello").await;
    assert_eq!(socket.messages(1).await[0]["content"], "hello");
    until("the ghosts' rows are gone", async || rows_of(stack, "ghost").await == 0).await;
}
