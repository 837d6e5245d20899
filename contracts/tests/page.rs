#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Consumer tests of the page. Its client (`clients/js/src/client.js`) runs in Node against a mock of
//! the provider, and reads the frames of the pact: `target/pacts/switchboard-page-switchboard.json`.

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

type States<'a> = Vec<(&'a str, Value)>;

const TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$";
const ULID: &str = "^[0-9A-HJKMNP-TV-Z]{26}$";
const KEY: &str = "5c1f7a9e-6d0b-4a6e-9a53-5d2b0a9e7f11";
const MESSAGES: &str = "/channels/general/messages";

fn pact() -> PactBuilder {
    let pacts = std::env::var_os("PACT_OUTPUT_DIR").map_or_else(|| PathBuf::from("target/pacts"), PathBuf::from);
    let mut pact = PactBuilder::new_v4("switchboard-page", "switchboard");
    pact.with_output_dir(pacts);
    pact
}

/// Runs actions of the page's client.
fn drive(input: &Value) -> Value {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/driver.mjs");
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

fn answers(i: &mut InteractionBuilder, status: u16, body: JsonPattern) {
    i.response.status(status).content_type("application/json").json_body(body);
}

fn refuses(i: &mut InteractionBuilder, status: u16) {
    i.response.status(status).content_type("application/problem+json");
    i.response.json_body(json_pattern!({ "title": like!("A title"), "detail": like!("What is wrong.") }));
}

fn message(seq: u64, content: &str) -> JsonPattern {
    json_pattern!({
        "channel_id": "general",
        "seq": (seq),
        "message_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
        "sender_id": "alice",
        "role": "user",
        "content": (content),
        "content_type": "text/plain",
        "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    })
}

fn page(messages: Vec<JsonPattern>, has_more: bool) -> JsonPattern {
    json_pattern!({ "messages": (JsonPattern::Array(messages)), "has_more": (has_more) })
}

fn stored(count: u64) -> (&'static str, Value) {
    ("the channel has messages", json!({ "count": count }))
}

fn none() -> Value {
    Value::Null
}

fn seqs(output: &Value) -> Vec<u64> {
    output["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

#[test]
fn the_list_of_channels() {
    let states = [("a user is a member", none()), stored(2)];
    let list = exchange("the page's channels", &states, |i| {
        i.request.get().path("/channels");
        let channel = json_pattern!({
            "channel_id": "general", "name": "General", "visibility": "public",
            "last_seq": like!(2), "unread_count": like!(2), "agent": { "mode": "off" },
        });
        answers(i, 200, json_pattern!({ "channels": each_like!(channel), "has_more": false }));
    });
    let output = converse(&[list], &json!([["channels"]]), None);
    assert_eq!(output["results"][0]["value"][0]["channel_id"], "general");
}

#[test]
fn a_channel_is_joined_and_made_when_there_is_none() {
    let path = "/channels/general/members/alice";
    let exists = [("a channel exists", none())];
    let join = exchange("the page joins", &exists, |i| {
        i.request.put().path(path);
        answers(i, 201, json_pattern!({ "channel_id": "general", "user_id": "alice", "role": "member" }));
    });
    let output = converse(&[join], &json!([["joinOrCreate", "general"]]), None);
    assert_eq!(output["results"][0]["value"]["role"], "member");
    let nothing = [("nothing exists", none())];
    let join = exchange("the page joins what is not there", &nothing, |i| {
        i.request.put().path(path);
        refuses(i, 404);
    });
    let create = exchange("the page makes a channel", &nothing, |i| {
        i.request.post().path("/channels").json_body(json_pattern!({
            "channel_id": "general", "name": "general", "visibility": "public", "agent": { "mode": "always" },
        }));
        answers(i, 201, json_pattern!({ "channel_id": "general", "name": "general", "last_seq": 0 }));
    });
    let output = converse(&[join, create], &json!([["joinOrCreate", "general"]]), None);
    assert_eq!(output["results"][0]["value"]["channel_id"], "general");
}

#[test]
fn history_is_opened_and_read_backwards() {
    let states = [stored(3)];
    let newest = exchange("the page opens a channel", &states, |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        answers(i, 200, page(vec![message(3, "message 3"), message(2, "message 2"), message(1, "message 1")], false));
    });
    let one = exchange(
        "the page reads a message that it has not",
        &[("the channel has messages", json!({ "count": 9 }))],
        |i| {
            i.request.get().path(MESSAGES).query_param("after", "8").query_param("limit", "1");
            answers(i, 200, page(vec![message(9, "message 9")], false));
        },
    );
    let output = converse(&[newest, one], &json!([["open", "general"], ["message", "general", 9]]), None);
    assert_eq!(seqs(&output), [1, 2, 3]);
    assert_eq!(output["results"][1]["value"]["content"], "message 9");
}

#[test]
fn what_was_missed_is_read_when_a_push_shows_a_gap() {
    let states = [stored(3)];
    let open = exchange("the page opens an empty channel", &[("a channel exists", none())], |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        answers(i, 200, page(Vec::new(), false));
    });
    let missed = exchange("the page reads what it missed", &states, |i| {
        i.request.get().path(MESSAGES).query_param("after", "0").query_param("limit", "100");
        answers(i, 200, page(vec![message(1, "message 1"), message(2, "message 2"), message(3, "message 3")], false));
    });
    let rest = exchange("the page reads whether there is more", &states, |i| {
        i.request.get().path(MESSAGES).query_param("after", "3").query_param("limit", "100");
        answers(i, 200, page(Vec::new(), false));
    });
    let push = json!([{ "type": "events", "channel_id": "general", "events": [
        { "type": "message.created", "seq": 3, "message": { "channel_id": "general", "seq": 3, "content": "message 3" } },
    ] }]);
    let output = converse(&[open, missed, rest], &json!([["open", "general"]]), Some(&push));
    assert_eq!((seqs(&output), &output["hasGap"]), (vec![1, 2, 3], &json!(false)));
}

fn sending(i: &mut InteractionBuilder) {
    i.request.post().path(MESSAGES).header("idempotency-key", KEY);
    i.request.json_body(json_pattern!({ "content": "hi", "metadata": { "client_key": KEY } }));
}

#[test]
fn a_message_is_sent() {
    let send = exchange("the page sends", &[("a channel exists", none())], |i| {
        sending(i);
        answers(
            i,
            201,
            json_pattern!({ "channel_id": "general", "seq": 1, "content": "hi", "metadata": { "client_key": KEY } }),
        );
    });
    let output = converse(&[send], &json!([["send", "general", "hi"]]), None);
    assert_eq!(output["results"][0]["value"]["seq"], 1);
    assert_eq!(output["outbox"], json!([]), "it has arrived");
}

#[test]
fn a_reply_is_stopped() {
    let stop = exchange("the page stops a reply", &[stored(1)], |i| {
        i.request.post().path("/channels/general/messages/1/reply/cancel");
        i.response.status(202);
    });
    let output = converse(&[stop], &json!([["stopReply", "general", 1]]), None);
    assert!(output["results"][0].get("error").is_none());
}

/// A refused message stays in the outbox with the reason. Transient errors were retried before.
#[test]
fn a_refusal_is_shown_and_may_be_retried() {
    let channel = ("a channel exists", none());
    let before = json!({ "key": KEY, "body": { "content": "something else" } });
    let cases: [(&str, States<'_>, u16); 7] = [
        ("the page's token has expired", vec![channel.clone(), ("the token has expired", none())], 401),
        ("the page may not send", vec![channel.clone(), ("the token has the scopes", none())], 403),
        ("the page sends to what is not there", vec![("nothing exists", none())], 404),
        ("the page sends to an archived channel", vec![("the channel is archived", none())], 409),
        ("the page's key was used", vec![channel.clone(), ("the request was sent before", before)], 422),
        ("the page sends too often", vec![channel, ("the caller does this too often", none())], 429),
        ("the page's token cannot be verified", vec![("the keys of the token's issuer cannot be had", none())], 503),
    ];
    for (description, states, status) in cases {
        let waits = matches!(status, 429 | 503);
        let send = exchange(description, &states, |i| {
            sending(i);
            refuses(i, status);
            if waits {
                i.response.header("retry-after", term!("^[1-9][0-9]*$", "1"));
            }
        });
        let output = converse(&[send], &json!([["send", "general", "hi"]]), None);
        let entry = &output["outbox"][0];
        assert_eq!((&entry["state"], &entry["error"]["status"]), (&json!("failed"), &json!(status)), "{description}");
        assert_eq!(entry["error"]["retryAfter"], if waits { json!(1) } else { Value::Null }, "{description}");
        assert_eq!(output["tokens"], if status == 401 { 2 } else { 1 }, "a fresh token is tried once");
    }
    let wrong = exchange("the page sends too much", &[("a channel exists", none())], |i| {
        i.request.post().path(MESSAGES).header("idempotency-key", KEY);
        i.request.json_body(json_pattern!({ "content": "", "metadata": { "client_key": KEY } }));
        i.response.status(400).content_type("application/problem+json").json_body(json_pattern!({
            "detail": like!("What is wrong."),
            "errors": each_like!(json_pattern!({ "field": "content", "message": like!("must not be empty") })),
        }));
    });
    let output = converse(&[wrong], &json!([["send", "general", ""]]), None);
    assert_eq!(output["outbox"][0]["error"]["fields"], json!(["content"]));
}

/// Describes a frame, and passes it to the client after `before`.
fn frame(description: &str, states: &[(&str, Value)], before: &[Value], body: JsonPattern) -> Value {
    let mut pact = pact();
    pact.message_interaction(description, |mut message| {
        for (state, parameters) in states {
            if parameters.is_null() {
                message.given(*state)
            } else {
                message.given_with_params(*state, parameters)
            };
        }
        message.json_body(body);
        message
    });
    let message = pact.messages().next().unwrap();
    let frame: Value = serde_json::from_slice(&message.contents.contents.value().unwrap()).unwrap();
    let frames: Vec<Value> = before.iter().cloned().chain([frame]).collect();
    drive(&json!({ "do": [["open", "general"]], "frames": frames }))
}

fn event(kind: &str, more: Vec<(&str, JsonPattern)>) -> JsonPattern {
    let mut fields = vec![
        ("channel_id", json_pattern!("general")),
        ("seq", json_pattern!(1)),
        ("sender_id", json_pattern!("bob")),
        ("role", json_pattern!("user")),
        ("content_type", json_pattern!("text/plain")),
        ("created_at", json_pattern!(term!(TIME, "2026-05-01T12:00:00.000Z"))),
    ];
    fields.extend(more);
    let message = JsonPattern::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    json_pattern!({ "type": "events", "channel_id": "general", "events": [{ "type": (kind), "seq": 1, "message": message }] })
}

fn sent() -> Value {
    json!({ "type": "events", "channel_id": "general", "events": [{ "type": "message.created", "seq": 1, "message": {
        "channel_id": "general", "seq": 1, "sender_id": "bob", "role": "user", "content": "hi",
        "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z",
    } }] })
}

#[test]
fn messages_come_change_and_go() {
    let body = event("message.created", vec![("content", json_pattern!("hi"))]);
    let output = frame("the page hears of a message", &[("a message is sent", none())], &[], body);
    assert_eq!(output["messages"][0]["content"], "hi");
    let edited = json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"));
    let body = event("message.updated", vec![("content", json_pattern!("edited")), ("edited_at", edited)]);
    let output = frame("the page hears of an edit", &[("a message is edited", none())], &[sent()], body);
    assert_eq!(output["messages"][0]["content"], "edited");
    let deleted = json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"));
    let body = event("message.deleted", vec![("content", json_pattern!("")), ("deleted_at", deleted)]);
    let output = frame("the page hears of a deletion", &[("a message is deleted", none())], &[sent()], body);
    assert_eq!(output["messages"][0]["content"], "");
}

#[test]
fn drafts_grow_and_become_messages() {
    let delta = |status: &str, text: JsonPattern| {
        json_pattern!({
            "type": "message.delta", "channel_id": "general", "draft_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
            "reply_to": 1, "status": (status), "position": 0, "text": text,
        })
    };
    for (status, text) in [("thinking", json_pattern!("")), ("writing", json_pattern!(like!("Some words")))] {
        let states = [("the agent writes a reply", json!({ "status": status }))];
        let output = frame(&format!("the page hears that the agent is {status}"), &states, &[], delta(status, text));
        assert_eq!(output["drafts"][0]["status"], status);
    }
    let states = [("the agent writes a reply", json!({ "status": "failed" }))];
    let writing = json!({
        "type": "message.delta", "channel_id": "general", "draft_id": "01JTYQ4X9M8Z4QY7V6A1B2C3D4", "reply_to": 1,
        "status": "writing", "position": 0, "text": "Some words",
    });
    let body = json_pattern!({
        "type": "message.delta", "channel_id": "general", "draft_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
        "reply_to": 1, "status": "failed", "position": like!(10), "text": "",
    });
    let output = frame("the page hears that a draft failed", &states, std::slice::from_ref(&writing), body);
    assert_eq!(output["drafts"], json!([]));
    let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": "message.created", "seq": 2,
        "message": { "channel_id": "general", "seq": 2, "role": "assistant", "content": like!("Words."), "reply_to": 1 },
    }] });
    let states = [("the agent answers", none())];
    let output = frame("the page hears the agent's answer", &states, &[sent(), writing], body);
    assert_eq!((seqs(&output), &output["drafts"]), (vec![1, 2], &json!([])));
}

/// The page shows neither presence nor typing. These frames only must not disturb it.
#[test]
fn what_the_page_does_not_use_changes_nothing() {
    let quiet = |output: &Value| {
        assert_eq!((seqs(output), &output["drafts"]), (vec![1], &json!([])));
        assert!(output["events"].as_array().unwrap().iter().all(|event| event["type"] != "problem"));
    };
    let passing = |kind: &str| json_pattern!({ "type": (kind), "channel_id": "general", "user_id": "bob" });
    for (description, state, body) in [
        ("the page hears that somebody comes", "a user comes", passing("presence.joined")),
        ("the page hears that somebody goes", "a user goes", passing("presence.left")),
        ("the page hears that somebody types", "a user types", passing("typing")),
        ("the page hears a pong", "the client pings", json_pattern!({ "type": "pong" })),
        (
            "the page hears an error",
            "the client sends a frame",
            json_pattern!({ "type": "error", "code": "receive_only" }),
        ),
    ] {
        quiet(&frame(description, &[(state, none())], &[sent()], body));
    }
}

/// The provider may add fields, frame types and event types at any time.
#[test]
fn unknown_frames_events_and_fields_are_ignored() {
    let open = exchange("the page opens an empty channel", &[("a channel exists", none())], |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        answers(i, 200, page(Vec::new(), false));
    });
    // When a socket opens, the client reads the messages that it has missed.
    let missed = exchange("the page has missed nothing", &[("a channel exists", none())], |i| {
        i.request.get().path(MESSAGES).query_param("after", "0").query_param("limit", "100");
        answers(i, 200, page(Vec::new(), false));
    });
    let mut known = sent();
    known["shard"] = json!(7);
    known["events"][0]["importance"] = json!("high");
    known["events"][0]["message"]["mood"] = json!({ "x": [1] });
    let extra = json!({ "type": "message.pinned", "seq": 1, "message": { "seq": 1, "content": "pinned" } });
    known["events"].as_array_mut().unwrap().extend([extra, json!({ "type": "poll.closed" }), json!(null)]);
    let frames = json!([{ "type": "weather" }, { "type": "presence.asleep", "channel_id": "general" }, known]);
    let output = converse(&[open, missed], &json!([["open", "general"]]), Some(&frames));
    assert_eq!((seqs(&output), &output["messages"][0]["content"]), (vec![1], &json!("hi")));
    assert_eq!(output["messages"][0]["mood"], json!({ "x": [1] }), "kept, though the client does not use it");
}
