//! Replies and presence in channels that change meanwhile.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    replies::Server,
    stack::{Socket, Stack, until},
};

/// Waits for the first frame of a draft.
async fn begun(socket: &mut Socket) {
    while socket.hear_but_presence().await.unwrap()["type"] != "message.delta" {}
}

/// Returns the final frame of a draft.
async fn ended(socket: &mut Socket) -> Value {
    loop {
        let frame = socket.hear_but_presence().await.unwrap();
        let is_final = !matches!(frame["status"].as_str(), Some("thinking" | "writing"));
        if frame["type"] == "message.delta" && is_final {
            return frame;
        }
    }
}

/// Returns the authors' roles and the answered messages of the history of `room`.
async fn history(stack: &Stack) -> Vec<(String, Value)> {
    let all = stack.history("alice", "room").await;
    all.iter().map(|message| (message["role"].as_str().unwrap().to_owned(), message["reply_to"].clone())).collect()
}

/// Starts a reply to alice in `room`, makes a change while it is written, and returns the draft's final frame. The model
/// itself never ends the reply.
async fn changed_meanwhile(server: &Server, stack: &Stack, method: Method, path: &str, body: Value) -> Value {
    server.hold();
    stack.create_channel("alice", "room", "public", "always").await;
    let mut socket = stack.socket("bob", "room").await;
    stack.send("alice", "room", "tell me").await;
    begun(&mut socket).await;
    let (status, answer) = stack.ask("alice", method, path, body).await;
    assert!((200..300).contains(&status), "{status} {answer}");
    ended(&mut socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_deleted_gets_no_reply() {
    let server = Server::start().await;
    let stack = server.stack();
    let end = changed_meanwhile(&server, &stack, Method::DELETE, "/channels/room/messages/1", Value::Null).await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("cancelled"), None), "{end}");
    // The notice on the next question is stored after anything on the first one.
    stack.send("alice", "room", "down").await;
    until("there is a notice", async || history(&stack).await.len() >= 3).await;
    let user = || ("user".to_owned(), Value::Null);
    assert_eq!(history(&stack).await, [user(), user(), ("system".to_owned(), json!(2))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_in_a_channel_that_is_archived_fails() {
    let server = Server::start().await;
    let stack = server.stack();
    let end = changed_meanwhile(&server, &stack, Method::PATCH, "/channels/room", json!({ "archived": true })).await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("failed"), None), "{end}");
    // The record is done with, so the next question does not wait for it.
    let (status, _) = stack.ask("alice", Method::PATCH, "/channels/room", json!({ "archived": false })).await;
    assert_eq!(status, 200);
    stack.send("alice", "room", "down").await;
    until("there is a notice", async || history(&stack).await.len() >= 3).await;
    let user = || ("user".to_owned(), Value::Null);
    assert_eq!(history(&stack).await, [user(), user(), ("system".to_owned(), json!(2))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_turned_off_ends_its_reply() {
    let server = Server::start().await;
    let stack = server.stack();
    let off = json!({ "agent": { "mode": "off" } });
    let end = changed_meanwhile(&server, &stack, Method::PATCH, "/channels/room", off).await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("cancelled"), None), "{end}");
    assert_eq!(history(&stack).await, [("user".to_owned(), Value::Null)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_whole_name_of_the_agent_is_a_mention() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "mention").await;
    let texts = [
        "@agent.smith, hi",
        "mail bob@agent.com",
        "@agent_2 and @agent-bot",
        "@agentée",
        "type `@agent`",
        "https://example.org/@agent",
    ];
    for text in texts {
        stack.send("alice", "room", text).await;
    }
    let mut questions = Vec::new();
    for text in ["Thanks, @Agent.", "@agent's turn", "(@agent)", "@agent: hi"] {
        questions.push(stack.send("alice", "room", text).await["seq"].clone());
    }
    until("there are replies", async || history(&stack).await.len() >= texts.len() + 2 * questions.len()).await;
    // The agent reads the messages of a channel in order.
    let answered: Vec<Value> =
        history(&stack).await.into_iter().filter(|(role, _)| role != "user").map(|(_, seq)| seq).collect();
    assert_eq!(answered, questions);
}

/// Returns the next presence event in `lobby` that does not repeat `last`. Pushes come at least once.
async fn presence(socket: &mut Socket, last: Option<&(String, String)>) -> (String, String) {
    loop {
        let frame = socket.hear().await.unwrap();
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let event = (text("type"), text("user_id"));
        if event.0.starts_with("presence.") && Some(&event) != last {
            return event;
        }
    }
}

async fn present(stack: &Stack) -> usize {
    let (_, found) = stack.ask("erin", Method::GET, "/channels/lobby/presence", Value::Null).await;
    found["users"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_user_leaves_a_channel_that_has_grown() {
    let stack = Stack::with(&[("PresenceSubscriptions", "2".to_owned())]);
    let mut alice = stack.socket("alice", "lobby").await;
    let bob = stack.socket("bob", "lobby").await;
    let [joined, left] = ["presence.joined", "presence.left"].map(|kind| (kind.to_owned(), "bob".to_owned()));
    assert_eq!(presence(&mut alice, None).await, joined);

    let crowd = [stack.socket("carol", "lobby").await, stack.socket("dave", "lobby").await];
    until("the channel has grown", async || present(&stack).await == 4).await;
    drop(bob);
    assert_eq!(presence(&mut alice, Some(&joined)).await, left);
    drop(crowd);
    until("the channel has shrunk", async || present(&stack).await == 1).await;
    let _bob = stack.socket("bob", "lobby").await;
    assert_eq!(presence(&mut alice, Some(&left)).await, joined);
}
