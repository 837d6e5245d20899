#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Consumer tests of the JavaScript client (`clients/js`), which write a pact:
//! `target/pacts/switchboard-client-js-switchboard.json`. The client runs in Node against a mock of the provider, and reads
//! the frames of the pact.

mod channels;
mod frames;
mod messages;
mod recovery;
mod sending;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pact_consumer::{
    builders::{InteractionBuilder, PactBuilder},
    mock_server::StartMockServer,
    prelude::*,
};
use serde_json::{Value, json};

const TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$";
const ULID: &str = "^[0-9A-HJKMNP-TV-Z]{26}$";
/// An id of a message or a draft.
const ID: &str = "01JTYQ4X9M8Z4QY7V6A1B2C3D4";
const CHANNEL: &str = "/channels/general";
const MESSAGES: &str = "/channels/general/messages";
const MESSAGE: &str = "/channels/general/messages/1";
const REPLY: &str = "/channels/general/messages/1/reply";

/// Returns a pact of this consumer with the provider.
fn pact() -> PactBuilder {
    let pacts = std::env::var_os("PACT_OUTPUT_DIR").map_or_else(|| PathBuf::from("target/pacts"), PathBuf::from);
    let mut pact = PactBuilder::new_v4("switchboard-client-js", "switchboard");
    pact.with_output_dir(pacts);
    pact
}

/// Runs actions of the client. `driver.mjs` describes its input and output.
fn drive(input: &Value) -> Value {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/driver.mjs");
    let mut node = Command::new("node").arg(driver).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    node.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "the driver failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One interaction with the provider.
struct Exchange<'a> {
    description: &'a str,
    states: Vec<(&'a str, Value)>,
    describe: Box<dyn Fn(&mut InteractionBuilder) + 'a>,
}

/// Describes an interaction. States without parameters have `null`.
fn exchange<'a>(
    description: &'a str,
    states: &[(&'a str, Value)],
    describe: impl Fn(&mut InteractionBuilder) + 'a,
) -> Exchange<'a> {
    Exchange { description, states: states.to_vec(), describe: Box::new(describe) }
}

/// Runs actions of the client against a mock that responds as in `exchanges`, and then passes it `frames`.
fn converse(exchanges: &[Exchange<'_>], what: &Value, frames: Option<&Value>) -> Value {
    let mut pact = pact();
    for Exchange { description, states, describe } in exchanges {
        pact.interaction(*description, "", |mut i| {
            for (state, parameters) in states {
                if parameters.is_null() {
                    i.given(*state)
                } else {
                    i.given_with_params(*state, parameters)
                };
            }
            i.request.header("authorization", term!("^Bearer .+$", "Bearer token-1"));
            describe(&mut i);
            i
        });
    }
    let mock = pact.start_mock_server(None, None);
    let mut input = json!({ "rest": mock.url().as_str(), "do": what });
    if let Some(frames) = frames {
        input["frames"] = frames.clone();
    }
    drive(&input)
}

/// Sets a response with JSON of the form of `body`.
fn answers(i: &mut InteractionBuilder, status: u16, body: JsonPattern) {
    i.response.status(status).content_type("application/json").json_body(body);
}

/// Sets a problem as the response.
fn refuses(i: &mut InteractionBuilder, status: u16, code: &str) {
    i.response.status(status).content_type("application/problem+json");
    i.response.json_body(json_pattern!({
        "title": like!("A title"), "code": (code), "detail": like!("What is wrong."),
    }));
}

/// Returns the pattern of message `seq` of `general`, by alice.
fn message(seq: u64, content: &str) -> JsonPattern {
    json_pattern!({
        "channel_id": "general",
        "seq": (seq),
        "message_id": term!(ULID, ID),
        "version": 1,
        "sender_id": "alice",
        "role": "user",
        "content": (content),
        "content_type": "text/plain",
        "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    })
}

/// Describes a whole history, for which the mock says the number `rev` of the channel's last change.
fn page(rev: u64, messages: Vec<JsonPattern>) -> JsonPattern {
    json_pattern!({ "messages": (JsonPattern::Array(messages)), "has_more": false, "rev": like!(rev) })
}

/// Returns messages with these contents, from the number `first` on.
fn numbered(first: u64, contents: &[&str]) -> Vec<JsonPattern> {
    (first..).zip(contents).map(|(seq, content)| message(seq, content)).collect()
}

/// Describes the request that opens a channel.
fn opening<'a>(description: &'a str, states: &[(&'a str, Value)], rev: u64, contents: &'a [&'a str]) -> Exchange<'a> {
    exchange(description, states, move |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        let newest_first = numbered(1, contents).into_iter().rev().collect();
        answers(i, 200, page(rev, newest_first));
    })
}

/// Describes the request for the messages after the number `after`, which the client makes when a socket opens.
fn newer<'a>(
    description: &'a str,
    states: &[(&'a str, Value)],
    after: u64,
    rev: u64,
    contents: &'a [&'a str],
) -> Exchange<'a> {
    exchange(description, states, move |i| {
        i.request.get().path(MESSAGES).query_param("after", after.to_string()).query_param("limit", "100");
        answers(i, 200, page(rev, numbered(after + 1, contents)));
    })
}

/// Returns the state in which `general` has messages.
fn stored(count: u64) -> (&'static str, Value) {
    ("the channel has messages", json!({ "count": count }))
}

fn none() -> Value {
    Value::Null
}

/// Returns the numbers of the messages that the client holds.
fn seqs(output: &Value) -> Vec<u64> {
    output["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

/// Fails if the client has reported a failed recovery.
fn assert_no_problem(output: &Value) {
    assert!(output["events"].as_array().unwrap().iter().all(|event| event != "problem"), "{output}");
}
