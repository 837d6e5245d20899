//! Responses of Bedrock, frame by frame, and the expected result of each.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use chat::ports::language_model::{ModelError, Piece, Prompt, Turn, Usage};
use futures::StreamExt;
use models::Bedrock;
use serde_json::{Value, json};

/// Returns a frame as Bedrock sends it; `kind` is `event` or `exception`. The order of the headers and of the payloads'
/// fields, with their padding `p`, is that of recorded responses. The checksum test verifies it.
pub(crate) fn frame(kind: &'static str, name: &'static str, payload: &str) -> Vec<u8> {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let message = Message::new(payload.to_owned())
        .add_header(Header::new(if kind == "event" { ":event-type" } else { ":exception-type" }, text(name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text(kind)));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

/// Returns padding, which hides the length of a frame's text.
fn padding(length: usize) -> String {
    ('a'..='z').chain('A'..='Z').chain('0'..='9').take(length).collect()
}

pub(crate) fn start(padded: usize) -> Vec<u8> {
    frame("event", "messageStart", &format!(r#"{{"p":"{}","role":"assistant"}}"#, padding(padded)))
}

pub(crate) fn word(text: &str) -> Vec<u8> {
    padded_word(text, text.len())
}

pub(crate) fn padded_word(text: &str, padded: usize) -> Vec<u8> {
    let (text, p) = (json!(text), padding(padded));
    frame("event", "contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":{text}}},"p":"{p}"}}"#))
}

pub(crate) fn block_stop(padded: usize) -> Vec<u8> {
    frame("event", "contentBlockStop", &format!(r#"{{"contentBlockIndex":0,"p":"{}"}}"#, padding(padded)))
}

pub(crate) fn stop(padded: usize, reason: &str) -> Vec<u8> {
    frame("event", "messageStop", &format!(r#"{{"p":"{}","stopReason":"{reason}"}}"#, padding(padded)))
}

pub(crate) fn metadata(padded: usize, latency: u32, input: u64, output: u64) -> Vec<u8> {
    let (p, total) = (padding(padded), input + output);
    let payload = format!(
        r#"{{"metrics":{{"latencyMs":{latency}}},"p":"{p}","usage":{{"inputTokens":{input},"outputTokens":{output},"totalTokens":{total}}}}}"#
    );
    frame("event", "metadata", &payload)
}

fn exception(name: &'static str, message: &str) -> Vec<u8> {
    frame("exception", name, &json!({ "message": message }).to_string())
}

/// A response of Bedrock, and the expected result.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) status: u16,
    /// `x-amzn-ErrorType` of an error response.
    pub(crate) error_type: Option<&'static str>,
    /// The body, in the pieces in which it arrives.
    pub(crate) body: Vec<Vec<u8>>,
    pub(crate) text: &'static str,
    pub(crate) usage: Option<Usage>,
    /// The text of the error, if the reply ends in one.
    pub(crate) error: Option<&'static str>,
}

impl Case {
    fn whole(what: &'static str, body: Vec<Vec<u8>>, text: &'static str) -> Self {
        let usage = Some(Usage { input_tokens: 9, output_tokens: 3 });
        Self { what, status: 200, error_type: None, body, text, usage, error: None }
    }

    fn broken(what: &'static str, body: Vec<Vec<u8>>, text: &'static str, error: &'static str) -> Self {
        Self { what, status: 200, error_type: None, body, text, usage: None, error: Some(error) }
    }

    fn refused(status: u16, error_type: &'static str, message: &'static str, error: &'static str) -> Self {
        let body = vec![json!({ "message": message }).to_string().into_bytes()];
        Self { what: message, status, error_type: Some(error_type), body, text: "", usage: None, error: Some(error) }
    }
}

/// Returns the frames of a complete reply.
pub(crate) fn reply() -> Vec<Vec<u8>> {
    vec![start(23), word("Hé"), word("llo"), block_stop(5), stop(36, "end_turn"), metadata(11, 608, 9, 3)]
}

pub(crate) fn cases() -> Vec<Case> {
    let split = |cut: usize| {
        let bytes = reply().concat();
        vec![bytes[..cut].to_vec(), bytes[cut..].to_vec()]
    };
    let thinking = r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}},"p":"abc"}"#;
    let unknown = frame("event", "somethingNew", "{}");
    let mut with_others = reply();
    with_others.splice(1..1, [frame("event", "contentBlockDelta", thinking), unknown]);
    vec![
        Case::whole("a reply", reply(), "Héllo"),
        Case::whole("a reply in one piece", vec![reply().concat()], "Héllo"),
        Case::whole("a reply cut within a frame's length", split(2), "Héllo"),
        Case::whole("a reply cut within a letter", split(start(23).len() + word("Hé").len() / 2), "Héllo"),
        Case::whole("a reply with thoughts and with events of tomorrow", with_others, "Héllo"),
        Case::refused(429, "ThrottlingException:http://internal.amazon.com/", "slow down", "busy"),
        Case::refused(400, "ServiceQuotaExceededException", "over quota", "busy"),
        Case::refused(400, "ValidationException", "Input is too long for requested model.", "too long"),
        Case::refused(400, "ValidationException", "prompt is too long: 200049 tokens > 200000 maximum", "too long"),
        Case::refused(400, "ValidationException", "Too many input tokens. Max input tokens: 8192", "too long"),
        Case::refused(400, "ValidationException", "The provided model identifier is invalid.", "refused"),
        Case::refused(403, "AccessDeniedException", "no access", "refused"),
        Case::refused(404, "ResourceNotFoundException", "no model", "refused"),
        Case::refused(408, "ModelTimeoutException", "late", "not available"),
        Case::refused(424, "ModelErrorException", "failed", "not available"),
        Case::refused(429, "ModelNotReadyException", "not ready", "not available"),
        Case::refused(500, "InternalServerException", "down", "not available"),
        Case::refused(503, "ServiceUnavailableException", "unavailable", "not available"),
        Case::broken("it ends without an end", vec![start(3), word("half a wo")], "half a wo", "not available"),
        Case::broken("it ends in a frame", vec![word("half"), word(" a wo")[..20].to_vec()], "half", "not available"),
        Case::broken("a frame is damaged", vec![word("a"), damaged(word("b"))], "a", "not available"),
        Case::broken("the filter", vec![word("a"), stop(3, "content_filtered")], "a", "filter"),
        Case::broken("a guardrail", vec![word("a"), stop(3, "guardrail_intervened")], "a", "filter"),
        Case::broken("a full context", vec![stop(3, "model_context_window_exceeded")], "", "too long"),
        Case::broken("throttled", vec![word("a"), exception("throttlingException", "x")], "a", "busy"),
        Case::broken(
            "too long, found out late",
            vec![start(3), exception("validationException", "Input is too long for requested model.")],
            "",
            "too long",
        ),
        Case::broken("invalid", vec![exception("validationException", "x")], "", "refused"),
        Case::broken("failed", vec![word("a"), exception("modelStreamErrorException", "x")], "a", "not available"),
        Case::broken("down", vec![word("a"), exception("internalServerException", "x")], "a", "not available"),
        Case::broken("away", vec![word("a"), exception("serviceUnavailableException", "x")], "a", "not available"),
        Case::broken("not Bedrock", vec![b"<html>hello</html>".to_vec()], "", "violates its protocol"),
    ]
}

fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    let last = frame.len() - 1;
    frame[last] ^= 1;
    frame
}

pub(crate) fn prompt() -> Prompt {
    let turn = |speaker: Option<&str>, text: &str| Turn { speaker: speaker.map(str::to_owned), text: text.to_owned() };
    let turns = vec![turn(Some("alice"), "hi"), turn(None, "hello"), turn(Some("bob"), "and now?")];
    Prompt { instructions: Some("Be brief.".to_owned()), turns, model: None, prefix: None }
}

/// Checks the request for [`prompt`].
pub(crate) fn assert_request(uri: &str, body: &[u8]) {
    assert!(uri.ends_with("/model/a.model-v1%3A0/converse-stream"), "{uri}");
    let sent: Value = serde_json::from_slice(body).unwrap();
    assert!(sent["system"][0]["text"].as_str().unwrap().ends_with("Be brief."));
    let roles: Vec<&str> =
        sent["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(sent["messages"][2]["content"][0]["text"], r#"{"from":"bob","text":"and now?"}"#);
}

/// Returns the text of a reply, its usage, and its error.
pub(crate) async fn read(bedrock: &Bedrock) -> (String, Option<Usage>, Option<ModelError>) {
    let mut pieces = match bedrock.reply("a.model-v1:0", prompt()).await {
        Ok(pieces) => pieces,
        Err(error) => return (String::new(), None, Some(error)),
    };
    let (mut text, mut usage) = (String::new(), None);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(Piece::Text(piece)) => text.push_str(&piece),
            Ok(Piece::Usage(used)) => usage = Some(used),
            Ok(_) => {}
            Err(error) => return (text, usage, Some(error)),
        }
    }
    (text, usage, None)
}

pub(crate) async fn check(case: &Case, bedrock: &Bedrock) {
    let (text, usage, error) = read(bedrock).await;
    let said = error.map(|error| error.to_string());
    let as_expected = match (&said, case.error) {
        (Some(said), Some(expected)) => said.contains(expected),
        (said, expected) => said.is_none() && expected.is_none(),
    };
    assert!(as_expected, "{}: {said:?}", case.what);
    assert_eq!((text.as_str(), usage), (case.text, case.usage), "{}", case.what);
}
