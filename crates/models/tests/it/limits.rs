//! Servers that send without end, or invalid data: the number of bytes read, their cost, and the result.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use chat::ports::language_model::{ModelError, Piece, Pieces, Prompt, Turn, Usage};
use futures::{Stream, StreamExt, future::ready, stream};
use models::{
    OpenAi,
    limits::{CODE_CHARS, EVENT_BYTES, REFUSAL_BYTES, REPLY_BYTES, RETRY_AFTER, ReplyLimits, TOKENS},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::bedrock;

/// Returns whether an error is the expected one of a case.
type Expected = fn(&ModelError) -> bool;

/// Maximum number of bytes that were sent but not read, in the buffers of both ends of a connection.
const BUFFERED: usize = 32 * 1024 * 1024;

fn prompt() -> Prompt {
    let turns = vec![Turn { speaker: Some("alice".to_owned()), text: "hi".to_owned() }];
    Prompt { instructions: None, turns, model: None, prefix: None }
}

/// Returns `head` and endless repetitions of `unit`, in chunks of that size, and the number of bytes taken.
fn endless(
    head: &str,
    unit: &str,
    chunk: usize,
) -> (impl Stream<Item = Result<Bytes, Infallible>> + use<>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let (units, period) = (Bytes::from(unit.repeat(chunk / unit.len() + 2)), unit.len());
    let counter = taken.clone();
    let head = stream::iter(head.as_bytes().chunks(chunk).map(Bytes::copy_from_slice).collect::<Vec<_>>());
    let rest = stream::iter((0_usize..).map(move |turn| {
        let start = turn * chunk % period;
        units.slice(start..start + chunk)
    }));
    let body = head.chain(rest).inspect(move |chunk| {
        counter.fetch_add(chunk.len(), Ordering::Relaxed);
    });
    (body.map(Ok), taken)
}

/// Returns the text, and the error.
async fn read(mut pieces: Pieces) -> (String, Option<ModelError>) {
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(Piece::Text(piece)) => text.push_str(&piece),
            Ok(_) => {}
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

/// A body without end.
struct Endless {
    what: &'static str,
    head: &'static str,
    unit: &'static str,
    /// Number of bytes that are sent per byte of one endless event. `None` means that only the whole reply is too long.
    sent: Option<usize>,
}

const ENDLESS: [Endless; 12] = [
    Endless { what: "a line", head: "data: {\"choices\":\"", unit: "x", sent: Some(1) },
    Endless { what: "a line of letters of two bytes", head: "data: ", unit: "é", sent: Some(1) },
    Endless { what: "lines of one event", head: "", unit: "data: x\r\n", sent: Some(5) },
    Endless { what: "empty lines of one event", head: "", unit: "data\n", sent: Some(5) },
    Endless { what: "a name", head: "event: ", unit: "x", sent: Some(1) },
    Endless { what: "an id", head: "id: ", unit: "x", sent: Some(1) },
    Endless { what: "a comment", head: ": ", unit: "x", sent: None },
    Endless { what: "comments", head: "", unit: ": still here\n\n", sent: None },
    Endless { what: "a field that is none", head: "", unit: "x", sent: None },
    Endless { what: "empty lines", head: "", unit: "\r", sent: None },
    Endless { what: "waits", head: "", unit: "retry: 10\n\n", sent: None },
    Endless {
        what: "events",
        head: "",
        unit: "data: {\"choices\":[{\"delta\":{\"content\":\"\\u0000\"}}]}\n\n",
        sent: None,
    },
];

/// Reads each endless body in chunks of that size.
async fn read_all(limits: ReplyLimits, chunk: usize) {
    for Endless { what, head, unit, sent } in ENDLESS {
        let (body, taken) = endless(head, unit, chunk);
        let (_, error) = read(OpenAi::pieces_within(body, limits)).await;
        let error = error.unwrap_or_else(|| panic!("{what}, cut by {chunk}: it ended"));
        assert!(matches!(error, ModelError::Oversized(_)), "{what}, cut by {chunk}: {error}");
        assert!(!error.is_transient(), "the call is not retried");
        let of_event = sent.map_or(usize::MAX, |sent| (limits.event_bytes + 2) * sent + head.len());
        let most = of_event.min(limits.reply_bytes) + chunk;
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken <= most, "{what}, cut by {chunk}: {taken} bytes were taken, {most} suffice");
    }
}

#[tokio::test]
async fn no_body_is_read_without_end_wherever_it_is_cut() {
    for chunk in (1..40).chain([999, 1_000, 1_001, 5_999, 6_000, 6_001, 100_000]) {
        read_all(ReplyLimits { event_bytes: 1_000, reply_bytes: 6_000 }, chunk).await;
    }
    read_all(ReplyLimits::default(), 64 * 1024).await;
}

#[tokio::test]
async fn what_is_as_long_as_it_may_be_is_read() {
    let word = |text: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    let text = "x".repeat(EVENT_BYTES - word("").len());
    let event = format!("data: {}\n\n", word(&text));
    let body = |event: &str| stream::iter([Ok::<_, Infallible>(Bytes::from(event.to_owned()))]);
    assert_eq!(read(OpenAi::pieces(body(&event))).await, (text.clone(), None));
    let longer = format!("data: {}\n\n", word(&(text + "x")));
    assert!(matches!(read(OpenAi::pieces(body(&longer))).await.1, Some(ModelError::Oversized(_))));
    // A complete reply is accepted, even if invalid data follows.
    let (after, _) = endless(&format!("data: {}\n\n: ", word("done")), "x", 64 * 1024);
    assert_eq!(read(OpenAi::pieces(after)).await, ("done".to_owned(), None));
}

/// Eight times the bytes take about eight times as long. Reading a line again with each chunk would take 64 times as
/// long.
#[tokio::test]
async fn the_work_grows_with_what_is_sent_and_no_faster() {
    let shortest = async |bytes: usize| {
        let limits = ReplyLimits { event_bytes: usize::MAX, reply_bytes: bytes };
        let mut shortest = Duration::MAX;
        for _ in 0..5 {
            let line: Vec<Bytes> = vec![Bytes::from(vec![b'x'; 256]); bytes / 256 - 1];
            let body = stream::iter([Bytes::from_static(b"data: ")].into_iter().chain(line).map(Ok::<_, Infallible>));
            let pieces = OpenAi::pieces_within(body, limits);
            let begun = Instant::now();
            assert!(matches!(read(pieces).await.1, Some(ModelError::Unavailable(_))));
            shortest = shortest.min(begun.elapsed());
        }
        shortest.as_secs_f64()
    };
    let mut pairs = Vec::new();
    // A busy machine may stop the longer of a pair. It never makes work that grows faster look linear.
    for _ in 0..10 {
        let (short, long) = (shortest(512 * 1024).await, shortest(4 * 1024 * 1024).await);
        if long < short * 24.0 {
            return;
        }
        pairs.push((short, long));
    }
    panic!("seconds, and those for eight times as much: {pairs:?}");
}

/// Starts a server that sends `head`, and then `unit` until the client closes the connection. Returns its URL, the
/// number of requests, and the number of bytes sent.
async fn flood(head: String, unit: Vec<u8>) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (calls, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (called, counter) = (calls.clone(), sent.clone());
    let block = unit.repeat((64 * 1024_usize).div_ceil(unit.len()));
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut vec![0; 65_536]).await.unwrap();
            called.fetch_add(1, Ordering::Relaxed);
            let _ = socket.write_all(head.as_bytes()).await;
            while socket.write_all(&block).await.is_ok() {
                counter.fetch_add(block.len(), Ordering::Relaxed);
            }
        }
    });
    (url, calls, sent)
}

/// Returns the head of a response whose body ends with the connection.
fn head(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

async fn ask(openai: &OpenAi) -> (String, Option<ModelError>) {
    match openai.reply("small", prompt()).await {
        Ok(pieces) => read(pieces).await,
        Err(error) => (String::new(), Some(error)),
    }
}

#[tokio::test]
async fn a_server_that_never_ends_is_hung_up_on() {
    let oversized = |error: &ModelError| matches!(error, ModelError::Oversized(_));
    let refused = |error: &ModelError| *error == ModelError::Refused("status 400 ".to_owned());
    let unavailable = |error: &ModelError| *error == ModelError::Unavailable("status 500 ".to_owned());
    let no_answer = |error: &ModelError| matches!(error, ModelError::Unavailable(_));
    let cases: [(&str, String, &[u8], usize, Expected); 5] = [
        ("a line", head("200 OK") + "data: ", b"x", EVENT_BYTES, oversized),
        ("comments", head("200 OK"), b": x\n\n", REPLY_BYTES, oversized),
        ("a refusal", head("400 Bad Request"), b"{\"error\":", REFUSAL_BYTES, refused),
        ("a failure", head("500 Internal Server Error"), b" ", REFUSAL_BYTES, unavailable),
        ("headers", "HTTP/1.1 200 OK\r\n".to_owned(), b"x-header: x\r\n", EVENT_BYTES, no_answer),
    ];
    for (what, head, unit, limit, is_expected) in cases {
        let (url, calls, sent) = flood(head, unit.to_vec()).await;
        let (_, error) = ask(&OpenAi::new(&url, None).unwrap()).await;
        assert!(error.as_ref().is_some_and(is_expected), "{what}: {error:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{what}");
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent <= limit + BUFFERED, "{what}: {sent} bytes");
    }
}

#[tokio::test]
async fn silly_values_are_cut_to_size() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": u64::MAX, "completion_tokens": u64::MAX } });
    let body = Bytes::from(format!("data: {{\"choices\":[{{\"finish_reason\":\"stop\"}}]}}\n\ndata: {usage}\n\n"));
    let pieces = OpenAi::pieces(stream::iter([Ok::<_, Infallible>(body)]));
    let pieces: Vec<_> = pieces.map(Result::unwrap).filter(|piece| ready(*piece != Piece::Alive)).collect().await;
    assert_eq!(pieces, [Piece::Usage(Usage { input_tokens: TOKENS, output_tokens: TOKENS })]);

    let code = json!({ "error": { "code": "c\r\n ".repeat(9_000) } });
    let answers = [
        (
            format!("{}{code}", head("400 Bad Request")),
            ModelError::Refused(format!("status 400 {}", "c".repeat(CODE_CHARS))),
        ),
        (
            "HTTP/1.1 429 Busy\r\nretry-after: 18446744073709551615\r\nconnection: close\r\n\r\n".to_owned(),
            ModelError::Busy { retry_after: Some(RETRY_AFTER) },
        ),
        (
            "HTTP/1.1 429 Busy\r\nretry-after: 99999999999999999999999999\r\nconnection: close\r\n\r\n".to_owned(),
            ModelError::Busy { retry_after: Some(RETRY_AFTER) },
        ),
    ];
    for (answer, expected) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut vec![0; 65_536]).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        assert_eq!(ask(&OpenAi::new(&url, None).unwrap()).await, (String::new(), Some(expected)));
    }
}

/// Returns a frame of Bedrock's event stream.
fn frame(name: &'static str, payload: Vec<u8>) -> Vec<u8> {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let message = Message::new(payload)
        .add_header(Header::new(":event-type", text(name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text("event")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn bedrock_is_hung_up_on_too() {
    let of = |status: &str, error: &str| {
        let content_type = "application/vnd.amazon.eventstream";
        format!("HTTP/1.1 {status}\r\n{error}content-type: {content_type}\r\nconnection: close\r\n\r\n")
    };
    let reply = of("200 OK", "");
    let huge = frame("contentBlockDelta", vec![b'x'; 2 * EVENT_BYTES]);
    let delta = |delta: Value| {
        frame("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": delta }).to_string().into_bytes())
    };
    let thoughts = delta(json!({ "reasoningContent": { "text": "hm, ".repeat(4_000) } }));
    let control = delta(json!({ "text": "\u{1}".repeat(4_000) }));
    let oversized = |error: &ModelError| matches!(error, ModelError::Oversized(_));
    let malformed = |error: &ModelError| matches!(error, ModelError::Malformed(_));
    let unavailable = |error: &ModelError| matches!(error, ModelError::Unavailable(text) if text.contains("503"));
    let refused = |error: &ModelError| matches!(error, ModelError::Refused(text) if text.contains("400"));
    let cases: [(&str, String, Vec<u8>, usize, Expected); 6] = [
        ("a frame", reply.clone(), huge, EVENT_BYTES, oversized),
        ("thoughts", reply.clone(), thoughts, REPLY_BYTES, oversized),
        ("control characters", reply.clone(), control, REPLY_BYTES, oversized),
        ("not Bedrock", reply, b"<html>hello</html>".to_vec(), EVENT_BYTES, malformed),
        ("a failure", of("503 Service Unavailable", ""), b" ".to_vec(), REFUSAL_BYTES, unavailable),
        (
            "a refusal",
            of("400 Bad Request", "x-amzn-errortype: ValidationException\r\n"),
            b"{\"message\":\"".to_vec(),
            REFUSAL_BYTES,
            refused,
        ),
    ];
    for (what, head, unit, limit, is_expected) in cases {
        let (url, calls, sent) = flood(head, unit).await;
        let error = match bedrock::client(&url).reply("a.model-v1:0", prompt()).await {
            Ok(pieces) => read(pieces).await.1,
            Err(error) => Some(error),
        };
        assert!(error.as_ref().is_some_and(is_expected), "{what}: {error:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{what}");
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent <= limit + BUFFERED, "{what}: {sent} bytes");
    }
}
