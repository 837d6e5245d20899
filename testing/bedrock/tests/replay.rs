//! Tests of `ConverseStream` with the SDK's test clients, which replay traffic frame by frame.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../crates/models/tests/it/bedrock_support.rs"]
mod bedrock_support;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::test_util::{
    ReplayEvent, StaticReplayClient,
    dvr::{Event, ReplayingClient},
};
use aws_smithy_runtime_api::client::http::HttpClient;
use aws_smithy_types::body::SdkBody;
use base64::{Engine, prelude::BASE64_STANDARD};
use bedrock_support::{
    Case, assert_request, block_stop, cases, check, metadata, padded_word, prompt, read, reply, start, stop, word,
};
use models::Bedrock;
use serde_json::{Value, json};

const URI: &str = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/a.model-v1%3A0/converse-stream";

fn bedrock(client: impl HttpClient + 'static) -> Bedrock {
    let credentials = Credentials::new("id", "key", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .build();
    Bedrock::new(&config)
}

/// Returns one exchange as the SDK records it; with `whole`, the connection lasts to the end of the body. A second
/// request has nothing to replay and fails: one call is one request.
fn recording(status: u16, error_type: Option<&str>, body: &[Vec<u8>], whole: bool) -> ReplayingClient {
    let content_type = if error_type.is_some() { "application/json" } else { "application/vnd.amazon.eventstream" };
    let mut headers = json!({ "content-type": [content_type] });
    if let Some(error_type) = error_type {
        headers["x-amzn-errortype"] = json!([error_type]);
    }
    let mut actions = vec![
        json!({ "Request": { "request": { "uri": URI, "method": "POST", "headers": {} } } }),
        json!({ "Eof": { "ok": true, "direction": "Request" } }),
        json!({ "Response": { "response": { "Ok": { "status": status, "headers": headers } } } }),
    ];
    let data = |piece: &Vec<u8>| json!({ "Base64": BASE64_STANDARD.encode(piece) });
    actions.extend(body.iter().map(|piece| json!({ "Data": { "data": data(piece), "direction": "Response" } })));
    actions.push(json!({ "Eof": { "ok": whole, "direction": "Response" } }));
    let event = |action: Value| serde_json::from_value(json!({ "connection_id": 0, "action": action })).unwrap();
    let events: Vec<Event> = actions.into_iter().map(event).collect();
    ReplayingClient::new(events)
}

/// Checksums of frames recorded at Bedrock, in opentelemetry-python-contrib (`test_converse_stream_with_content.yaml`)
/// and pydantic-ai (`test_bedrock_model_stream.yaml`). The last four bytes of a frame cover all bytes before them. So
/// the frames of these tests equal the recorded ones to the last byte.
#[test]
fn the_frames_are_those_that_bedrock_sends() {
    let recorded = [
        (start(23), 0x3fec_1f44_u32),
        (padded_word("The", 47), 0xf5a9_fa93),
        (block_stop(5), 0xe71c_f0af),
        (stop(36, "max_tokens"), 0x4b47_7a4d),
        (metadata(11, 608, 8, 10), 0x8a24_2bfb),
    ];
    for (frame, checksum) in recorded {
        assert_eq!(frame[frame.len() - 4..], checksum.to_be_bytes(), "{}", String::from_utf8_lossy(&frame));
    }
}

#[tokio::test]
async fn every_end_of_a_reply_is_told_apart() {
    for case in cases() {
        let Case { status, error_type, body, .. } = &case;
        check(&case, &bedrock(recording(*status, *error_type, body, true))).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_end() {
    let frames = reply();
    // The last two frames report the end and the token usage.
    let words = frames.len() - 2;
    let (text, _, error) = read(&bedrock(recording(200, None, &frames[..=words], false))).await;
    assert_eq!((text.as_str(), error), ("Héllo", None), "a whole reply is worth more than its price");
    for length in 0..=words {
        let client = recording(200, None, &frames[..length], false);
        let (text, _, error) = read(&bedrock(client)).await;
        let error = error.unwrap_or_else(|| panic!("{length} frames make no reply")).to_string();
        assert!(error.contains("not available"), "{error}");
        // Text in transit may be lost when the connection breaks.
        assert!("Héllo".starts_with(&text), "{text}");
    }
}

#[tokio::test]
async fn words_are_there_before_the_end_is() {
    // The rest never arrives: the body does not end.
    let (mut sender, body) = futures::channel::mpsc::channel::<Result<_, std::io::Error>>(4);
    sender.try_send(Ok(http_body::Frame::data(bytes::Bytes::from(word("one"))))).unwrap();
    let answer =
        http::Response::builder().status(200).body(SdkBody::from_body_1_x(http_body_util::StreamBody::new(body)));
    let request = http::Request::post(URI).body(SdkBody::empty()).unwrap();
    let client = StaticReplayClient::new(vec![ReplayEvent::new(request, answer.unwrap())]);
    let mut pieces = bedrock(client.clone()).reply("a.model-v1:0", prompt()).await.unwrap();
    let piece = futures::StreamExt::next(&mut pieces).await;
    assert!(format!("{piece:?}").contains("one"), "{piece:?}");
    let request = client.actual_requests().next().unwrap();
    assert_request(request.uri(), request.body().bytes().unwrap());
}
