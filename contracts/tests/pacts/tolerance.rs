//! The client ignores unknown parts: the provider may add fields, frame types and event types at any time.

use switchboard_client::{
    Changes, ChannelLog, ClosingReason, Draft, DraftStatus, Event, EventKind, Frame, Message, Reply,
};

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
    log.take_page(page(vec![stored(2, "more")], 0));
    assert_eq!(log.settled(), 2);
}

#[test]
fn a_log_heals_itself() {
    let mut log = ChannelLog::default();
    log.take_events(vec![event("message.created", 1, "a"), event("message.created", 3, "c")]);
    assert!(log.has_gap() && log.settled() == 1);
    // The event arrives twice, and then the missed message.
    log.take_events(vec![event("message.created", 3, "c")]);
    log.take_page(page(vec![stored(2, "b")], 0));
    assert!(!log.has_gap() && log.settled() == 3);
    assert_eq!(words(&log), ["a", "b", "c"]);
}

#[test]
fn a_first_state_that_is_repeated_late_is_no_message() {
    let mut log = ChannelLog::default();
    log.take_page(page(vec![stored(5, "five")], 0));
    log.take_events(vec![event("message.created", 4, "deleted since"), event("message.created", 6, "six")]);
    assert_eq!(words(&log), ["five", "six"]);
}

/// Returns message 1 in a version.
fn at(version: u64, content: &str, replies: u64) -> Value {
    let mut message = stored(1, content);
    message["version"] = json!(version);
    message["thread"] =
        json!({ "reply_count": replies, "last_reply_seq": 9, "last_reply_at": "2026-05-01T12:00:00.000Z" });
    message
}

/// Returns a reaction of alice to message 1, whose versions begin with the change 0.
fn reacted(version: u64, kind: &str, count: u64) -> Event {
    let event = json!({
        "type": kind, "seq": 1, "version": version, "rev": version - 1, "emoji": "👍", "user_id": "alice", "count": count,
    });
    serde_json::from_value(event).unwrap()
}

/// Returns an edit of message 1 that covers the changes from `rev_from`.
fn edited(version: u64, content: &str, rev_from: u64) -> Event {
    let event = json!({
        "type": "message.updated", "seq": 1, "version": version, "rev": version - 1, "rev_from": rev_from,
        "message": at(version, content, 1),
    });
    serde_json::from_value(event).unwrap()
}

fn changes(messages: Vec<Value>, rev: u64, next: Option<u64>) -> Changes {
    let changes: Vec<Value> = messages
        .into_iter()
        .map(|message| json!({ "rev": message["version"].as_u64().unwrap() - 1, "message": message }))
        .collect();
    let mut page = json!({ "changes": changes, "has_more": next.is_some(), "rev": rev });
    if let Some(after) = next {
        page["next"] = json!({ "after": after });
    }
    serde_json::from_value(page).unwrap()
}

#[test]
fn a_log_keeps_the_newest_version() {
    let mut log = ChannelLog::new("alice");
    log.take_page(page(vec![at(3, "new", 1)], 2));
    // An older state has a newer summary of the thread, which is not part of the version.
    log.take_page(page(vec![at(2, "old", 2)], 2));
    assert_eq!(words(&log), ["new"]);
    let count = |log: &ChannelLog| log.messages().next().unwrap().reactions.first().map(|reaction| reaction.count);
    let held: &Message = log.messages().next().unwrap();
    assert_eq!(held.thread.as_ref().map(|thread| thread.reply_count), Some(2));
    log.take_events(vec![reacted(3, "reaction.added", 1)]);
    assert_eq!(count(&log), None, "the held version has it already, or never had it");
    log.take_events(vec![reacted(4, "reaction.added", 7), reacted(4, "reaction.added", 7)]);
    assert_eq!(count(&log), Some(7));
    log.take_events(vec![reacted(5, "reaction.removed", 0)]);
    assert_eq!((count(&log), log.missed_changes()), (None, None));
    // Change 5, of version 6, was lost: the changes after 4 are read.
    log.take_events(vec![reacted(7, "reaction.added", 1)]);
    assert_eq!((count(&log), log.missed_changes()), (None, Some(4)));
    assert_eq!(log.take_changes(changes(vec![at(7, "newest", 2)], 6, None)), None);
    assert_eq!((words(&log), log.missed_changes()), (vec!["newest"], None));
}

#[test]
fn a_log_misses_no_change() {
    let mut log = ChannelLog::new("alice");
    // An event may come before the first page, which may lack its change.
    log.take_events(vec![reacted(3, "reaction.added", 1)]);
    assert_eq!(log.missed_changes(), None);
    log.take_page(page(vec![at(2, "hi", 1)], 1));
    assert_eq!(log.missed_changes(), Some(1));
    // A later message may come with a change before its own event. The walk ends with the last page.
    let mut unknown = at(3, "unknown", 1);
    unknown["seq"] = json!(2);
    assert_eq!(log.take_changes(changes(vec![unknown], 3, Some(2))), Some(2));
    assert_eq!((words(&log), log.missed_changes()), (vec!["hi", "unknown"], Some(1)));
    assert_eq!(log.take_changes(changes(vec![at(4, "edited", 1)], 3, None)), None);
    assert_eq!((words(&log), log.missed_changes()), (vec!["edited", "unknown"], None));
    // An event that covers the next change and a later one, and one after a gap.
    log.take_events(vec![edited(6, "again", 4)]);
    assert_eq!((words(&log), log.missed_changes()), (vec!["again", "unknown"], None));
    log.take_events(vec![edited(9, "later", 7)]);
    assert_eq!((words(&log), log.missed_changes()), (vec!["later", "unknown"], Some(5)));
    log.take_changes(changes(Vec::new(), 8, None));
    // A repeated event changes nothing. A page that was read earlier may lack changes.
    log.take_events(vec![edited(9, "later", 7)]);
    assert_eq!(log.missed_changes(), None);
    log.take_page(page(Vec::new(), 6));
    assert_eq!(log.missed_changes(), Some(6));
    // A page that was read later shows that changes were missed.
    log.take_changes(changes(Vec::new(), 8, None));
    log.take_page(page(Vec::new(), 9));
    assert_eq!(log.missed_changes(), Some(8));
}

/// Returns a reaction of alice to a message that the client does not hold.
fn reacted_to(seq: u64, rev: u64) -> Event {
    let event = json!({
        "type": "reaction.added", "seq": seq, "version": 2, "rev": rev, "emoji": "👍", "user_id": "alice", "count": 1,
    });
    serde_json::from_value(event).unwrap()
}

#[test]
fn a_change_of_a_message_that_is_not_held_is_kept_or_reveals_a_gap() {
    let mut log = ChannelLog::new("alice");
    log.take_page(page(vec![stored(2, "b")], 0));
    // Message 1 is before the page: its changes are ignored.
    log.take_events(vec![edited(2, "earlier", 1)]);
    assert!(!log.has_gap() && words(&log) == ["b"]);
    // The push of message 3 was missed. Its change is not lost, although its first state comes later.
    let mut third = stored(3, "edited");
    third["version"] = json!(2);
    let mut edit = edited(2, "", 2);
    (edit.seq, edit.rev, edit.rev_from) = (3, Some(2), None);
    edit.message = Some(serde_json::from_value(third.clone()).unwrap());
    log.take_events(vec![edit]);
    assert!(!log.has_gap() && log.settled() == 3);
    log.take_events(vec![event("message.created", 3, "first")]);
    assert!(!log.has_gap() && words(&log) == ["b", "edited"]);
    // A reaction does not have the message. A page from before the change does not end the gap. A later one without the
    // message does: the message has expired.
    log.ask();
    log.take_events(vec![reacted_to(5, 3)]);
    assert!(log.has_gap() && log.settled() == 3);
    log.take_page(page(Vec::new(), 2));
    assert!(log.has_gap() && log.settled() == 3);
    log.ask();
    log.take_page(page(Vec::new(), 3));
    assert!(!log.has_gap() && log.settled() == 5);
    // A page of changes has the message.
    let mut later = stored(6, "later");
    later["version"] = json!(2);
    let later: Changes =
        serde_json::from_value(json!({ "changes": [{ "rev": 4, "message": later }], "has_more": false, "rev": 4 }))
            .unwrap();
    assert_eq!(log.take_changes(later), None);
    assert!(!log.has_gap() && words(&log) == ["b", "edited", "later"]);
}

#[test]
fn a_draft_has_the_text_that_is_stored() {
    let mut draft = Draft::default();
    draft.take_frame("a", DraftStatus::Writing, 0, "Grüße");
    draft.take_frame("a", DraftStatus::Writing, 5, " an");
    assert_eq!((draft.text(), draft.is_behind()), ("Grüße an", false));
    // A repeated text replaces the same characters. A text beyond the end shows that a frame was lost.
    draft.take_frame("a", DraftStatus::Writing, 0, "Grüße an alle");
    assert_eq!(draft.text(), "Grüße an alle");
    draft.take_frame("a", DraftStatus::Writing, 19, "!");
    assert_eq!((draft.text(), draft.is_behind()), ("Grüße an alle", true));
    let reply = |draft_id: &str, text: &str| -> Reply {
        let position = text.chars().count();
        let reply =
            json!({ "status": "writing", "draft_id": draft_id, "position": position, "text": text, "pages": 1 });
        serde_json::from_value(reply).unwrap()
    };
    draft.take_reply(reply("a", "Grüße an alle Leute!"));
    assert_eq!((draft.text(), draft.is_behind()), ("Grüße an alle Leute!", false));
    // A response that was read before the newest frame has less text.
    draft.take_reply(reply("a", "Grüße"));
    assert_eq!(draft.text(), "Grüße an alle Leute!");
    draft.take_frame("b", DraftStatus::Thinking, 0, "");
    assert_eq!((draft.text(), draft.status()), ("", Some(DraftStatus::Thinking)));
}
