//! Every frame of the socket.

use switchboard_mobile::{ChannelLog, DraftStatus, EventKind, Frame};

use super::*;

/// Describes a frame, and parses it with the real client.
fn frame(description: &str, states: &[(&str, Value)], body: JsonPattern) -> Frame {
    let mut pact = pact();
    pact.message_interaction(description, |mut message| {
        for (state, parameters) in states {
            if parameters.is_null() {
                message.given(*state);
            } else {
                message.given_with_params(*state, parameters);
            }
        }
        message.json_body(body);
        message
    });
    let message = pact.messages().next().unwrap();
    let text = message.contents.contents.value().unwrap();
    Frame::parse(std::str::from_utf8(&text).unwrap()).unwrap()
}

fn events(kind: &str, message: JsonPattern) -> JsonPattern {
    json_pattern!({ "type": "events", "channel_id": "general", "events": [{ "type": (kind), "seq": 1, "message": message }] })
}

fn one(frame: Frame) -> (EventKind, ChannelLog) {
    let Frame::Events { channel_id, events } = frame else { panic!("{frame:?}") };
    assert_eq!(channel_id, "general");
    let (kind, mut log) = (events[0].kind, ChannelLog::default());
    let created = events.iter().cloned().map(|event| switchboard_mobile::Event { kind: EventKind::Created, ..event });
    log.take_events(created.collect());
    assert!(!log.has_gap() && log.settled() == 1);
    (kind, log)
}

fn words(log: &ChannelLog) -> String {
    log.messages().map(|message| message.content.as_str()).collect()
}

#[test]
fn a_message_was_sent() {
    let body = events("message.created", message(1, "bob", "hi"));
    let (kind, log) = one(frame("a message was sent", &[("a message is sent", none())], body));
    assert_eq!((kind, words(&log).as_str()), (EventKind::Created, "hi"));
}

#[test]
fn a_message_was_edited() {
    let edited = json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"));
    let body = events("message.updated", with(message(1, "bob", "edited"), vec![("edited_at", edited)]));
    let (kind, log) = one(frame("a message was edited", &[("a message is edited", none())], body));
    assert_eq!((kind, words(&log).as_str()), (EventKind::Updated, "edited"));
}

#[test]
fn a_message_was_deleted() {
    let deleted = json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"));
    let body = events("message.deleted", with(message(1, "bob", ""), vec![("deleted_at", deleted)]));
    let (kind, log) = one(frame("a message was deleted", &[("a message is deleted", none())], body));
    assert_eq!((kind, words(&log).as_str()), (EventKind::Deleted, ""));
}

#[test]
fn the_agent_answered_or_gave_up() {
    for (description, state, role) in [
        ("the agent has answered", "the agent answers", "assistant"),
        ("there will be no answer", "the agent gives up", "system"),
    ] {
        let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
            "type": "message.created", "seq": 2, "message": {
                "channel_id": "general", "seq": 2, "message_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
                "sender_id": "assistant", "role": (role), "content": like!("Words."), "content_type": like!("text/markdown"),
                "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"), "reply_to": 1,
            },
        }] });
        let Frame::Events { events, .. } = frame(description, &[(state, none())], body) else { panic!("no events") };
        let message = events[0].message.clone().unwrap();
        assert_eq!((message.role.as_str(), message.reply_to), (role, Some(1)));
    }
}

#[test]
fn a_reply_is_being_written() {
    for (status, expected) in [
        ("thinking", DraftStatus::Thinking),
        ("writing", DraftStatus::Writing),
        ("done", DraftStatus::Done),
        ("cancelled", DraftStatus::Cancelled),
        ("failed", DraftStatus::Failed),
    ] {
        let body = json_pattern!({
            "type": "message.delta", "channel_id": "general", "draft_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"),
            "reply_to": 1, "status": (status), "position": like!(0), "text": like!("Some words"),
        });
        let states = [("the agent writes a reply", json!({ "status": status }))];
        let Frame::Draft { status, reply_to, .. } = frame(&format!("a draft: {status}"), &states, body) else {
            panic!("no draft")
        };
        assert_eq!((status, reply_to), (expected, 1));
    }
}

#[test]
fn somebody_comes_goes_and_types() {
    let body = |kind: &str| json_pattern!({ "type": (kind), "channel_id": "general", "user_id": "bob" });
    let joined = frame("somebody has come", &[("a user comes", none())], body("presence.joined"));
    assert!(matches!(joined, Frame::Joined { user_id, .. } if user_id == "bob"));
    let left = frame("somebody has gone", &[("a user goes", none())], body("presence.left"));
    assert!(matches!(left, Frame::Left { user_id, .. } if user_id == "bob"));
    let typing = frame("somebody is typing", &[("a user types", none())], body("typing"));
    assert!(matches!(typing, Frame::Typing { user_id, .. } if user_id == "bob"));
}

#[test]
fn channels_are_left_out() {
    let body = json_pattern!({ "type": "channels.left_out", "count": like!(1) });
    let told = frame("channels are left out", &[("a socket has no room for all channels", none())], body);
    assert!(matches!(told, Frame::LeftOut { count: 1 }));
}

#[test]
fn the_socket_answers() {
    let body = json_pattern!({ "type": "pong", "connection_id": like!("L0SM9cOFvHcCIhw=") });
    let pong = frame("a pong", &[("the client pings", none())], body);
    assert!(matches!(pong, Frame::Pong { connection_id } if !connection_id.is_empty()));
    let body =
        json_pattern!({ "type": "error", "code": "receive_only", "message": like!("this socket only receives") });
    let error = frame("the socket only receives", &[("the client sends a frame", none())], body);
    assert!(matches!(error, Frame::Error { code, .. } if code == "receive_only"));
}
