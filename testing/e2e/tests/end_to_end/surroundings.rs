//! Replies and presence in channels that change meanwhile.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    replies::{Server, is_final},
    stack::{Socket, Stack, rounds, until},
};

/// Returns the authors' roles and the answered messages of the history of a channel.
async fn history(stack: &Stack, channel: &str) -> Vec<(String, Value)> {
    let all = stack.history("alice", channel).await;
    all.iter().map(|message| (message["role"].as_str().unwrap().to_owned(), message["reply_to"].clone())).collect()
}

/// Starts a reply to alice, and makes a change of the channel while it is written: a request to a path below the
/// channel's. Returns the channel, and the draft's final frame. The model itself never ends the reply.
async fn changed_meanwhile(server: &Server, stack: &Stack, method: Method, path: &str, body: Value) -> (String, Value) {
    server.hold();
    rounds("the final frame of a draft", async |round: usize| {
        let channel = format!("room-{round}");
        stack.create_channel("alice", &channel, "public", "always").await;
        let mut socket = stack.socket("bob", &channel).await;
        stack.send("alice", &channel, "tell me").await;
        socket.hear_of("message.delta").await;
        let path = format!("/channels/{channel}{path}");
        let (status, answer) = stack.ask("alice", method.clone(), &path, body.clone()).await;
        assert!((200..300).contains(&status), "{status} {answer}");
        let end = socket.hear_unless_lost(is_final).await?;
        Some((channel, end))
    })
    .await
}

/// Requires that the second question of a channel has a notice, and the first one nothing.
async fn require_one_notice(stack: &Stack, channel: &str) {
    until("there is a notice", async || history(stack, channel).await.len() >= 3).await;
    let user = || ("user".to_owned(), Value::Null);
    assert_eq!(history(stack, channel).await, [user(), user(), ("system".to_owned(), json!(2))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_deleted_gets_no_reply() {
    let server = Server::start().await;
    let stack = server.stack();
    let (channel, end) = changed_meanwhile(&server, &stack, Method::DELETE, "/messages/1", Value::Null).await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("cancelled"), None), "{end}");
    // The notice on the next question is stored after anything on the first one.
    stack.send("alice", &channel, "down").await;
    require_one_notice(&stack, &channel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_in_a_channel_that_is_archived_fails() {
    let server = Server::start().await;
    let stack = server.stack();
    let (channel, end) = changed_meanwhile(&server, &stack, Method::PATCH, "", json!({ "archived": true })).await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("failed"), None), "{end}");
    // The record is done with, so the next question does not wait for it.
    let path = format!("/channels/{channel}");
    assert_eq!(stack.ask("alice", Method::PATCH, &path, json!({ "archived": false })).await.0, 200);
    stack.send("alice", &channel, "down").await;
    require_one_notice(&stack, &channel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_turned_off_ends_its_reply() {
    let server = Server::start().await;
    let stack = server.stack();
    let off = json!({ "agent": { "mode": "off" } });
    let (channel, end) = changed_meanwhile(&server, &stack, Method::PATCH, "", off).await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("cancelled"), None), "{end}");
    assert_eq!(history(&stack, &channel).await, [("user".to_owned(), Value::Null)]);
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
    until("there are replies", async || history(&stack, "room").await.len() >= texts.len() + 2 * questions.len()).await;
    // The agent reads the messages of a channel in order.
    let answered: Vec<Value> =
        history(&stack, "room").await.into_iter().filter(|(role, _)| role != "user").map(|(_, seq)| seq).collect();
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
