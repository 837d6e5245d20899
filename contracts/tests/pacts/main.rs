#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Consumer tests of this client, which write a pact: `target/pacts/switchboard-client-rust-switchboard.json`.

mod frames;
mod messages;
mod problems;
mod requests;
mod tolerance;

use std::{future::Future, path::PathBuf};

use pact_consumer::{
    builders::{InteractionBuilder, PactBuilder},
    mock_server::StartMockServer,
    prelude::*,
};
use serde_json::{Value, json};
use switchboard_client::{Api, Page};

/// Returns a pact of this consumer with the provider.
fn pact() -> PactBuilder {
    let pacts = std::env::var_os("PACT_OUTPUT_DIR").map_or_else(|| PathBuf::from("target/pacts"), PathBuf::from);
    let mut pact = PactBuilder::new_v4("switchboard-client-rust", "switchboard");
    pact.with_output_dir(pacts);
    pact
}

/// Adds states with their parameters.
fn given(interaction: &mut InteractionBuilder, states: &[(&str, Value)]) {
    for (state, parameters) in states {
        if parameters.is_null() {
            interaction.given(*state);
        } else {
            interaction.given_with_params(*state, parameters);
        }
    }
}

/// Describes an interaction, and runs it with the real client against a mock of Switchboard. The mock responds only to
/// described requests.
async fn exchange<F: Future<Output = ()>>(
    description: &str,
    states: &[(&str, Value)],
    describe: impl FnOnce(&mut InteractionBuilder),
    converse: impl FnOnce(Api) -> F,
) {
    let mock = pact()
        .interaction(description, "", |mut interaction| {
            given(&mut interaction, states);
            interaction.request.header("authorization", term!("^Bearer .+$", "Bearer token"));
            describe(&mut interaction);
            interaction
        })
        .start_mock_server(None, None);
    converse(Api::new(mock.url().as_str(), "token").unwrap()).await;
}

/// Sets a response with JSON of the form of `body`.
fn answers(interaction: &mut InteractionBuilder, status: u16, body: JsonPattern) {
    interaction.response.status(status).content_type("application/json").json_body(body);
}

const KEY: &str = "5c1f7a9e-6d0b-4a6e-9a53-5d2b0a9e7f11";
const MERGE_PATCH: &str = "application/merge-patch+json";
const TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$";
const ULID: &str = "^[0-9A-HJKMNP-TV-Z]{26}$";

/// Returns the pattern of message `seq` of `general`, by `sender`.
fn message(seq: u64, sender: &str, content: &str) -> JsonPattern {
    json_pattern!({
        "channel_id": "general",
        "seq": (seq),
        "message_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
        "version": like!(1),
        "sender_id": (sender),
        "role": "user",
        "content": (content),
        "content_type": "text/plain",
        "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    })
}

/// Returns a message as the server may send it, with a field that this client does not know.
fn stored(seq: u64, content: &str) -> Value {
    json!({
        "channel_id": "general", "seq": seq, "message_id": "01JTYQ4X9M8Z4QY7V6A1B2C3D4", "version": 1, "sender_id": "bob",
        "role": "user", "content": content, "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z",
        "mood": { "x": [1] },
    })
}

/// Returns a page of messages that was read when `rev` was the channel's newest change.
fn page(messages: Vec<Value>, rev: u64) -> Page {
    serde_json::from_value(json!({ "messages": messages, "has_more": false, "rev": rev, "took_ms": 3 })).unwrap()
}

/// Returns `pattern` with additional fields, which replace those of the same names.
fn with(pattern: JsonPattern, more: Vec<(&str, JsonPattern)>) -> JsonPattern {
    let JsonPattern::Object(mut fields) = pattern else { panic!("an object is extended") };
    fields.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    JsonPattern::Object(fields)
}

/// Returns the pattern of the channel `general` with the name `name`.
fn channel(name: &str, last_seq: u64) -> JsonPattern {
    json_pattern!({
        "channel_id": "general",
        "name": (name),
        "visibility": "public",
        "agent": { "mode": term!("^(always|mention|off)$", "off") },
        "read_receipts": false,
        "version": like!(1),
        "last_seq": (last_seq),
        "created_at": term!(TIME, "2026-05-01T09:00:00.000Z"),
    })
}

/// Returns the pattern of a member of `general`.
fn member(user: &str, role: &str) -> JsonPattern {
    json_pattern!({
        "channel_id": "general", "user_id": (user), "role": (role),
        "joined_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    })
}

/// Returns the state in which `general` has messages.
fn messages(count: u64) -> (&'static str, Value) {
    ("the channel has messages", json!({ "count": count }))
}

fn none() -> Value {
    json!(null)
}
