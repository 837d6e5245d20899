//! Every frame of the socket.

use switchboard_client::{ChannelLog, ClosingReason, Draft, DraftStatus, EventKind, Frame};

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

fn events(kind: &str, more: Vec<(&str, JsonPattern)>, message: JsonPattern) -> JsonPattern {
    let event = json_pattern!({ "type": (kind), "seq": 1, "version": like!(1), "message": message });
    json_pattern!({ "type": "events", "channel_id": "general", "events": [(with(event, more))] })
}

/// Returns the field of the first change of a channel.
fn first_change() -> Vec<(&'static str, JsonPattern)> {
    vec![("rev", json_pattern!(1))]
}

fn one(frame: Frame) -> (EventKind, ChannelLog) {
    let Frame::Events { channel_id, events } = frame else { panic!("{frame:?}") };
    assert_eq!(channel_id, "general");
    let (kind, mut log) = (events[0].kind, ChannelLog::default());
    let created = events.iter().cloned().map(|event| switchboard_client::Event { kind: EventKind::Created, ..event });
    log.take_events(created.collect());
    assert!(!log.has_gap() && log.settled() == 1);
    (kind, log)
}

fn words(log: &ChannelLog) -> String {
    log.messages().map(|message| message.content.as_str()).collect()
}

#[test]
fn a_message_was_sent() {
    let body = events("message.created", Vec::new(), message(1, "bob", "hi"));
    let (kind, log) = one(frame("a message was sent", &[("a message is sent", none())], body));
    assert_eq!((kind, words(&log).as_str()), (EventKind::Created, "hi"));
}

#[test]
fn a_message_was_edited() {
    let edited = json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"));
    let edited = with(message(1, "bob", "edited"), vec![("edited_at", edited)]);
    let body = events("message.updated", first_change(), edited);
    let frame = frame("a message was edited", &[("a message is edited", none())], body);
    assert_eq!(changes_of(&frame), (Some(1), None));
    let (kind, log) = one(frame);
    assert_eq!((kind, words(&log).as_str()), (EventKind::Updated, "edited"));
}

/// Returns the numbers of the first event's changes.
fn changes_of(frame: &Frame) -> (Option<u64>, Option<u64>) {
    let Frame::Events { events, .. } = frame else { panic!("{frame:?}") };
    (events[0].rev, events[0].rev_from)
}

#[test]
fn one_event_covers_several_edits() {
    let fields = vec![
        ("edited_at", json_pattern!(term!(TIME, "2026-05-01T12:00:30.000Z"))),
        ("content", json_pattern!(term!("^edited [0-9.]+$", "edited 0.3"))),
    ];
    let numbers = vec![("rev", json_pattern!(like!(4))), ("rev_from", json_pattern!(like!(2)))];
    let body = events("message.updated", numbers, with(message(1, "bob", ""), fields));
    let states = [("a message is edited several times at once", none())];
    let Frame::Events { events, .. } = frame("a message was edited several times", &states, body) else {
        panic!("no events")
    };
    let mut log = ChannelLog::default();
    log.take_page(page(vec![stored(1, "hi")], 1));
    let mut edited = events[0].clone();
    edited.message.as_mut().unwrap().version = 5;
    log.take_events(vec![edited]);
    assert_eq!((words(&log).as_str(), log.missed_changes()), ("edited 0.3", None));
}

#[test]
fn a_message_was_deleted() {
    let deleted = json_pattern!(term!(TIME, "2026-05-01T12:01:00.000Z"));
    let deleted = with(message(1, "bob", ""), vec![("deleted_at", deleted)]);
    let body = events("message.deleted", first_change(), deleted);
    let frame = frame("a message was deleted", &[("a message is deleted", none())], body);
    assert_eq!(changes_of(&frame), (Some(1), None));
    let (kind, log) = one(frame);
    assert_eq!((kind, words(&log).as_str()), (EventKind::Deleted, ""));
}

#[test]
fn reactions_come_and_go() {
    for (description, state, kind, version, count) in [
        ("a user reacted", "a message gets a reaction", "reaction.added", 2_u64, 1_u64),
        ("a user took a reaction back", "a message loses a reaction", "reaction.removed", 3, 0),
    ] {
        let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
            "type": (kind), "seq": 1, "version": (version), "rev": (version - 1), "emoji": "👍", "user_id": "bob",
            "count": (count),
        }] });
        let Frame::Events { events, .. } = frame(description, &[(state, none())], body) else { panic!("no events") };
        let mut log = ChannelLog::new("bob");
        let mut sent = stored(1, "hi");
        sent["version"] = json!(version - 1);
        log.take_page(page(vec![sent], version - 2));
        log.take_events(events);
        assert_eq!(log.missed_changes(), None);
        let held = log.messages().next().unwrap();
        assert_eq!(held.version, version);
        assert_eq!(held.reactions.iter().map(|reaction| reaction.count).sum::<u64>(), count);
        assert!(held.reactions.iter().all(|reaction| reaction.reacted == Some(true)));
    }
}

#[test]
fn a_thread_gets_a_reply() {
    let reply = with(message(2, "bob", "hi"), vec![("thread_seq", json_pattern!(1))]);
    let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
        "type": "message.created", "seq": 2, "version": 1, "message": reply,
    }] });
    let states =
        [("the channel has messages", json!({ "count": 1 })), ("a message is sent", json!({ "thread_seq": 1 }))];
    let Frame::Events { events, .. } = frame("a thread got a reply", &states, body) else { panic!("no events") };
    assert_eq!(events[0].message.as_ref().unwrap().thread_seq, Some(1));
}

#[test]
fn the_agent_answered_or_gave_up() {
    for (description, state, sender, status) in [
        ("the agent has answered", "the agent answers", "agent", "complete"),
        ("there will be no answer", "the agent gives up", "system", "failed"),
    ] {
        let body = json_pattern!({ "type": "events", "channel_id": "general", "events": [{
            "type": "message.created", "seq": 2, "version": 1, "message": {
                "channel_id": "general", "seq": 2, "message_id": term!(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"), "version": 1,
                "sender_id": like!("agent"), "role": (sender), "content": like!("Words."),
                "content_type": like!("text/markdown"), "created_at": term!(TIME, "2026-05-01T12:00:00.000Z"),
                "reply_to": 1, "agent": { "status": (status) },
            },
        }] });
        let Frame::Events { events, .. } = frame(description, &[(state, none())], body) else { panic!("no events") };
        let message = events[0].message.clone().unwrap();
        assert_eq!((message.role.as_str(), message.reply_to), (sender, Some(1)));
        assert_eq!(message.agent.unwrap().status, status);
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
        let shown = frame(&format!("a draft: {status}"), &states, body);
        let Frame::Draft { draft_id, status, reply_to, position, text, .. } = shown else { panic!("no draft") };
        assert_eq!((status, reply_to), (expected, 1));
        let mut draft = Draft::default();
        draft.take_frame(&draft_id, status, position, &text);
        assert_eq!((draft.text(), draft.status(), draft.is_behind()), ("Some words", Some(expected), false));
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
fn a_socket_begins_and_ends() {
    let body = json_pattern!({
        "type": "hello", "connection_id": like!("L0SM9cOFvHcCIhw="), "user_id": "alice",
        "expires_at": term!(TIME, "2026-05-01T14:00:00.000Z"), "server_time": term!(TIME, "2026-05-01T12:00:00.000Z"),
        "channels_left_out": 0,
    });
    let hello = frame("a socket begins", &[("a socket opens", none())], body);
    assert!(matches!(hello, Frame::Hello { user_id, channels_left_out: 0, .. } if user_id == "alice"));
    for (text, expected, back) in [
        ("token_expired", ClosingReason::TokenExpired, true),
        ("removed", ClosingReason::Removed, true),
        ("too_many_frames", ClosingReason::TooManyFrames, false),
    ] {
        let body = json_pattern!({ "type": "closing", "reason": (text), "reconnect": (back) });
        let states = [("the server closes a socket", json!({ "reason": text }))];
        let Frame::Closing { reason, reconnect } = frame(&format!("a socket ends: {text}"), &states, body) else {
            panic!("no end")
        };
        assert_eq!((reason, reconnect), (expected, back));
    }
}

#[test]
fn channels_change() {
    let body = |kind: &str, channel: JsonPattern| json_pattern!({ "type": (kind), "channel_id": "general", "channel": channel });
    let created = body("channel.created", channel("General", 0));
    let created = frame("a channel was created", &[("a channel is created", none())], created);
    assert!(matches!(created, Frame::ChannelCreated { channel, .. } if channel.name == "General"));
    let updated = body("channel.updated", channel("Changed", 0));
    let updated = frame("a channel was changed", &[("a channel is changed", none())], updated);
    assert!(matches!(updated, Frame::ChannelUpdated { channel, .. } if channel.name == "Changed"));
    let deleted = json_pattern!({ "type": "channel.deleted", "channel_id": "general" });
    let deleted = frame("a channel was deleted", &[("a channel is deleted", none())], deleted);
    assert!(matches!(deleted, Frame::ChannelDeleted { channel_id } if channel_id == "general"));
}

#[test]
fn members_come_change_and_go() {
    let body = |kind: &str, role: &str| json_pattern!({ "type": (kind), "channel_id": "general", "member": (member("bob", role)) });
    let joined = frame("a member joined", &[("a user joins", none())], body("member.joined", "member"));
    assert!(matches!(joined, Frame::MemberJoined { member, .. } if member.user_id == "bob"));
    let states = [("a member gets a role", none())];
    let updated = frame("a member got a role", &states, body("member.updated", "moderator"));
    assert!(matches!(updated, Frame::MemberUpdated { member, .. } if member.role == "moderator"));
    let removed = json_pattern!({ "type": "member.removed", "channel_id": "general", "user_id": "bob" });
    let removed = frame("a member was removed", &[("a member is removed", none())], removed);
    assert!(matches!(removed, Frame::MemberRemoved { user_id, .. } if user_id == "bob"));
}

#[test]
fn read_marks_move() {
    let body = |user: &str| json_pattern!({ "type": "read.updated", "channel_id": "general", "user_id": (user), "read_seq": 1 });
    for (description, user) in [("the user read on another device", "alice"), ("a member read", "bob")] {
        let states = [("a member reads", json!({ "user_id": user }))];
        let read = frame(description, &states, body(user));
        assert!(matches!(read, Frame::Read { user_id, read_seq: 1, .. } if user_id == user));
    }
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
