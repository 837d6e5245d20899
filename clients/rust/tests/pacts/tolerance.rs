//! The client ignores unknown parts: the provider may add fields, frame types and event types at any time.

use switchboard_mobile::{ChannelLog, EventKind, Frame, Page};

use super::*;

fn message(seq: u64, content: &str) -> Value {
    json!({
        "channel_id": "general", "seq": seq, "message_id": "01JTYQ4X9M8Z4QY7V6A1B2C3D4", "sender_id": "bob", "role": "user",
        "content": content, "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z", "mood": { "x": [1] },
    })
}

#[test]
fn unknown_frames_events_and_fields_are_ignored() {
    for unknown in [json!({ "type": "weather", "sun": true }), json!({ "type": "presence.asleep" })] {
        assert_eq!(Frame::parse(&unknown.to_string()).unwrap(), Frame::Unknown);
    }
    let frame = json!({ "type": "events", "channel_id": "general", "shard": 7, "events": [
        { "type": "message.created", "seq": 1, "message": message(1, "hi"), "importance": "high" },
        { "type": "message.pinned", "seq": 1, "message": message(1, "pinned") },
        { "type": "poll.closed", "seq": 2 },
    ] });
    let Frame::Events { events, .. } = Frame::parse(&frame.to_string()).unwrap() else { panic!("no events") };
    assert_eq!(events[1].kind, EventKind::Unknown);
    let mut log = ChannelLog::default();
    log.take_events(events);
    let seen: Vec<_> = log.messages().map(|message| message.content.as_str()).collect();
    assert_eq!(seen, ["hi"]);
    let page: Page =
        serde_json::from_value(json!({ "messages": [message(2, "more")], "has_more": false, "took_ms": 3 })).unwrap();
    log.take_page(page.messages);
    assert_eq!(log.settled(), 2);
}

#[test]
fn a_log_heals_itself() {
    let event = |kind: &str, seq: u64, content: &str| -> switchboard_mobile::Event {
        serde_json::from_value(json!({ "type": kind, "seq": seq, "message": message(seq, content) })).unwrap()
    };
    let mut log = ChannelLog::default();
    log.take_events(vec![event("message.created", 1, "a"), event("message.created", 3, "c")]);
    assert!(log.has_gap() && log.settled() == 1);
    // The event arrives twice, and then the missed message.
    log.take_events(vec![event("message.created", 3, "c")]);
    log.take_page(vec![serde_json::from_value(message(2, "b")).unwrap()]);
    assert!(!log.has_gap() && log.settled() == 3);
    let words: Vec<_> = log.messages().map(|message| message.content.as_str()).collect();
    assert_eq!(words, ["a", "b", "c"]);
}
