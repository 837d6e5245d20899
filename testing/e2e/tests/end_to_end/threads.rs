//! Threads: their roots, their pages, and a history without them.

use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{Stack, answered, seqs};

/// Sends a message to the channel `room`. `to` has its `thread_seq` or `reply_to`.
async fn say(stack: &Stack, to: Value) -> (u16, Value) {
    let mut body = json!({ "content": "x" });
    body.as_object_mut().unwrap().extend(to.as_object().cloned().unwrap_or_default());
    let (status, mut message) = stack.ask("alice", Method::POST, "/channels/room/messages", body).await;
    // Only the answer to a send has the number of the channel's last change.
    message.as_object_mut().unwrap().remove("rev");
    (status, message)
}

/// Returns a page of the channel `room`.
async fn page(stack: &Stack, path: &str) -> (u16, Value) {
    stack.ask("alice", Method::GET, &format!("/channels/room/{path}"), Value::Null).await
}

/// Returns the numbers of a page's messages or threads.
fn numbers(page: &Value) -> Vec<u64> {
    seqs(page.get("messages").unwrap_or(&page["threads"]).as_array().unwrap())
}

/// Starts a stack with the channel `room`, and sends messages with these roots, or 0.
async fn with_threads(roots: &[u64]) -> Stack {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "private", "off").await;
    for root in roots {
        let to = if *root > 0 { json!({ "thread_seq": root }) } else { Value::Null };
        assert_eq!(say(&stack, to).await.0, 201);
    }
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_has_the_pages_of_a_history() {
    let stack = with_threads(&[0, 1, 0, 1, 1, 1, 3]).await;
    let (_, all) = page(&stack, "messages/1/replies").await;
    assert_eq!((numbers(&all), &all["has_more"], all.get("next")), (vec![6, 5, 4, 2], &json!(false), None));
    let (_, newest) = page(&stack, "messages/1/replies?limit=3").await;
    assert_eq!((numbers(&newest), &newest["next"]), (vec![6, 5, 4], &json!({ "before": 4 })));
    assert_eq!(numbers(&page(&stack, "messages/1/replies?limit=3&before=4").await.1), [2]);
    let (_, oldest) = page(&stack, "messages/1/replies?limit=3&after=0").await;
    assert_eq!((numbers(&oldest), &oldest["next"]), (vec![2, 4, 5], &json!({ "after": 5 })));
    let (_, around) = page(&stack, "messages/1/replies?limit=2&around=4").await;
    assert_eq!((numbers(&around), &around["has_more"]), (vec![4, 5], &json!(true)));
    assert_eq!((&around["previous"], &around["next"]), (&json!({ "before": 4 }), &json!({ "after": 5 })));
    assert_eq!(page(&stack, "messages/2/replies").await.1["messages"], json!([]));
    assert_eq!(page(&stack, "messages/99/replies").await.0, 404);
    assert_eq!(page(&stack, "messages/x/replies").await.0, 400);
    let stranger = stack.ask("bob", Method::GET, "/channels/room/messages/1/replies", Value::Null).await;
    assert_eq!(stranger.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_counts_its_replies_without_an_event() {
    let stack = with_threads(&[0]).await;
    let mut socket = stack.socket("alice", "room").await;
    let (_, first) = say(&stack, json!({ "thread_seq": 1 })).await;
    let (_, second) = say(&stack, json!({ "thread_seq": 1, "reply_to": 2 })).await;
    assert_eq!((&second["thread_seq"], &second["reply_to"], second.get("thread")), (&json!(1), &json!(2), None));
    let (_, quote) = say(&stack, json!({ "reply_to": 1 })).await;
    assert_eq!((quote.get("thread_seq"), &quote["reply_to"]), (None, &json!(1)));
    assert_eq!(socket.messages(3).await, [first, second.clone(), quote]);
    let summary = json!({ "reply_count": 2, "last_reply_seq": 3, "last_reply_at": second["created_at"] });
    assert_eq!(page(&stack, "messages/1").await.1["thread"], summary);
    assert_eq!(numbers(&page(&stack, "messages/1/replies").await.1), [3, 2], "a quote is in no thread");

    // The deleted root keeps its thread, which goes on.
    assert_eq!(stack.ask("alice", Method::DELETE, "/channels/room/messages/1", Value::Null).await.0, 204);
    assert_eq!(say(&stack, json!({ "thread_seq": 1 })).await.0, 201);
    let (_, root) = page(&stack, "messages/1").await;
    assert_eq!((&root["thread"]["reply_count"], root["deleted_at"].is_string()), (&json!(3), true));
    let heard = socket.events(2).await;
    let kinds: Vec<&str> = heard.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message.deleted", "message.created"]);
    assert_eq!(heard[0]["message"]["thread"], summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_message_outside_of_threads_is_a_root() {
    let stack = with_threads(&[0, 1]).await;
    for (root, code) in [(2, "not_a_root"), (9, "unknown_message"), (0, "out_of_range")] {
        let (status, problem) = say(&stack, json!({ "thread_seq": root })).await;
        let error = &problem["errors"][0];
        assert_eq!((status, &error["field"], &error["code"]), (400, &json!("thread_seq"), &json!(code)), "{root}");
    }
    assert_eq!(numbers(&page(&stack, "messages").await.1), [2, 1], "nothing is stored");

    let send = |body: Value| {
        let request = stack.request("alice", Method::POST, "/channels/room/messages");
        answered(request.header("idempotency-key", "k").json(&body))
    };
    assert_eq!(send(json!({ "content": "x", "thread_seq": 1 })).await.0, 201);
    assert_eq!(send(json!({ "content": "x", "thread_seq": 1 })).await.0, 200);
    assert_eq!(send(json!({ "content": "x" })).await.0, 422);
    assert_eq!(page(&stack, "messages/1").await.1["thread"]["reply_count"], 2, "a repeated request counts once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_without_replies_has_full_pages() {
    let roots: Vec<u64> = [0, 0].into_iter().chain([1; 30]).chain([0]).collect();
    let stack = with_threads(&roots).await;
    let (_, newest) = page(&stack, "messages?replies=false&limit=2").await;
    assert_eq!((numbers(&newest), &newest["next"]), (vec![33, 2], &json!({ "before": 2 })));
    let (_, last) = page(&stack, "messages?replies=false&limit=2&before=2").await;
    assert_eq!((numbers(&last), &last["has_more"]), (vec![1], &json!(false)));
    assert_eq!(numbers(&page(&stack, "messages?replies=false&after=1").await.1), [2, 33]);
    assert_eq!(numbers(&page(&stack, "messages?replies=false&around=9").await.1), [1, 2, 33]);
    assert_eq!(numbers(&page(&stack, "messages?replies=true&limit=2").await.1), [33, 32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threads_of_a_channel_are_listed_by_their_roots() {
    let stack = with_threads(&[0, 0, 0, 0, 3, 1, 4, 1]).await;
    let (_, first) = page(&stack, "threads?limit=2").await;
    assert_eq!((numbers(&first), &first["has_more"]), (vec![4, 3], &json!(true)));
    assert_eq!(first["threads"][0]["thread"]["reply_count"], 1);
    let cursor = first["next"]["cursor"].as_str().unwrap();
    let (_, second) = page(&stack, &format!("threads?limit=2&cursor={cursor}")).await;
    assert_eq!((numbers(&second), &second["has_more"], second.get("next")), (vec![1], &json!(false), None));
    assert_eq!(second["threads"][0]["thread"]["reply_count"], 2);
    assert_eq!(page(&stack, &format!("threads?cursor={cursor}x")).await.0, 400);
    let stranger = stack.ask("bob", Method::GET, "/channels/room/threads", Value::Null).await;
    assert_eq!(stranger.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_answers_in_the_thread_of_its_question() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "always").await;
    let mut socket = stack.socket("alice", "room").await;
    say(&stack, Value::Null).await;
    let reply = &socket.messages(2).await[1];
    assert_eq!((&reply["reply_to"], reply.get("thread_seq")), (&json!(1), None), "a reply begins no thread");
    let (status, question) = say(&stack, json!({ "thread_seq": 1 })).await;
    assert_eq!((status, &question["seq"]), (201, &json!(3)));
    let reply = &socket.messages(2).await[1];
    assert_eq!((&reply["reply_to"], &reply["thread_seq"]), (&json!(3), &json!(1)));
    assert_eq!(numbers(&page(&stack, "messages/1/replies").await.1), [4, 3]);
}
