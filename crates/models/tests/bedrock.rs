//! Bedrock's event stream: frames as it sends them, read by the SDK from a server on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use aws_config::{BehaviorVersion, Region};
use aws_sdk_bedrockruntime::{Client, Config, config::Credentials};
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use chat::agent::{ModelError, Piece, Prompt, Turn, Usage};
use futures::StreamExt;
use models::Bedrock;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

/// One frame as Bedrock sends it: kind is `event` or `exception`.
fn frame(kind: &'static str, name: &'static str, payload: &Value) -> Vec<u8> {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let message = Message::new(payload.to_string())
        .add_header(Header::new(":message-type", text(kind)))
        .add_header(Header::new(if kind == "event" { ":event-type" } else { ":exception-type" }, text(name)))
        .add_header(Header::new(":content-type", text("application/json")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn word(text: &str) -> Vec<u8> {
    frame("event", "contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": text } }))
}

fn stop(reason: &str) -> Vec<u8> {
    frame("event", "messageStop", &json!({ "stopReason": reason }))
}

/// A server that answers as Bedrock does, and its client.
async fn answering(status: u16, code: Option<&str>, body: Vec<u8>) -> (MockServer, Bedrock) {
    let content_type = if code.is_some() { "application/json" } else { "application/vnd.amazon.eventstream" };
    let mut answer = ResponseTemplate::new(status).set_body_raw(body, content_type);
    if let Some(code) = code {
        answer = answer.insert_header("x-amzn-errortype", code);
    }
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("id", "key", None, None, "test"))
        .endpoint_url(server.uri())
        .retry_config(aws_sdk_bedrockruntime::config::retry::RetryConfig::disabled())
        .build();
    (server, Bedrock::from_client(Client::from_conf(config)))
}

async fn read(bedrock: &Bedrock) -> (String, Option<Usage>, Option<ModelError>) {
    let turn = |speaker: Option<&str>, text: &str| Turn { speaker: speaker.map(str::to_owned), text: text.to_owned() };
    let turns = vec![turn(Some("alice"), "hi"), turn(None, "hello"), turn(Some("bob"), "and now?")];
    let prompt = Prompt { instructions: Some("Be brief.".to_owned()), turns, model: None };
    let mut pieces = match bedrock.reply("a.model-v1:0", prompt).await {
        Ok(pieces) => pieces,
        Err(error) => return (String::new(), None, Some(error)),
    };
    let (mut text, mut usage) = (String::new(), None);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(Piece::Text(piece)) => text.push_str(&piece),
            Ok(Piece::Usage(used)) => usage = Some(used),
            Err(error) => return (text, usage, Some(error)),
        }
    }
    (text, usage, None)
}

#[tokio::test]
async fn the_conversation_goes_out_and_the_words_come_back() {
    let usage = json!({
        "usage": { "inputTokens": 9, "outputTokens": 3, "totalTokens": 12 }, "metrics": { "latencyMs": 1 },
    });
    let body = [
        frame("event", "messageStart", &json!({ "role": "assistant" })),
        word("Hé"),
        word("llo"),
        frame("event", "contentBlockStop", &json!({ "contentBlockIndex": 0 })),
        stop("end_turn"),
        frame("event", "metadata", &usage),
    ];
    let (server, bedrock) = answering(200, None, body.concat()).await;
    let expected = Usage { input_tokens: 9, output_tokens: 3 };
    assert_eq!(read(&bedrock).await, ("Héllo".to_owned(), Some(expected), None));
    let request = server.received_requests().await.unwrap().remove(0);
    assert_eq!(request.url.path(), "/model/a.model-v1%3A0/converse-stream");
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert!(sent["system"][0]["text"].as_str().unwrap().ends_with("Be brief."));
    let roles: Vec<&str> =
        sent["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(sent["messages"][2]["content"][0]["text"], "bob: and now?");
}

#[tokio::test]
async fn every_refusal_is_told_apart() {
    let cases = [
        (429, "ThrottlingException", "slow down", ModelError::Busy { retry_after: None }),
        (400, "ValidationException", "Input is too long for requested model", ModelError::TooLong),
        (400, "ValidationException", "malformed", ModelError::Refused("ValidationException".into())),
        (403, "AccessDeniedException", "no", ModelError::Refused("AccessDeniedException".into())),
        (404, "ResourceNotFoundException", "no", ModelError::Refused("ResourceNotFoundException".into())),
        (408, "ModelTimeoutException", "late", ModelError::Unavailable("ModelTimeoutException".into())),
        (500, "InternalServerException", "down", ModelError::Unavailable("InternalServerException".into())),
        (503, "ServiceUnavailableException", "down", ModelError::Unavailable("ServiceUnavailableException".into())),
    ];
    for (status, code, message, expected) in cases {
        let body = json!({ "message": message }).to_string().into_bytes();
        let (_server, bedrock) = answering(status, Some(code), body).await;
        assert_eq!(read(&bedrock).await, (String::new(), None, Some(expected)), "{code}");
    }
}

#[tokio::test]
async fn what_goes_wrong_within_a_reply_is_told_too() {
    let exception = |name: &'static str| frame("exception", name, &json!({ "message": "x" }));
    let cases = [
        (vec![word("half a wo")], "half a wo", "not available"),
        (vec![word("half"), word(" a wo")[..20].to_vec()], "half", "not available"),
        (vec![word("a"), stop("content_filtered")], "a", "filter"),
        (vec![word("a"), stop("guardrail_intervened")], "a", "filter"),
        (vec![word("a"), exception("throttlingException")], "a", "busy"),
        (vec![word("a"), exception("modelStreamErrorException")], "a", "not available"),
        (vec![word("a"), exception("internalServerException")], "a", "not available"),
        (vec![b"<html>hello</html>".to_vec()], "", "not available"),
    ];
    for (parts, expected, why) in cases {
        let (_server, bedrock) = answering(200, None, parts.concat()).await;
        let (text, _, error) = read(&bedrock).await;
        let error = error.unwrap().to_string();
        assert!(text == expected && error.contains(why), "{expected} {why}: {text} {error}");
    }
}
