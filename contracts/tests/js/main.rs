#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Consumer tests of the page. Its client (`clients/js/src/client.js`) runs in Node against a mock of
//! the provider, and reads the frames of the pact: `target/pacts/switchboard-page-switchboard.json`.

#[path = "page/frames.rs"]
mod frames;

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
const MESSAGE: &str = "/channels/general/messages/1";
const CHANGES: &str = "/channels/general/changes";
const REPLY: &str = "/channels/general/messages/1/reply";

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

fn refuses(i: &mut InteractionBuilder, status: u16, code: &str) {
    i.response.status(status).content_type("application/problem+json");
    i.response.json_body(json_pattern!({
        "title": like!("A title"), "code": (code), "detail": like!("What is wrong."),
    }));
}

fn message(seq: u64, content: &str) -> JsonPattern {
    json_pattern!({
        "channel_id": "general",
        "seq": (seq),
        "message_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
        "version": 1,
        "sender_id": "alice",
        "role": "user",
        "content": (content),
        "content_type": "text/plain",
        "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
    })
}

fn page(messages: Vec<JsonPattern>, has_more: bool) -> JsonPattern {
    page_at(0, messages, has_more)
}

/// Describes a page of history, for which the mock says the number `rev` of the channel's last change.
fn page_at(rev: u64, messages: Vec<JsonPattern>, has_more: bool) -> JsonPattern {
    json_pattern!({ "messages": (JsonPattern::Array(messages)), "has_more": (has_more), "rev": like!(rev) })
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
        i.request.get().path("/channels").query_param("limit", "100");
        let channel = json_pattern!({
            "channel_id": "general", "name": "General", "visibility": "public",
            "last_seq": like!(2), "version": like!(1), "agent": { "mode": "off" },
            "membership": { "role": "member", "read_seq": like!(0), "unread_count": like!(0) },
            "last_message": { "seq": like!(2), "sender_id": "alice", "content": "message 2" },
        });
        answers(i, 200, json_pattern!({ "channels": each_like!(channel), "has_more": false }));
    });
    let one = exchange("the page reads one channel", &states, |i| {
        i.request.get().path("/channels/general");
        let membership = json_pattern!({ "role": "member", "read_seq": like!(0), "unread_count": like!(0) });
        answers(
            i,
            200,
            json_pattern!({
                "channel_id": "general", "name": "General", "last_seq": like!(2), "version": like!(1),
                "membership": membership,
            }),
        );
    });
    let output = converse(&[list, one], &json!([["loadChannels"], ["loadChannel", "general"]]), None);
    assert_eq!(output["results"][0]["value"][0]["channel_id"], "general");
    assert_eq!(output["channels"][0]["name"], "General");
}

#[test]
fn the_read_mark_moves() {
    let mark = exchange("the page moves the read mark", &[("a user is a member", none()), stored(2)], |i| {
        i.request.put().path("/channels/general/read").json_body(json_pattern!({ "seq": 2 }));
        answers(i, 200, json_pattern!({ "channel_id": "general", "read_seq": 2 }));
    });
    converse(&[mark], &json!([["markRead", "general", 2]]), None);
}

#[test]
fn a_message_gets_reactions_and_is_edited() {
    let reaction = "/channels/general/messages/1/reactions/%F0%9F%91%8D";
    let react = exchange("the page reacts", &[stored(1)], |i| {
        i.request.put().path(reaction);
        i.response.status(204);
    });
    let reacted = ("a user reacted to the message", json!({ "user_id": "alice" }));
    let take_back = exchange("the page takes a reaction back", &[stored(1), reacted], |i| {
        i.request.delete().path(reaction);
        i.response.status(204);
    });
    let read = || {
        exchange("the page reads one message", &[stored(1)], |i| {
            i.request.get().path(MESSAGE);
            answers(i, 200, message(1, "message 1"));
        })
    };
    let edit = exchange("the page edits a message", &[stored(1)], |i| {
        i.request.method("PATCH").path(MESSAGE).header("if-match", "\"1\"");
        i.request.content_type("application/merge-patch+json").json_body(json_pattern!({ "content": "edited" }));
        answers(i, 200, json_pattern!({ "seq": 1, "version": 2, "content": "edited" }));
    });
    let steps = json!([
        ["react", "general", 1, "👍", true],
        ["react", "general", 1, "👍", false],
        ["edit", "general", 1, "edited"],
    ]);
    // Without a connection, the page reads the message after a reaction.
    let output = converse(&[react, take_back, read(), edit], &steps, None);
    assert_eq!(output["results"][2]["value"]["content"], "edited");
    let changed = ("the message was edited", none());
    let conflict = exchange("the page edits what has changed", &[stored(1), changed], |i| {
        i.request.method("PATCH").path(MESSAGE).header("if-match", "\"1\"");
        i.request.content_type("application/merge-patch+json").json_body(json_pattern!({ "content": "edited" }));
        refuses(i, 412, "version_mismatch");
    });
    let output = converse(&[read(), conflict], &json!([["edit", "general", 1, "edited"]]), None);
    assert_eq!(output["results"][0]["error"]["code"], "version_mismatch");
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
        refuses(i, 404, "channel_not_found");
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
            i.request.get().path("/channels/general/messages/9");
            answers(i, 200, message(9, "message 9"));
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
        {
            "type": "message.created", "seq": 3, "version": 1,
            "message": { "channel_id": "general", "seq": 3, "version": 1, "content": "message 3" },
        },
    ] }]);
    let output = converse(&[open, missed, rest], &json!([["open", "general"]]), Some(&push));
    assert_eq!((seqs(&output), &output["hasGap"]), (vec![1, 2, 3], &json!(false)));
}

/// Opens a channel of one message, whose history has the number `rev`. Later the page asks for newer messages.
fn opening(description: &str, rev: u64) -> Exchange<'_> {
    exchange(description, &[stored(1)], move |i| {
        i.request.get().path(MESSAGES).query_param("limit", "50");
        answers(i, 200, page_at(rev, vec![message(1, "message 1")], false));
    })
}

#[test]
fn missed_changes_are_read_when_a_page_shows_them() {
    let edited = [stored(1), ("the message was edited", none())];
    let newer = exchange("the page reads that only changes are newer", &edited, |i| {
        i.request.get().path(MESSAGES).query_param("after", "1").query_param("limit", "100");
        answers(i, 200, page_at(1, Vec::new(), false));
    });
    let changes = exchange("the page reads the changes that it missed", &edited, |i| {
        i.request.get().path(CHANGES).query_param("after", "0").query_param("limit", "100");
        let message = json_pattern!({ "seq": 1, "version": 2, "content": "edited" });
        answers(i, 200, json_pattern!({ "changes": [{ "rev": 1, "message": message }], "has_more": false, "rev": 1 }));
    });
    let open = opening("the page opens a channel without changes", 0);
    let output = converse(&[open, newer, changes], &json!([["open", "general"]]), Some(&json!([])));
    assert_eq!((&output["messages"][0]["content"], &output["rev"]), (&json!("edited"), &json!(1)));
}

#[test]
fn the_history_is_loaded_again_when_the_changes_are_no_longer_stored() {
    let newer = exchange("the page reads that many changes are newer", &[stored(1)], |i| {
        i.request.get().path(MESSAGES).query_param("after", "1").query_param("limit", "100");
        answers(i, 200, page_at(10, Vec::new(), false));
    });
    let changes = exchange("the page reads changes that are no longer stored", &[stored(1)], |i| {
        i.request.get().path(CHANGES).query_param("after", "9").query_param("limit", "100");
        refuses(i, 410, "changes_expired");
    });
    let open = opening("the page opens a channel with changes", 9);
    let output = converse(&[open, newer, changes], &json!([["open", "general"]]), Some(&json!([])));
    assert_eq!((seqs(&output), &output["rev"]), (vec![1], &json!(9)));
    assert!(output["events"].as_array().unwrap().iter().all(|event| event["type"] != "problem"));
}

#[test]
fn a_reply_that_is_being_written_is_read() {
    let replying = [("the agent is replying", none())];
    let open = || {
        exchange("the page opens a channel in the middle of a reply", &replying, |i| {
            i.request.get().path(MESSAGES).query_param("limit", "50");
            let question =
                json_pattern!({ "seq": 1, "version": 1, "sender_id": "alice", "content": like!("question") });
            answers(
                i,
                200,
                json_pattern!({
                    "messages": [question], "has_more": false, "rev": like!(0), "replying_to": [1],
                }),
            );
        })
    };
    let reply = exchange("the page reads a reply", &replying, |i| {
        i.request.get().path(REPLY);
        answers(i, 200, json_pattern!({ "status": "thinking", "position": 0, "text": "" }));
    });
    let output = converse(&[open(), reply], &json!([["open", "general"]]), None);
    assert_eq!(output["drafts"][0]["status"], "thinking");
    let ended = exchange("the page reads a reply that is not being written", &[stored(1)], |i| {
        i.request.get().path(REPLY);
        refuses(i, 404, "reply_not_found");
    });
    let output = converse(&[open(), ended], &json!([["open", "general"]]), None);
    assert_eq!(output["drafts"], json!([]));
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
            json_pattern!({
                "channel_id": "general", "seq": 1, "version": 1, "content": "hi", "metadata": { "client_key": KEY },
                "rev": like!(0),
            }),
        );
    });
    let output = converse(&[send], &json!([["send", "general", "hi"]]), None);
    assert_eq!(output["results"][0]["value"]["seq"], 1);
    assert_eq!(output["outbox"], json!([]), "it has arrived");
}

#[test]
fn a_reply_is_stopped() {
    let stop = exchange("the page stops a reply", &[("the agent is replying", none())], |i| {
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
    let silent = ("the keys of the token's issuer cannot be had", none());
    let cases: [(&str, States<'_>, u16, &str); 7] = [
        (
            "the page's token has expired",
            vec![channel.clone(), ("the token has expired", none())],
            401,
            "token_expired",
        ),
        ("the page may not send", vec![channel.clone(), ("the token has the scopes", none())], 403, "missing_scope"),
        ("the page sends to what is not there", vec![("nothing exists", none())], 404, "channel_not_found"),
        ("the page sends to an archived channel", vec![("the channel is archived", none())], 409, "channel_archived"),
        (
            "the page's key was used",
            vec![channel.clone(), ("the request was sent before", before)],
            422,
            "idempotency_key_reused",
        ),
        ("the page sends too often", vec![channel, ("the caller does this too often", none())], 429, "rate_limited"),
        ("the page's token cannot be verified", vec![silent], 503, "keys_unavailable"),
    ];
    for (description, states, status, code) in cases {
        let waits = matches!(status, 429 | 503);
        let send = exchange(description, &states, |i| {
            sending(i);
            refuses(i, status, code);
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
            "code": "invalid_request", "detail": like!("What is wrong."),
            "errors": each_like!(json_pattern!({ "field": "content", "message": like!("must not be empty") })),
        }));
    });
    let output = converse(&[wrong], &json!([["send", "general", ""]]), None);
    assert_eq!(output["outbox"][0]["error"]["fields"], json!(["content"]));
}
