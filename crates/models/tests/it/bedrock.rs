//! Bedrock's event stream, which the SDK reads from a local server.

use std::future::pending;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_bedrockruntime::config::{Credentials, SharedCredentialsProvider};
use futures::StreamExt;
use models::Bedrock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::bedrock_support::{
    Case, assert_request, block_stop, cases, check, metadata, padded_word, prompt, read, reply, start, stop, word,
};

/// Type of an event stream ("`ConverseStream`" in the reference of the Bedrock runtime).
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// Returns a client of a server at this URL.
pub(crate) fn client(url: &str) -> Bedrock {
    let credentials = Credentials::new("id", "key", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build();
    Bedrock::new(&config)
}

/// End of a response, after the pieces of its body.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The end of the body.
    End,
    /// The end of the connection, in the middle of the body.
    Break,
    /// Nothing: the connection stays open.
    Silence,
}

/// Starts a server that sends one response piece by piece, and returns a client of it. A second request is refused: one
/// call is one request, because the agent counts calls and decides on retries.
async fn in_pieces(status: u16, error_type: Option<&str>, body: &[Vec<u8>], then: Then) -> (Bedrock, JoinHandle<()>) {
    let content_type = if error_type.is_some() { "application/json" } else { EVENT_STREAM };
    let error_type = error_type.map(|name| format!("x-amzn-errortype: {name}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\n{error_type}connection: close\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = body.to_vec();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        stream.set_nodelay(true).unwrap();
        receive(&mut stream).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        for piece in body {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            // The client may have read enough.
            let _ = stream.write_all(&chunk).await;
            tokio::task::yield_now().await;
        }
        match then {
            Then::End => _ = stream.write_all(b"0\r\n\r\n").await,
            Then::Break => {}
            Then::Silence => pending().await,
        }
    });
    (client(&url), server)
}

/// Reads a request to its end.
async fn receive(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let length = stream.read(&mut part).await.unwrap();
        assert!(length > 0, "the request ended early");
        bytes.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let (_, rest) = head.split_once("content-length: ").unwrap();
        if body.len() >= rest.lines().next().unwrap().parse().unwrap() {
            return;
        }
    }
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
async fn the_conversation_goes_out_and_the_words_come_back() {
    let answer = ResponseTemplate::new(200).set_body_raw(reply().concat(), EVENT_STREAM);
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).expect(1).mount(&server).await;
    assert_eq!(read(&client(&server.uri())).await.0, "Héllo");
    let request = server.received_requests().await.unwrap().remove(0);
    assert_request(request.url.path(), &request.body);
}

#[tokio::test]
async fn every_end_of_a_reply_is_told_apart() {
    for case in cases() {
        let Case { status, error_type, body, .. } = &case;
        let (bedrock, _server) = in_pieces(*status, *error_type, body, Then::End).await;
        check(&case, &bedrock).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_end() {
    let frames = reply();
    // The last two frames report the end and the token usage.
    let words = frames.len() - 2;
    let (bedrock, _server) = in_pieces(200, None, &frames[..=words], Then::Break).await;
    let (text, _, error) = read(&bedrock).await;
    assert_eq!((text.as_str(), error), ("Héllo", None), "a whole reply is worth more than its price");
    for length in 0..=words {
        let (bedrock, _server) = in_pieces(200, None, &frames[..length], Then::Break).await;
        let (text, _, error) = read(&bedrock).await;
        let error = error.unwrap_or_else(|| panic!("{length} frames make no reply")).to_string();
        assert!(error.contains("not available"), "{error}");
        // Text in transit may be lost when the connection breaks.
        assert!("Héllo".starts_with(&text), "{text}");
    }
}

#[tokio::test]
async fn words_are_there_before_the_end_is() {
    let (bedrock, server) = in_pieces(200, None, &[word("one")], Then::Silence).await;
    let mut pieces = bedrock.reply("a.model-v1:0", prompt()).await.unwrap();
    let piece = pieces.next().await;
    assert!(format!("{piece:?}").contains("one"), "{piece:?}");
    server.abort();
}
