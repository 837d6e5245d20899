//! Responses of known servers, and the expected end of each: the files in `tests/corpus`. Each case names the source of
//! its shape. A reply is the same wherever its bytes are cut.

use std::{collections::BTreeSet, convert::Infallible, fs, path::Path, time::Duration};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use chat::ports::language_model::{ModelError, Piece, Pieces, Prompt, Turn, Usage};
use futures::{StreamExt, stream};
use models::{Continuation, OpenAi};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::bedrock;

/// The cases of one server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    server: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The page, or the repository and path, that describes the shape.
    source: String,
    /// The beginning of a reply that the request asks to continue, and the way in which it does.
    prefix: Option<String>,
    continuation: Option<String>,
    /// A response to the first request, after which the server sends the other one.
    before: Option<Response>,
    response: Response,
    #[serde(default)]
    text: String,
    /// Tokens of the prompt and of the reply.
    usage: Option<(u64, u64)>,
    #[serde(default)]
    truncated: bool,
    /// Kind of the error that ends the reply.
    error: Option<String>,
    /// Wait that the server asks for, in milliseconds.
    retry_after_ms: Option<u64>,
    /// Number of requests. One reply is one request, unless the server refuses it for its form.
    #[serde(default = "one")]
    calls: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    /// Frames of Bedrock's event stream in place of a body: the kind, the name and the payload.
    #[serde(default)]
    frames: Vec<(String, String, Value)>,
}

fn ok() -> u16 {
    200
}

fn one() -> usize {
    1
}

impl Response {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.body.clone().into_bytes();
        for (kind, name, payload) in &self.frames {
            let text = |value: &str| HeaderValue::String(value.to_owned().into());
            let message = Message::new(payload.to_string())
                .add_header(Header::new(format!(":{kind}-type"), text(name)))
                .add_header(Header::new(":content-type", text("application/json")))
                .add_header(Header::new(":message-type", text(kind)));
            write_message_to(&message, &mut bytes).unwrap();
        }
        bytes
    }

    fn template(&self) -> ResponseTemplate {
        let mut content_type =
            if self.frames.is_empty() { "text/event-stream" } else { "application/vnd.amazon.eventstream" };
        for (name, value) in &self.headers {
            if name == "content-type" {
                content_type = value;
            }
        }
        let template = ResponseTemplate::new(self.status).set_body_raw(self.bytes(), content_type);
        let others = self.headers.iter().filter(|(name, _)| name != "content-type");
        others.fold(template, |template, (name, value)| template.insert_header(name.as_str(), value.as_str()))
    }
}

/// The end of a reply.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    text: String,
    usage: Option<(u64, u64)>,
    truncated: bool,
    error: Option<String>,
    retry_after: Option<Duration>,
}

impl Case {
    fn end(&self) -> End {
        End {
            text: self.text.clone(),
            usage: self.usage,
            truncated: self.truncated,
            error: self.error.clone(),
            retry_after: self.retry_after_ms.map(Duration::from_millis),
        }
    }

    fn is_of_bedrock(&self) -> bool {
        !self.response.frames.is_empty() || self.response.headers.iter().any(|(name, _)| name == "x-amzn-errortype")
    }

    fn prompt(&self) -> Prompt {
        let turns = vec![Turn { speaker: Some("alice".to_owned()), text: "hi".to_owned() }];
        Prompt { instructions: None, turns, model: None, prefix: self.prefix.clone() }
    }

    fn continuation(&self) -> Continuation {
        self.continuation.as_deref().map_or(Continuation::None, |name| Continuation::named(name).unwrap())
    }
}

fn kind(error: &ModelError) -> &'static str {
    match error {
        ModelError::Busy { .. } => "busy",
        ModelError::Unavailable(_) => "unavailable",
        ModelError::Malformed(_) => "malformed",
        ModelError::Oversized(_) => "oversized",
        ModelError::Filtered => "filtered",
        ModelError::TooLong => "too long",
        ModelError::Refused(_) => "refused",
    }
}

/// Reads a reply to its end, as the agent does.
async fn read(reply: Result<Pieces, ModelError>) -> End {
    let mut end = End::default();
    let error = match reply {
        Ok(mut pieces) => loop {
            match pieces.next().await {
                Some(Ok(Piece::Text(text))) => end.text.push_str(&text),
                Some(Ok(Piece::Usage(Usage { input_tokens, output_tokens }))) => {
                    end.usage = Some((input_tokens, output_tokens));
                }
                Some(Ok(Piece::Alive)) => {}
                Some(Ok(Piece::Retracted)) => end.text.clear(),
                Some(Ok(Piece::Truncated)) => end.truncated = true,
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        },
        Err(error) => Some(error),
    };
    end.error = error.as_ref().map(|error| kind(error).to_owned());
    if let Some(ModelError::Busy { retry_after }) = error {
        end.retry_after = retry_after;
    }
    end
}

fn servers() -> Vec<Server> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Calls a function with each case and its server's name.
fn cases() -> Vec<(String, Case)> {
    let cases_of = |server: Server| server.cases.into_iter().map(move |case| (server.server.clone(), case));
    servers().into_iter().flat_map(cases_of).collect()
}

#[test]
fn the_corpus_has_many_servers_and_a_source_for_each_case() {
    let (mut names, mut servers) = (BTreeSet::new(), BTreeSet::new());
    for (server, case) in cases() {
        let is_source = case.source.starts_with("https://") || case.source.split('/').count() > 2;
        assert!(is_source, "{server}, {}: {}", case.name, case.source);
        assert!(names.insert(format!("{server}, {}", case.name)), "{server}, {}: twice", case.name);
        servers.insert(server);
    }
    assert!(names.len() >= 60 && servers.len() >= 10, "{} cases, {} servers", names.len(), servers.len());
}

#[tokio::test]
async fn every_response_has_its_end_and_is_asked_for_once() {
    let server = MockServer::start().await;
    let (shared, bedrock) = (OpenAi::new(&server.uri(), None).unwrap(), bedrock::client(&server.uri()));
    let mut wrong = Vec::new();
    for (name, case) in cases() {
        server.reset().await;
        if let Some(before) = &case.before {
            Mock::given(method("POST")).respond_with(before.template()).up_to_n_times(1).mount(&server).await;
        }
        Mock::given(method("POST")).respond_with(case.response.template()).mount(&server).await;
        // A client remembers what its server refuses, and the way to continue a reply.
        let is_own = case.before.is_some() || case.prefix.is_some();
        let own = is_own.then(|| OpenAi::new(&server.uri(), None).unwrap().continuing(case.continuation()));
        let openai = own.as_ref().unwrap_or(&shared);
        let calls = async || server.received_requests().await.unwrap().len();
        let end = if case.is_of_bedrock() {
            read(bedrock.reply("a.model-v1:0", case.prompt()).await).await
        } else {
            read(openai.reply("small", case.prompt()).await).await
        };
        if end != case.end() || calls().await != case.calls {
            wrong.push(format!("{name}, {}: {end:?}, {} calls", case.name, calls().await));
        } else if case.calls > 1 {
            assert_eq!(read(openai.reply("small", case.prompt()).await).await, case.end(), "{name}, {}", case.name);
            assert_eq!(calls().await, case.calls + 1, "{name}, {}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Reads a body that arrives in these chunks.
async fn read_chunks(chunks: impl IntoIterator<Item = Vec<u8>>) -> End {
    let chunks: Vec<_> = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))).collect();
    read(Ok(OpenAi::pieces(stream::iter(chunks)))).await
}

#[tokio::test]
async fn a_reply_is_the_same_wherever_it_is_cut() {
    for (name, case) in cases().into_iter().filter(|(_, case)| !case.is_of_bedrock()) {
        let is_encoded = case.response.headers.iter().any(|(name, _)| name == "content-encoding");
        if case.response.status != 200 || case.prefix.is_some() || is_encoded {
            continue;
        }
        let (body, expected) = (case.response.bytes(), case.end());
        assert_eq!(read_chunks(body.iter().map(|byte| vec![*byte])).await, expected, "{name}, {}, by bytes", case.name);
        for cut in 0..=body.len() {
            let end = read_chunks([body[..cut].to_vec(), body[cut..].to_vec()]).await;
            assert_eq!(end, expected, "{name}, {}, cut at {cut}", case.name);
        }
    }
}

/// Starts a server that sends a body in two parts, as two chunks. Returns its URL.
async fn in_parts(body: &[u8], cut: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let parts = [body[..cut].to_vec(), body[cut..].to_vec()];
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut vec![0; 65_536]).await.unwrap();
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
            socket.write_all(&chunk).await.unwrap();
            socket.flush().await.unwrap();
        }
        socket.write_all(b"0\r\n\r\n").await.unwrap();
    });
    url
}

#[tokio::test]
async fn a_reply_of_bedrock_is_the_same_wherever_it_is_cut() {
    for (name, case) in cases().into_iter().filter(|(_, case)| !case.response.frames.is_empty()) {
        let (body, expected) = (case.response.bytes(), case.end());
        for cut in (0..body.len()).step_by(37) {
            let bedrock = bedrock::client(&in_parts(&body, cut).await);
            let end = read(bedrock.reply("a.model-v1:0", case.prompt()).await).await;
            assert_eq!(end, expected, "{name}, {}, cut at {cut}", case.name);
        }
    }
}

/// Generates lines of a stream: valid and faulty fields, comments, and line ends of all kinds.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        r#"data: {"choices":[{"delta":{"content":"a"}}]}"#,
        r#"data:{"choices":[{"delta":{"content":"é"}}]}"#,
        r#"data: {"choices":[{"delta":{"content":"</think>"}}]}"#,
        r#"data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
        r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#,
        r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#,
        r#"data: {"choices":"#,
        "data: []}",
        r#"data: {"error":"no"}"#,
        "data: [DONE]",
        "data:",
        "data",
        ": keep-alive",
        "event: ping",
        "event: error",
        "id: 1",
        "retry: 5",
        "{",
        "\u{feff}",
        "",
        "",
    ]);
    let end = prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\r\r"]);
    let lines = prop::collection::vec((line, end), 0..10);
    lines.prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end]).collect::<String>().into_bytes())
}

proptest! {
    #[test]
    fn any_stream_is_read_the_same_wherever_it_is_cut(body in lines(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let whole = runtime.block_on(read_chunks([body.clone()]));
        prop_assert_eq!(&runtime.block_on(read_chunks(body.iter().map(|byte| vec![*byte]))), &whole);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(&runtime.block_on(read_chunks(cuts.windows(2).map(|cut| body[cut[0]..cut[1]].to_vec()))), &whole);
    }
}
