//! The Rust client that teams install, against the running stack.

use switchboard_client::{ChannelLog, Client, Connection, Core, Options};

use crate::stack::{PATIENCE, Stack, token_of};

/// Returns a client of alice that listens to `room`.
fn client(stack: &Stack) -> Client {
    let token = || async { Some(token_of("alice")) };
    let mut options = Options::new(stack.address("rest"), stack.address("websocket"), token);
    options.channels = vec!["room".to_owned()];
    Client::start(options).unwrap()
}

fn words(core: &Core) -> Vec<String> {
    core.log("room").into_iter().flat_map(ChannelLog::messages).map(|message| message.content.clone()).collect()
}

/// Waits until the client shows these messages.
async fn shows(client: &Client, expected: &[&str]) {
    let shown = client.until(|core| (words(core) == expected).then_some(()));
    let shown = tokio::time::timeout(PATIENCE, shown).await;
    assert!(shown.is_ok_and(|shown| shown.is_ok()), "{:?}, not {expected:?}", client.read(words));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_a_channel_complete_and_sends_in_order() {
    let stack = Stack::in_memory();
    stack.create_channel("olga", "room", "public", "off").await;
    stack.send("olga", "room", "before").await;
    let client = client(&stack);
    client.open("room");
    shows(&client, &["before"]).await;
    for content in ["one", "two", "three"] {
        client.send("room", content);
    }
    shows(&client, &["before", "one", "two", "three"]).await;
    let sent = client.until(|core| core.outbox("room").is_empty().then_some(()));
    tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap();
    assert_eq!(client.state(), Connection::Live);
    stack.send("olga", "room", "after").await;
    shows(&client, &["before", "one", "two", "three", "after"]).await;
    let (message, tag) = client.request(|api| async move { api.message("room", 2).await }).await.unwrap();
    assert_eq!(message.content, "one");
    client.edit("room", 2, &tag, "first").await.unwrap();
    shows(&client, &["before", "first", "two", "three", "after"]).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_hidden_channel_is_refused_and_does_not_try_again() {
    let stack = Stack::in_memory();
    stack.create_channel("olga", "room", "private", "off").await;
    let client = client(&stack);
    client.open("room");
    let ended = client.until(|core| match core.state() {
        Connection::Closed { reason } => Some(reason),
        _ => None,
    });
    let reason = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(reason.starts_with("handshake_refused"), "{reason}");
    let refused = client.until(|core| core.refusal("room").map(|problem| problem.status));
    assert_eq!(tokio::time::timeout(PATIENCE, refused).await.unwrap().unwrap(), 404);
}
