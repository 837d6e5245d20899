//! Conversations: live, in order, without duplicates, with replies.

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::stack::{Stack, seqs, until};

/// The number of clients in the crowd test's specification.
const CLIENTS: usize = 16;
const MESSAGES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn both_see_the_message_and_the_reply_and_history_has_both() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "general", "public", "always").await;
    let mut sockets = [stack.socket("alice", "general").await, stack.socket("bob", "general").await];

    let sent = stack.send("alice", "general", "hello").await;
    assert_eq!(sent["seq"], 1);
    let history = {
        let mut live = Vec::new();
        for socket in &mut sockets {
            live.push(socket.messages(2).await);
        }
        assert_eq!(live[0], live[1]);
        live.swap_remove(0)
    };
    assert_eq!(history[0], sent);
    assert_eq!((&history[1]["role"], &history[1]["sender_id"]), (&json!("agent"), &json!("agent")));
    assert_eq!((&history[1]["agent"]["status"], history[0].get("agent")), (&json!("complete"), None));
    assert_eq!((&history[0]["version"], &history[1]["version"]), (&json!(1), &json!(1)));
    assert_eq!(history[1]["reply_to"], 1);
    assert_eq!(stack.history("bob", "general").await, history);
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_carries_the_trace_of_its_request() {
    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let stack = Stack::in_memory();
    let mut socket = stack.socket("alice", "lobby").await;
    let request = stack.request("alice", Method::POST, "/channels/lobby/messages").header("traceparent", GIVEN);
    request.json(&json!({ "content": "traced" })).send().await.unwrap().error_for_status().unwrap();
    // The message and the reply, perhaps in one frame. A slow reply has frames of its draft before it.
    for event in socket.events(2).await {
        // The trace is the same; the span belongs to it.
        let traceparent = event["traceparent"].as_str().unwrap();
        assert_eq!(traceparent[..36], GIVEN[..36]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_gets_every_number_once() {
    let stack = Stack::in_memory();
    for (channel, times) in [("once", 1), ("twice", 2)] {
        stack.create_channel("alice", channel, "public", "off").await;
        let mut socket = stack.socket("alice", channel).await;
        let statuses: Vec<StatusCode> = stream::iter(0..MESSAGES)
            .map(|number| {
                let stack = &stack;
                async move {
                    let (content, key) = (format!("message {number}"), format!("key-{number}"));
                    let key = (times > 1).then_some(key.as_str());
                    let mut statuses = Vec::new();
                    for _ in 0..times {
                        let mut status = StatusCode::SERVICE_UNAVAILABLE;
                        // The answer to a sender that lost every race: nothing is stored, and it may repeat.
                        while status == StatusCode::SERVICE_UNAVAILABLE {
                            status = stack.post("alice", channel, &content, key).await.unwrap().status();
                        }
                        statuses.push(status);
                    }
                    statuses
                }
            })
            .buffer_unordered(CLIENTS)
            .collect::<Vec<_>>()
            .await
            .concat();
        let count = |status: StatusCode| statuses.iter().filter(|found| **found == status).count();
        let others: Vec<&StatusCode> = statuses.iter().filter(|status| !status.is_success()).collect();
        assert!(others.is_empty(), "{others:?}");
        assert_eq!(count(StatusCode::CREATED), MESSAGES);
        assert_eq!(count(StatusCode::OK), MESSAGES * (times - 1));

        let history = stack.history("alice", channel).await;
        assert_eq!(seqs(&history), (1..=MESSAGES as u64).collect::<Vec<_>>());
        let mut contents: Vec<&str> = history.iter().map(|message| message["content"].as_str().unwrap()).collect();
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(contents.len(), MESSAGES);
        assert_eq!(socket.messages(MESSAGES).await, history);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "general", "public", "off").await;
    let first = stack.post("alice", "general", "hello", Some("k")).await.unwrap();
    assert_eq!(first.status(), StatusCode::CREATED);
    assert!(first.headers().get("idempotency-replayed").is_none());
    let message: Value = first.json().await.unwrap();

    let again = stack.post("alice", "general", "hello", Some("k")).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), message);

    let other = stack.post("alice", "general", "something else", Some("k")).await.unwrap();
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    // An idempotency key belongs to its sender.
    let bob = stack.post("bob", "general", "hello", Some("k")).await.unwrap();
    assert_eq!(bob.json::<Value>().await.unwrap()["seq"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_goes_both_ways() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "general", "public", "off").await;
    for number in 1..=5 {
        stack.send("alice", "general", &number.to_string()).await;
    }
    let page = async |query: &str| -> Value {
        let path = format!("/channels/general/messages{query}");
        stack.request("bob", Method::GET, &path).send().await.unwrap().json().await.unwrap()
    };
    let numbers = |page: &Value| seqs(page["messages"].as_array().unwrap());

    let newest = page("?limit=2").await;
    assert_eq!((numbers(&newest), &newest["next"]), (vec![5, 4], &json!({ "before": 4 })));
    let before = page("?limit=2&before=4").await;
    assert_eq!((numbers(&before), &before["next"]), (vec![3, 2], &json!({ "before": 2 })));
    let oldest = page("?before=2").await;
    assert_eq!((numbers(&oldest), &oldest["has_more"]), (vec![1], &json!(false)));
    let after = page("?after=2&limit=2").await;
    assert_eq!((numbers(&after), &after["next"]), (vec![3, 4], &json!({ "after": 4 })));
    let last = page("?after=4").await;
    assert_eq!((numbers(&last), &last["has_more"]), (vec![5], &json!(false)));
    assert_eq!(numbers(&page("?after=5").await), Vec::<u64>::new());

    let around = page("?around=3&limit=2").await;
    assert_eq!((numbers(&around), &around["has_more"]), (vec![3, 4], &json!(true)));
    assert_eq!((&around["previous"], &around["next"]), (&json!({ "before": 3 }), &json!({ "after": 4 })));
    let whole = page("?around=3").await;
    assert_eq!((numbers(&whole), &whole["has_more"]), (vec![1, 2, 3, 4, 5], &json!(false)));
    assert_eq!((whole.get("previous"), whole.get("next")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_audience_is_reached_through_send_message_function() {
    // More than the template's `FanoutThreshold`.
    const AUDIENCE: usize = 220;
    let stack = Stack::in_memory();
    stack.create_channel("alice", "hall", "public", "off").await;
    let mut sockets: Vec<_> =
        stream::iter(0..AUDIENCE).map(|_| stack.socket("bob", "hall")).buffered(CLIENTS).collect().await;
    for content in ["first", "second"] {
        stack.send("alice", "hall", content).await;
    }
    for socket in &mut sockets {
        // Frames of two batches may arrive in either order; `seq` gives the order.
        let mut heard = seqs(&socket.messages(2).await);
        heard.sort_unstable();
        assert_eq!(heard, [1, 2]);
    }
    // A list of processes may miss one while another ends.
    until("the function runs", async || stack.environments("send-message") > 0).await;
    stack.stop();
}

/// Content whose JSON, and JSON within JSON, is four times as large.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_read_back_in_pages_that_a_function_may_answer_with() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "large", "public", "off").await;
    let content = "\"".repeat(32_768);
    for _ in 0..60 {
        stack.send("alice", "large", &content).await;
    }
    let (status, page) = stack.ask("alice", Method::GET, "/channels/large/messages?limit=100", Value::Null).await;
    assert_eq!((status, &page["has_more"]), (200, &true.into()), "{}", page["detail"]);
    let history = stack.history("alice", "large").await;
    assert_eq!(seqs(&history), (1..=60).collect::<Vec<_>>());
    assert!(history.iter().all(|message| message["content"] == content.as_str()));
}
