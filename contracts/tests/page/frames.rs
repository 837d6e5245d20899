//! Frames that the page uses, or must not be disturbed by.

use super::*;

/// Describes a frame, and passes it to the client after `before`.
fn frame(description: &str, states: &[(&str, Value)], before: &[Value], body: JsonPattern) -> Value {
    let frame = described(description, states, body);
    let frames: Vec<Value> = before.iter().cloned().chain([frame]).collect();
    drive(&json!({ "do": [["open", "general"]], "frames": frames }))
}

/// Describes a frame, and returns its example.
fn described(description: &str, states: &[(&str, Value)], body: JsonPattern) -> Value {
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
    serde_json::from_slice(&message.contents.contents.value().unwrap()).unwrap()
}

fn event(kind: &str, version: u64, more: Vec<(&str, JsonPattern)>) -> JsonPattern {
    let mut fields = vec![
        ("channel_id", json_pattern!("general")),
        ("seq", json_pattern!(1)),
        ("version", json_pattern!(version)),
        ("sender_id", json_pattern!("bob")),
        ("role", json_pattern!("user")),
        ("content_type", json_pattern!("text/plain")),
        ("created_at", json_pattern!(term!(TIME, "2026-05-01T12:00:00.000Z"))),
    ];
    fields.extend(more);
    let message = JsonPattern::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": (kind), "seq": 1, "version": (version), "message": message,
    }] })
}

#[test]
fn messages_come_change_and_go() {
    let body = event("message.created", 1, vec![("content", json_pattern!("hi"))]);
    let output = frame("the page hears of a message", &[("a message is sent", none())], &[], body);
    assert_eq!(output["messages"][0]["content"], "hi");
    let edited = json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"));
    let body = event("message.updated", 2, vec![("content", json_pattern!("edited")), ("edited_at", edited)]);
    let output = frame("the page hears of an edit", &[("a message is edited", none())], &[sent()], body);
    assert_eq!(output["messages"][0]["content"], "edited");
    let deleted = json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"));
    let body = event("message.deleted", 2, vec![("content", json_pattern!("")), ("deleted_at", deleted)]);
    let output = frame("the page hears of a deletion", &[("a message is deleted", none())], &[sent()], body);
    assert_eq!(output["messages"][0]["content"], "");
    let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": "reaction.added", "seq": 1, "version": 2, "emoji": "👍", "user_id": "bob", "count": 1,
    }] });
    let output = frame("the page hears of a reaction", &[("a message gets a reaction", none())], &[sent()], body);
    assert_eq!(output["messages"][0]["reactions"][0]["count"], 1);
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
        "type": "message.created", "seq": 2, "version": 1, "message": {
            "channel_id": "general", "seq": 2, "version": 1, "role": "agent", "content": like!("Words."), "reply_to": 1,
            "agent": { "status": "complete" },
        },
    }] });
    let states = [("the agent answers", none())];
    let output = frame("the page hears the agent's answer", &states, &[sent(), writing], body);
    assert_eq!((seqs(&output), &output["drafts"]), (vec![1, 2], &json!([])));
}

/// Describes a frame, and passes it to a client whose user is a member of `general`. Returns the user's channels.
fn followed(description: &str, states: &[(&str, Value)], body: JsonPattern) -> Value {
    let frame = described(description, states, body);
    let general = json!({
        "channel_id": "general", "name": "General", "visibility": "public", "agent": { "mode": "off" },
        "read_receipts": false, "last_seq": 1, "version": 1, "created_by": "olga",
        "created_at": "2026-05-01T09:00:00.000Z",
        "membership": { "role": "member", "joined_at": "2026-05-01T09:00:00.000Z", "read_seq": 0, "unread_count": 1 },
    });
    let what = json!([["loadChannels"], ["open", "general"]]);
    drive(&json!({ "channels": [general], "do": what, "frames": [frame] }))["channels"].clone()
}

#[test]
fn channels_and_memberships_change() {
    let body = json_pattern!({ "type": "channel.updated", "channel_id": "general", "channel": {
        "channel_id": "general", "name": "Changed", "visibility": "public", "agent": { "mode": "off" },
        "version": 2, "created_at": term!(TIME, "2026-05-01T09:00:00.000Z"),
    } });
    let channels = followed("the page hears that a channel changed", &[("a channel is changed", none())], body);
    assert_eq!((&channels[0]["name"], &channels[0]["membership"]["role"]), (&json!("Changed"), &json!("member")));
    let of_alice = |state: &'static str| [(state, json!({ "user_id": "alice" }))];
    let body = json_pattern!({
        "type": "read.updated", "channel_id": "general", "user_id": "alice", "read_seq": 1,
    });
    let channels = followed("the page hears of another device", &of_alice("a member reads"), body);
    let membership = &channels[0]["membership"];
    assert_eq!((&membership["read_seq"], &membership["unread_count"]), (&json!(1), &json!(0)));
    let body = json_pattern!({ "type": "member.removed", "channel_id": "general", "user_id": "alice" });
    let channels = followed("the page hears of its user's removal", &of_alice("a member is removed"), body);
    assert_eq!(channels, json!([]));
    let body = json_pattern!({ "type": "channel.deleted", "channel_id": "general" });
    let channels = followed("the page hears that a channel is gone", &[("a channel is deleted", none())], body);
    assert_eq!(channels, json!([]));
}

#[test]
fn a_socket_is_named() {
    let body = json_pattern!({
        "type": "hello", "connection_id": like!("L0SM9cOFvHcCIhw="), "channels_left_out": 0,
    });
    let output = frame("the page hears who it is", &[("a socket opens", none())], &[], body);
    assert_eq!(output["connectionId"], "L0SM9cOFvHcCIhw=");
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
