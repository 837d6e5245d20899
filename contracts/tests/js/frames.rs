//! The frames of the socket.

use super::*;

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
    drive(&json!({ "do": [["channels", "load"], ["channel", "open"]], "frames": frames }))
}

/// Returns the pattern of a frame with one event of message 1, which bob has sent.
fn event(kind: &str, version: u64, more: Vec<(&str, JsonPattern)>) -> JsonPattern {
    let mut fields = vec![
        ("channel_id", json_pattern!("general")),
        ("seq", json_pattern!(1)),
        ("version", JsonPattern::from(version)),
        ("sender_id", json_pattern!("bob")),
        ("role", json_pattern!("user")),
        ("content_type", json_pattern!("text/plain")),
        ("created_at", json_pattern!(term!(TIME, "2026-05-01T12:00:00.000Z"))),
    ];
    fields.extend(more);
    let mut event = vec![
        ("type", JsonPattern::from(kind)),
        ("seq", json_pattern!(1)),
        ("version", JsonPattern::from(version)),
        ("message", object(fields)),
    ];
    if kind != "message.created" {
        event.push(("rev", json_pattern!(1)));
    }
    let events = JsonPattern::Array(vec![object(event)]);
    json_pattern!({ "type": "events", "channel_id": "general", "events": events })
}

fn object(fields: Vec<(&str, JsonPattern)>) -> JsonPattern {
    JsonPattern::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn sent() -> Value {
    json!({ "type": "events", "channel_id": "general", "events": [{
        "type": "message.created", "seq": 1, "version": 1, "message": {
            "channel_id": "general", "seq": 1, "version": 1, "sender_id": "bob", "role": "user", "content": "hi",
            "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z",
        },
    }] })
}

#[test]
fn messages_come_change_and_go() {
    let body = event("message.created", 1, vec![("content", json_pattern!("hi"))]);
    let output = frame("the client hears of a message", &[("a message is sent", none())], &[], body);
    assert_eq!(output["messages"][0]["content"], "hi");
    let edited = json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"));
    let body = event("message.updated", 2, vec![("content", json_pattern!("edited")), ("edited_at", edited)]);
    let output = frame("the client hears of an edit", &[("a message is edited", none())], &[sent()], body);
    assert_eq!((&output["messages"][0]["content"], &output["rev"]), (&json!("edited"), &json!(1)));
    let deleted = json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"));
    let body = event("message.deleted", 2, vec![("content", json_pattern!("")), ("deleted_at", deleted)]);
    let output = frame("the client hears of a deletion", &[("a message is deleted", none())], &[sent()], body);
    assert_eq!(output["messages"][0]["content"], "");
    let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": "reaction.added", "seq": 1, "version": 2, "rev": like!(1), "emoji": "👍", "user_id": "bob", "count": 1,
    }] });
    let output = frame("the client hears of a reaction", &[("a message gets a reaction", none())], &[sent()], body);
    assert_eq!((&output["messages"][0]["reactions"][0]["count"], &output["rev"]), (&json!(1), &json!(1)));
}

#[test]
fn drafts_grow_and_become_messages() {
    let delta = |status: &str, text: JsonPattern| {
        json_pattern!({
            "type": "message.delta", "channel_id": "general", "draft_id": term!(ULID, ID),
            "reply_to": 1, "status": (status), "position": 0, "text": text,
        })
    };
    for (status, text) in [("thinking", json_pattern!("")), ("writing", json_pattern!(like!("Some words")))] {
        let states = [("the agent writes a reply", json!({ "status": status }))];
        let output = frame(&format!("the client hears that the agent is {status}"), &states, &[], delta(status, text));
        assert_eq!(output["drafts"][0]["status"], status);
    }
    let states = [("the agent writes a reply", json!({ "status": "failed" }))];
    let writing = json!({
        "type": "message.delta", "channel_id": "general", "draft_id": ID, "reply_to": 1,
        "status": "writing", "position": 0, "text": "Some words",
    });
    let body = json_pattern!({
        "type": "message.delta", "channel_id": "general", "draft_id": term!(ULID, ID),
        "reply_to": 1, "status": "failed", "position": like!(10), "text": "",
    });
    let output = frame("the client hears that a draft failed", &states, std::slice::from_ref(&writing), body);
    assert_eq!(output["drafts"], json!([]));
    let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": "message.created", "seq": 2, "version": 1, "message": {
            "channel_id": "general", "seq": 2, "version": 1, "role": "agent", "content": like!("Words."), "reply_to": 1,
            "agent": { "status": "complete" },
        },
    }] });
    let states = [("the agent answers", none())];
    let output = frame("the client hears the agent's answer", &states, &[sent(), writing], body);
    assert_eq!((seqs(&output), &output["drafts"]), (vec![1, 2], &json!([])));
}

#[test]
fn channels_change_and_are_read_elsewhere() {
    let renamed = json_pattern!({ "type": "channel.updated", "channel_id": "general", "channel": {
        "channel_id": "general", "name": "Changed", "version": like!(2), "last_seq": like!(0),
    } });
    let output = frame("the client hears that a channel changed", &[("a channel is changed", none())], &[], renamed);
    assert_eq!(output["channels"][0]["name"], "Changed");

    let alice = || json!({ "user_id": "alice" });
    let read = json_pattern!({ "type": "read.updated", "channel_id": "general", "user_id": "alice", "read_seq": 1 });
    let states = [("a member reads", alice())];
    let output = frame("the client hears of a read mark on another device", &states, &[sent()], read);
    assert_eq!(output["channels"][0]["unread"], 0);
    let output = drive(&json!({ "do": [["channels", "load"]], "frames": [sent()] }));
    assert_eq!(output["channels"][0]["unread"], 1, "without the frame, the message is unread");

    let member = json_pattern!({ "type": "member.updated", "channel_id": "general", "member": {
        "user_id": "alice", "role": "moderator",
    } });
    let output = frame("the client hears of its user's role", &[("a member gets a role", alice())], &[], member);
    assert_eq!(output["channels"][0]["role"], "moderator");

    let removed = json_pattern!({ "type": "member.removed", "channel_id": "general", "user_id": "alice" });
    let output = frame("the client hears that its user is removed", &[("a member is removed", alice())], &[], removed);
    assert_eq!(output["channels"], json!([]));
    let deleted = json_pattern!({ "type": "channel.deleted", "channel_id": "general" });
    let output = frame("the client hears that a channel is deleted", &[("a channel is deleted", none())], &[], deleted);
    assert_eq!(output["channels"], json!([]));
}

#[test]
fn a_connection_is_named_and_its_end_is_announced() {
    let hello = json_pattern!({ "type": "hello", "connection_id": like!("L0SM9cOFvHcCIhw="), "channels_left_out": 0 });
    let output = frame("the client's connection is named", &[("a socket opens", none())], &[], hello);
    assert_eq!(output["connectionId"], "L0SM9cOFvHcCIhw=");
    for (reason, reconnect) in [("token_expired", true), ("removed", true), ("too_many_frames", false)] {
        let closing = json_pattern!({ "type": "closing", "reason": (reason), "reconnect": (reconnect) });
        let states = [("the server closes a socket", json!({ "reason": reason }))];
        let output = frame(&format!("the client's socket will be closed: {reason}"), &states, &[], closing);
        // The end that the frame announces comes after it.
        assert_eq!(output["ended"]["name"] == "closed", !reconnect, "{output}");
    }
}

#[test]
fn several_edits_come_as_one_event() {
    let edits = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": "message.updated", "seq": 1, "version": like!(5), "rev": like!(4), "rev_from": like!(3),
        "message": {
            "channel_id": "general", "seq": 1, "version": like!(5), "sender_id": "bob",
            "content": term!("^edited .+$", "edited 0.3"),
        },
    }] });
    // The client has the first two changes, so the frame leaves no gap.
    let before = json!({ "type": "events", "channel_id": "general", "events": [{
        "type": "message.updated", "seq": 1, "version": 3, "rev": 2, "rev_from": 1,
        "message": { "channel_id": "general", "seq": 1, "version": 3, "sender_id": "bob", "content": "edited 0.1" },
    }] });
    let states = [("a message is edited several times at once", none())];
    let output = frame("the client hears of several edits", &states, &[sent(), before], edits);
    assert_eq!((&output["messages"][0]["content"], &output["rev"]), (&json!("edited 0.3"), &json!(4)));
}

#[test]
fn users_come_go_and_type() {
    let about_bob = |kind: &str| json_pattern!({ "type": (kind), "channel_id": "general", "user_id": "bob" });
    let output =
        frame("the client hears that somebody comes", &[("a user comes", none())], &[], about_bob("presence.joined"));
    assert_eq!(output["present"], json!(["bob"]));
    let came = json!({ "type": "presence.joined", "channel_id": "general", "user_id": "bob" });
    let output =
        frame("the client hears that somebody goes", &[("a user goes", none())], &[came], about_bob("presence.left"));
    assert_eq!(output["present"], json!([]));
    let states = [("a user types", none())];
    let output = frame("the client hears that somebody types", &states, &[sent()], about_bob("typing"));
    assert_eq!(output["typing"], json!(["bob"]));
}

/// These frames need no action.
#[test]
fn responses_of_the_socket_change_nothing() {
    for (description, state, body) in [
        ("the client hears a pong", "the client pings", json_pattern!({ "type": "pong" })),
        (
            "the client hears an error",
            "the client sends a frame",
            json_pattern!({ "type": "error", "code": "receive_only" }),
        ),
    ] {
        let output = frame(description, &[(state, none())], &[sent()], body);
        assert_eq!((seqs(&output), &output["drafts"]), (vec![1], &json!([])));
        assert_no_problem(&output);
    }
}

/// The provider may add fields, frame types and event types at any time.
#[test]
fn unknown_frames_events_and_fields_are_ignored() {
    let channel = [("a channel exists", none())];
    let open = opening("the client opens an empty channel", &channel, 0, &[]);
    let missed = newer("the client has missed nothing", &channel, 0, 0, &[]);
    let mut known = sent();
    known["shard"] = json!(7);
    known["events"][0]["importance"] = json!("high");
    known["events"][0]["message"]["mood"] = json!({ "x": [1] });
    let extra = json!({ "type": "message.pinned", "seq": 1, "message": { "seq": 1, "content": "pinned" } });
    known["events"].as_array_mut().unwrap().extend([extra, json!({ "type": "poll.closed" }), json!(null)]);
    let frames = json!([{ "type": "weather" }, { "type": "presence.asleep", "channel_id": "general" }, known]);
    let output = converse(&[open, missed], &json!([["channel", "open"]]), Some(&frames));
    assert_eq!((seqs(&output), &output["messages"][0]["content"]), (vec![1], &json!("hi")));
    assert_eq!(output["messages"][0]["mood"], json!({ "x": [1] }), "kept, though the client does not use it");
}
