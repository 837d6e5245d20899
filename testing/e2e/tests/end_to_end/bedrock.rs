//! A reply of Bedrock: its frames become drafts on the sockets, and the reply.

use std::sync::Arc;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Frame};
use axum::{Router, body::Body, http::Response, routing::post};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    replies::{answer, delta, require_part},
    stack::{LOST, Socket, Stack},
};

/// Number of pieces of the reply that a socket must receive one by one.
const PIECES: usize = 3;

/// Returns a frame in Bedrock's format.
fn frame(name: &'static str, payload: &Value) -> Bytes {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let frame = Frame::new(payload.to_string())
        .add_header(Header::new(":event-type", text(name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text("event")));
    let mut bytes = Vec::new();
    write_message_to(&frame, &mut bytes).unwrap();
    bytes.into()
}

/// Starts a substitute for Bedrock, whose only reply consists of the given frames.
async fn bedrock(frames: mpsc::Receiver<Bytes>) -> String {
    let frames = Arc::new(tokio::sync::Mutex::new(Some(frames)));
    let converse = async move || {
        let frames = frames.lock().await.take().expect("one call");
        let body = stream::unfold(frames, |mut frames| async move {
            Some((Ok::<_, std::io::Error>(frames.recv().await?), frames))
        });
        let answer = Response::builder().header("content-type", "application/vnd.amazon.eventstream");
        answer.body(Body::from_stream(body)).unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/model/a.model-v1%3A0/converse-stream", post(converse));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Returns the next frame of a draft whose text ends at character `end`.
async fn written(socket: &mut Socket, end: usize) -> Value {
    loop {
        let frame = delta(socket).await;
        let length = frame["text"].as_str().unwrap().chars().count();
        if frame["position"] == end - length {
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_of_bedrock_grows_on_the_sockets_too() {
    let (send, frames) = mpsc::channel(1);
    let parameters = [("ModelProvider", "bedrock"), ("Model", "a.model-v1:0")];
    let stack = Stack::with_bedrock(&bedrock(frames).await, &parameters.map(|(name, value)| (name, value.to_owned())));
    stack.create_channel("alice", "room", "public", "always").await;
    let mut socket = stack.socket("bob", "room").await;
    stack.send("alice", "room", "tell me").await;
    let word = |text: &str| frame("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": text } }));
    send.send(frame("messageStart", &json!({ "role": "assistant" }))).await.unwrap();
    let (mut said, mut shown) = (String::new(), Vec::new());
    for text in ["Größe ", "zählt ", "nicht. "].into_iter().cycle().take(10 * PIECES) {
        send.send(word(text)).await.unwrap();
        said.push_str(text);
        // The next word is not sent before this one arrives, unless its frame is lost.
        let frame = tokio::time::timeout(LOST, written(&mut socket, said.chars().count())).await;
        shown.extend(frame);
        if shown.len() == PIECES {
            break;
        }
    }
    assert_eq!(shown.len(), PIECES, "a few frames are lost at most");
    send.send(frame("messageStop", &json!({ "stopReason": "end_turn" }))).await.unwrap();
    let usage = json!({ "inputTokens": 12, "outputTokens": 7, "totalTokens": 19 });
    send.send(frame("metadata", &json!({ "metrics": { "latencyMs": 1 }, "usage": usage }))).await.unwrap();
    drop(send);
    let reply = answer(&stack, 2).await;
    assert_eq!((reply["content"].as_str().unwrap(), &reply["role"]), (said.as_str(), &json!("agent")));
    for frame in &shown {
        require_part(frame, &said);
    }
    let agent = &reply["agent"];
    assert_eq!((&agent["input_tokens"], &agent["output_tokens"]), (&json!(12), &json!(7)));
    assert_eq!((&agent["model"], &agent["status"]), (&json!("a.model-v1:0"), &json!("complete")));
}
