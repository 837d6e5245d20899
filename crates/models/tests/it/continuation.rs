//! Continuation of a reply: the request, and the text that follows its prefix.

use chat::ports::language_model::{Piece, Pieces, Prompt};
use futures::StreamExt;
use models::{Continuation, OpenAi};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::{
    bedrock,
    bedrock_support::{self, block_stop, metadata, start, stop, word},
};

const CONTINUATIONS: [Continuation; 3] =
    [Continuation::Assistant, Continuation::Prefix, Continuation::ContinueFinalMessage];

/// Returns the prompt of the other tests with the beginning of a reply.
fn prompt(prefix: &str) -> Prompt {
    Prompt { prefix: Some(prefix.to_owned()), ..bedrock_support::prompt() }
}

async fn text(mut pieces: Pieces) -> String {
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        if let Piece::Text(piece) = piece.unwrap() {
            text.push_str(&piece);
        }
    }
    text
}

/// Returns the only request to a server.
async fn request(server: &MockServer) -> Value {
    let requests = server.received_requests().await.unwrap();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    serde_json::from_slice(&request.body).unwrap()
}

/// Returns the text that follows a prefix, from a server of OpenAI's protocol that sends these words, and the request.
async fn follow(prefix: &str, continuation: Continuation, words: &[&str]) -> (String, Value) {
    let event = |value: &Value| format!("data: {value}\n\n");
    let mut body: String =
        words.iter().map(|word| event(&json!({ "choices": [{ "delta": { "content": word } }] }))).collect();
    body.push_str(&event(&json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] })));
    let server = MockServer::start().await;
    let response = ResponseTemplate::new(200).set_body_raw(body, "text/event-stream");
    Mock::given(method("POST")).respond_with(response).mount(&server).await;
    let openai = OpenAi::new(&server.uri(), None).unwrap().continuing(continuation);
    let text = text(openai.reply("small", prompt(prefix)).await.unwrap()).await;
    (text, request(&server).await)
}

#[tokio::test]
async fn a_server_is_asked_in_its_way_to_continue() {
    for continuation in CONTINUATIONS {
        let (text, request) = follow("I am ", continuation, &[" fine", ", thanks."]).await;
        assert_eq!(text, "fine, thanks.", "{continuation:?}");
        let messages = request["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"], "{continuation:?}");
        let last = messages.last().unwrap();
        assert_eq!(last["content"], "I am");
        let mark = (continuation == Continuation::Prefix).then_some(Value::Bool(true));
        assert_eq!(last.get("prefix").cloned(), mark);
        let flags = ["continue_final_message", "add_generation_prompt"].map(|name| request.get(name).cloned());
        let is_flagged = continuation == Continuation::ContinueFinalMessage;
        assert_eq!(flags, [true, false].map(|flag| is_flagged.then(|| json!(flag))), "{continuation:?}");
        assert_eq!(request["stream_options"], json!({ "include_usage": true }));
    }
}

#[tokio::test]
async fn a_blank_prefix_is_not_sent() {
    for continuation in CONTINUATIONS {
        let (text, request) = follow("\n\n", continuation, &["\n", "\nI am fine."]).await;
        assert_eq!(text, "I am fine.", "{continuation:?}");
        assert_eq!(request["messages"].as_array().unwrap().last().unwrap()["role"], "user");
        assert_eq!(request.get("continue_final_message"), None);
    }
}

#[tokio::test]
async fn control_tokens_of_a_prefix_are_broken_as_in_any_turn() {
    let (text, request) = follow("Say <|im_end|>", Continuation::ContinueFinalMessage, &[" twice"]).await;
    assert_eq!(text, " twice");
    assert_eq!(request["messages"].as_array().unwrap().last().unwrap()["content"], r"Say <\|im_end|>");
}

#[tokio::test]
async fn a_server_that_repeats_the_prefix_is_heard_once() {
    for words in [&["I am fine.", " And you?"][..], &["I", " am", " fine. And", " you?"], &[" And you?"]] {
        let (text, _) = follow("I am fine.", Continuation::Prefix, words).await;
        assert_eq!(text, " And you?", "{words:?}");
    }
    let (text, _) = follow("I am fine.", Continuation::Prefix, &["I am"]).await;
    assert_eq!(text, "I am", "it ends before it could be an echo");
}

#[tokio::test]
async fn reasoning_that_a_prefix_belongs_to_is_taken_back() {
    let server = MockServer::start().await;
    let chunk = json!({ "choices": [{ "delta": { "content": "</think>ok" }, "finish_reason": "stop" }] });
    let response = ResponseTemplate::new(200).set_body_raw(format!("data: {chunk}\n\n"), "text/event-stream");
    Mock::given(method("POST")).respond_with(response).mount(&server).await;
    let openai = OpenAi::new(&server.uri(), None).unwrap().continuing(Continuation::Assistant);
    let pieces: Vec<Piece> =
        openai.reply("small", prompt("Let me see")).await.unwrap().map(Result::unwrap).collect().await;
    let pieces: Vec<Piece> = pieces.into_iter().filter(|piece| *piece != Piece::Alive).collect();
    assert_eq!(pieces, [Piece::Retracted, Piece::Text("ok".to_owned())]);
}

#[tokio::test]
async fn bedrock_continues_the_last_message() {
    let frames = [start(3), word(" fine"), word("."), block_stop(5), stop(6, "end_turn"), metadata(1, 608, 9, 3)];
    for (prefix, sent, expected) in [("I am ", Some("I am"), "fine."), (" ", None, "fine.")] {
        let server = MockServer::start().await;
        let response = ResponseTemplate::new(200).set_body_raw(frames.concat(), "application/vnd.amazon.eventstream");
        Mock::given(method("POST")).respond_with(response).mount(&server).await;
        let pieces = bedrock::client(&server.uri()).reply("a.model-v1:0", prompt(prefix)).await.unwrap();
        assert_eq!(text(pieces).await, expected, "{prefix:?}");
        let request = request(&server).await;
        let messages = request["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        let expected: &[&str] =
            if sent.is_some() { &["user", "assistant", "user", "assistant"] } else { &["user", "assistant", "user"] };
        assert_eq!(roles, expected);
        if let Some(sent) = sent {
            assert_eq!(messages[3]["content"], json!([{ "text": sent }]));
        }
    }
}
