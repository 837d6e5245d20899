//! `GET /channels/{channel_id}/messages/{seq}/reply`: a reply while it is written, and afterwards.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    replies::{Server, answer, is_final},
    stack::{Socket, Stack, rounds, until},
    storyteller::{Storyteller, TOKENS, Way, beginning, story},
    takeovers::Reader,
};

/// Reads the reply to a message of `room`.
async fn reply(stack: &Stack, seq: u64) -> (u16, Value) {
    stack.ask("bob", Method::GET, &format!("/channels/room/messages/{seq}/reply"), Value::Null).await
}

/// Waits until a reply of `room` is as `is_wanted` says, and returns it.
async fn reply_that(stack: &Stack, seq: u64, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let (status, found) = reply(stack, seq).await;
        status == 200 && is_wanted(&found)
    })
    .await;
    reply(stack, seq).await.1
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Hears the final frame of a draft of a question. Returns `None` if it is lost.
async fn end_of(socket: &mut Socket, question: u64) -> Option<Value> {
    socket.hear_unless_lost(|frame| is_final(frame) && frame["reply_to"] == question).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_read_from_the_first_thought_to_the_message() {
    let model = Storyteller::start(Way::Assistant).await;
    let stack = model.stack();
    stack.create_channel("alice", "room", "public", "always").await;
    model.hold("tell me", 0);
    stack.send("alice", "room", "tell me").await;
    let thinking = reply_that(&stack, 1, "the model is called", |found| found["draft_id"].is_string()).await;
    assert_eq!(names(&thinking), ["draft_id", "position", "status", "text"]);
    let told = (&thinking["status"], &thinking["position"], &thinking["text"]);
    assert_eq!(told, (&json!("thinking"), &json!(0), &json!("")));

    let half = beginning("tell me", TOKENS / 2);
    model.hold("tell me", TOKENS / 2);
    let writing = reply_that(&stack, 1, "text is stored", |found| found["status"] == "writing").await;
    assert_eq!(names(&writing), ["draft_id", "position", "status", "text"]);
    assert_eq!(writing["draft_id"], thinking["draft_id"]);
    assert!(half.starts_with(writing["text"].as_str().unwrap()), "{writing}");

    // A reader who joins the frames at the position misses nothing, and sees nothing twice.
    let mut socket = stack.socket("bob", "room").await;
    let mut reader = Reader::default();
    reader.read(&writing);
    model.release("tell me");
    let is_of_draft = |frame: &Value| frame["type"] == "message.delta";
    let mut is_over = false;
    while !is_over {
        let Some(frame) = socket.hear_unless_lost(is_of_draft).await else { break };
        if !reader.take(&frame) {
            reader.read(&reply(&stack, 1).await.1);
        }
        assert!(story("tell me").starts_with(&reader.text), "{frame}");
        is_over = is_final(&frame);
    }
    let message = answer(&stack, 2).await;
    if !is_over {
        reader.read(&reply(&stack, 1).await.1);
    }
    assert_eq!((&message["content"], &reader.text), (&json!(story("tell me")), &story("tell me")));
    assert_eq!(
        (&message["agent"]["draft_id"], reader.draft_id.as_deref()),
        (&thinking["draft_id"], thinking["draft_id"].as_str())
    );

    let done = reply(&stack, 1).await.1;
    assert_eq!(names(&done), ["draft_id", "position", "seq", "status", "text"]);
    let characters = story("tell me").chars().count();
    assert_eq!((&done["status"], &done["seq"], &done["position"]), (&json!("done"), &json!(2), &json!(characters)));
    assert_eq!((&done["text"], &done["draft_id"]), (&message["content"], &thinking["draft_id"]));
    // A deleted reply leaves no text.
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room/messages/2", Value::Null).await.0, 204);
    let deleted = reply(&stack, 1).await.1;
    assert_eq!((&deleted["status"], &deleted["text"], &deleted["position"]), (&json!("done"), &json!(""), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_was_cancelled_or_failed_says_so() {
    let server = Server::start().await;
    let stack = server.stack();
    stack.create_channel("alice", "room", "public", "always").await;
    stack.send("alice", "room", "are you down").await;
    let notice = answer(&stack, 2).await;
    assert_eq!(notice["role"], "system");
    let failed = json!({ "status": "failed", "position": 0, "text": "", "seq": 2 });
    assert_eq!(reply(&stack, 1).await, (200, failed));

    server.hold();
    stack.send("alice", "room", "tell me").await;
    reply_that(&stack, 3, "text is stored", |found| found["status"] == "writing").await;
    assert_eq!(stack.ask("alice", Method::POST, "/channels/room/messages/3/reply/cancel", Value::Null).await.0, 202);
    let message = answer(&stack, 4).await;
    let (status, cancelled) = reply(&stack, 3).await;
    assert_eq!((status, &cancelled["status"], &cancelled["seq"]), (200, &json!("cancelled"), &json!(4)));
    assert_eq!((&cancelled["text"], &cancelled["draft_id"]), (&message["content"], &message["agent"]["draft_id"]));

    // Neither a reply nor a notice has a reply. A message that is not there has none either.
    for (seq, code) in [(2, "reply_not_found"), (4, "reply_not_found"), (99, "message_not_found")] {
        let (status, problem) = reply(&stack, seq).await;
        assert_eq!((status, &problem["code"]), (404, &json!(code)), "{seq}: {problem}");
    }
    for seq in ["0", "x", "01", "99999999999999999999"] {
        let path = format!("/channels/room/messages/{seq}/reply");
        assert_eq!(stack.ask("bob", Method::GET, &path, Value::Null).await.0, 400, "{seq}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_whose_question_is_deleted_is_cancelled_and_not_stored() {
    let server = Server::start().await;
    let stack = server.stack();
    stack.create_channel("alice", "room", "public", "always").await;
    let mut socket = stack.socket("bob", "room").await;
    // The model itself never ends a reply.
    server.hold();
    let mut questions = 0;
    let end = rounds("the final frame of a draft", async |_: usize| {
        let question = stack.send("alice", "room", "tell me").await["seq"].as_u64().unwrap();
        questions += 1;
        reply_that(&stack, question, "text is stored", |found| found["status"] == "writing").await;
        let path = format!("/channels/room/messages/{question}");
        assert_eq!(stack.ask("alice", Method::DELETE, &path, Value::Null).await.0, 204);
        let (status, problem) = reply(&stack, question).await;
        assert_eq!((status, &problem["code"]), (404, &json!("message_not_found")), "{problem}");
        end_of(&mut socket, question).await
    })
    .await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("cancelled"), None), "{end}");
    let history = stack.history("alice", "room").await;
    let is_gone = history.iter().all(|message| message["deleted_at"].is_string());
    assert!(is_gone && history.len() == questions, "only the questions are stored: {history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_in_a_channel_that_is_archived_fails_and_is_never_done() {
    let model = Storyteller::start(Way::Assistant).await;
    let stack = model.stack();
    stack.create_channel("alice", "room", "public", "always").await;
    let mut socket = stack.socket("bob", "room").await;
    let archive = async |archived: bool| {
        stack.ask("alice", Method::PATCH, "/channels/room", json!({ "archived": archived })).await.0
    };
    let end = rounds("the final frame of a draft", async |round: usize| {
        assert_eq!(archive(false).await, 200);
        let question = format!("tell me {round}");
        model.hold(&question, TOKENS / 2);
        let seq = stack.send("alice", "room", &question).await["seq"].as_u64().unwrap();
        let writing = reply_that(&stack, seq, "text is stored", |found| found["status"] == "writing").await;
        assert_eq!(archive(true).await, 200);
        // Whether the reply is under way or just complete, it cannot be stored.
        model.release(&question);
        let failed = reply_that(&stack, seq, "the draft ends", |found| found["status"] == "failed").await;
        assert_eq!(names(&failed), ["draft_id", "position", "status", "text"]);
        assert_eq!(failed["draft_id"], writing["draft_id"]);
        assert!(story(&question).starts_with(failed["text"].as_str().unwrap()), "{failed}");
        end_of(&mut socket, seq).await
    })
    .await;
    assert_eq!((&end["status"], end.get("seq")), (&json!("failed"), None), "{end}");
    let history = stack.history("alice", "room").await;
    assert!(history.iter().all(|message| message["role"] == "user"), "{history:?}");
}
