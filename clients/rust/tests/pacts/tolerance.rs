//! The client ignores unknown parts: the provider may add fields, frame types and event types at any time.

use switchboard_mobile::{ChannelLog, ClosingReason, Event, EventKind, Frame, Message, Page};

use super::*;

fn event(kind: &str, seq: u64, content: &str) -> Event {
    let message = stored(seq, content);
    serde_json::from_value(json!({ "type": kind, "seq": seq, "version": message["version"], "message": message }))
        .unwrap()
}

fn words(log: &ChannelLog) -> Vec<&str> {
    log.messages().map(|message| message.content.as_str()).collect()
}

#[test]
fn unknown_frames_events_and_fields_are_ignored() {
    for unknown in [json!({ "type": "weather", "sun": true }), json!({ "type": "presence.asleep" })] {
        assert_eq!(Frame::parse(&unknown.to_string()).unwrap(), Frame::Unknown);
    }
    let closing = json!({ "type": "closing", "reason": "the_moon", "reconnect": false });
    let closing = Frame::parse(&closing.to_string()).unwrap();
    assert_eq!(closing, Frame::Closing { reason: ClosingReason::Unknown, reconnect: false });
    let frame = json!({ "type": "events", "channel_id": "general", "shard": 7, "events": [
        { "type": "message.created", "seq": 1, "version": 1, "message": stored(1, "hi"), "importance": "high" },
        { "type": "message.pinned", "seq": 1, "message": stored(1, "pinned") },
        { "type": "poll.closed", "seq": 2 },
    ] });
    let Frame::Events { events, .. } = Frame::parse(&frame.to_string()).unwrap() else { panic!("no events") };
    assert_eq!(events[1].kind, EventKind::Unknown);
    let mut log = ChannelLog::default();
    log.take_events(events);
    assert_eq!(words(&log), ["hi"]);
    let page: Page =
        serde_json::from_value(json!({ "messages": [stored(2, "more")], "has_more": false, "took_ms": 3 })).unwrap();
    log.take_page(page.messages);
    assert_eq!(log.settled(), 2);
}

#[test]
fn a_log_heals_itself() {
    let mut log = ChannelLog::default();
    log.take_events(vec![event("message.created", 1, "a"), event("message.created", 3, "c")]);
    assert!(log.has_gap() && log.settled() == 1);
    // The event arrives twice, and then the missed message.
    log.take_events(vec![event("message.created", 3, "c")]);
    log.take_page(vec![serde_json::from_value(stored(2, "b")).unwrap()]);
    assert!(!log.has_gap() && log.settled() == 3);
    assert_eq!(words(&log), ["a", "b", "c"]);
}

#[test]
fn a_log_keeps_the_newest_version() {
    let at = |version: u64, content: &str, replies: u64| -> Message {
        let mut message = stored(1, content);
        message["version"] = json!(version);
        message["thread"] =
            json!({ "reply_count": replies, "last_reply_seq": 9, "last_reply_at": "2026-05-01T12:00:00.000Z" });
        serde_json::from_value(message).unwrap()
    };
    let reacted = |version: u64, kind: &str, count: u64| -> Event {
        let event = json!({
            "type": kind, "seq": 1, "version": version, "emoji": "👍", "user_id": "alice", "count": count,
        });
        serde_json::from_value(event).unwrap()
    };
    let mut log = ChannelLog::new("alice");
    log.take_page(vec![at(3, "new", 1)]);
    // An older state has a newer summary of the thread, which is not part of the version.
    log.take_page(vec![at(2, "old", 2)]);
    assert_eq!(words(&log), ["new"]);
    let count = |log: &ChannelLog| log.messages().next().unwrap().reactions.first().map(|reaction| reaction.count);
    let held = log.messages().next().unwrap();
    assert_eq!(held.thread.as_ref().map(|thread| thread.reply_count), Some(2));
    log.take_events(vec![reacted(3, "reaction.added", 1)]);
    assert_eq!(count(&log), None, "the held version has it already, or never had it");
    log.take_events(vec![reacted(4, "reaction.added", 7), reacted(4, "reaction.added", 7)]);
    assert_eq!(count(&log), Some(7));
    log.take_events(vec![reacted(5, "reaction.removed", 0)]);
    assert_eq!(count(&log), None);
    // Version 6 was lost: the message is read again.
    log.take_events(vec![reacted(7, "reaction.added", 1)]);
    assert_eq!((count(&log), log.outdated().contains(&1)), (None, true));
    log.take_page(vec![at(7, "newest", 2)]);
    assert_eq!((words(&log), log.outdated().len()), (vec!["newest"], 0));
}
