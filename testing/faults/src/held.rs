//! Messages as clients hold them, in a form that is compared with the stored one, and contradictions to them.

use std::collections::{BTreeMap, BTreeSet};

use switchboard_client::{ChannelLog, Event, EventKind, Message};

use crate::ledger::digest;

/// Users by emoji.
pub(crate) type Reactions = BTreeMap<String, BTreeSet<String>>;

/// Parts of a message that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) message_id: String,
    pub(crate) version: u64,
    pub(crate) content: u64,
    pub(crate) is_deleted: bool,
    pub(crate) reactions: Reactions,
}

impl Shown {
    /// Returns the parts of a message whose content is its digest: see [`shorten`].
    pub(crate) fn of(message: &Message) -> Self {
        let users = message.reactions.iter().map(|one| (one.emoji.clone(), one.user_ids.iter().cloned().collect()));
        Self {
            message_id: message.message_id.clone(),
            version: message.version,
            content: u64::from_str_radix(&message.content, 16).unwrap_or_default(),
            is_deleted: message.deleted_at.is_some(),
            reactions: users.collect(),
        }
    }
}

/// Replaces the content of a message by its digest: a fleet holds many large messages. A log does not read contents.
pub(crate) fn shorten(message: &mut Message) {
    message.content = format!("{:x}", digest(&message.content));
}

/// Returns why a message contradicts the held one of its number, or `None`.
pub(crate) fn differs(log: &ChannelLog, message: &Message) -> Option<String> {
    let seq = message.seq;
    let (held, shown) = (Shown::of(log.message(seq)?), Shown::of(message));
    if held.message_id != shown.message_id {
        return Some(format!("two messages {seq}"));
    }
    (held.version == shown.version && held != shown).then(|| format!("two versions {} of message {seq}", held.version))
}

/// Returns why an event contradicts a log that does not have it yet, or `None`.
pub(crate) fn contradicts(log: &ChannelLog, event: &Event) -> Option<String> {
    if event.kind != EventKind::Created && (event.rev.is_none() || event.version == 0) {
        return Some(format!("an event without its numbers: {event:?}"));
    }
    match (event.kind, &event.message) {
        (EventKind::Created | EventKind::Updated | EventKind::Deleted, Some(message)) => {
            if (message.seq, message.version) != (event.seq, event.version) {
                return Some(format!("an event with another message: {event:?}"));
            }
            differs(log, message)
        }
        (EventKind::ReactionAdded | EventKind::ReactionRemoved, _) => is_misplaced(log, event)
            .then(|| format!("a reaction that is not the next one, or without its fields: {event:?}")),
        _ => Some(format!("an event of an unknown kind, or without its message: {event:?}")),
    }
}

/// Returns whether a reaction is not the next change of the version before its own.
fn is_misplaced(log: &ChannelLog, event: &Event) -> bool {
    let (Some(emoji), Some(user), Some(count)) = (&event.emoji, &event.user_id, event.count) else { return true };
    let held = log.message(event.seq).filter(|held| held.version + 1 == event.version);
    let Some(held) = held else { return false };
    let before = held.reactions.iter().filter(|one| one.emoji == *emoji);
    let mut users: BTreeSet<&str> = before.flat_map(|one| &one.user_ids).map(String::as_str).collect();
    let is_changed =
        if event.kind == EventKind::ReactionAdded { users.insert(user) } else { users.remove(user.as_str()) };
    !is_changed || u64::try_from(users.len()) != Ok(count)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use switchboard_client::{Frame, Page};

    use super::*;

    fn message(seq: u64, version: u64, content: &str) -> Value {
        json!({
            "channel_id": "c", "seq": seq, "message_id": format!("id-{seq}"), "version": version, "sender_id": "a",
            "role": "user", "content": content, "content_type": "text/plain", "created_at": "2026-05-01T12:00:00.000Z",
        })
    }

    fn log() -> ChannelLog {
        let page = json!({ "messages": [message(1, 1, "x"), message(2, 1, "x")], "has_more": false, "rev": 0 });
        let mut page: Page = serde_json::from_value(page).unwrap();
        page.messages.iter_mut().for_each(shorten);
        let mut log = ChannelLog::new("a");
        log.take_page(page);
        log
    }

    fn event(event: &Value) -> Event {
        let frame = json!({ "type": "events", "channel_id": "c", "events": [event] });
        let Ok(Frame::Events { mut events, .. }) = Frame::parse(&frame.to_string()) else { panic!("{frame}") };
        let mut event = events.remove(0);
        event.message.iter_mut().for_each(shorten);
        event
    }

    fn updated(seq: u64, version: u64, rev: u64) -> Value {
        let message = message(seq, version, &format!("version {version}"));
        json!({ "type": "message.updated", "seq": seq, "version": version, "rev": rev, "message": message })
    }

    fn reacted(kind: &str, version: u64, rev: u64, count: u64) -> Value {
        let (seq, emoji, user) = (1, "👍", "bob");
        json!({ "type": kind, "seq": seq, "version": version, "rev": rev, "emoji": emoji, "user_id": user, "count": count })
    }

    #[test]
    fn the_next_changes_contradict_nothing() {
        let mut log = log();
        let changes = [
            updated(1, 2, 1),
            reacted("reaction.added", 3, 2, 1),
            updated(1, 2, 1),
            reacted("reaction.added", 3, 2, 1),
            reacted("reaction.removed", 4, 3, 0),
            // A version is missing: the message comes with the missed changes.
            reacted("reaction.removed", 9, 8, 7),
        ];
        for change in &changes {
            let event = event(change);
            assert_eq!(contradicts(&log, &event), None, "{change}");
            log.take_events(vec![event]);
        }
        let shown = log.message(1).map(Shown::of).unwrap();
        assert_eq!((shown.version, shown.content), (4, digest("version 2")));
        assert!(shown.reactions.is_empty() && !shown.is_deleted);
    }

    #[test]
    fn a_held_message_shows_all_that_is_compared() {
        let mut log = log();
        log.take_events(vec![event(&reacted("reaction.added", 2, 1, 1))]);
        let reactions = Reactions::from([("👍".to_owned(), BTreeSet::from(["bob".to_owned()]))]);
        assert_eq!(log.message(1).map(Shown::of).unwrap().reactions, reactions);
        let mut deleted = updated(1, 3, 2);
        deleted["type"] = json!("message.deleted");
        deleted["message"]["content"] = json!("");
        deleted["message"]["deleted_at"] = json!("2026-05-01T12:00:01.000Z");
        log.take_events(vec![event(&deleted)]);
        let shown = log.message(1).map(Shown::of).unwrap();
        assert_eq!((shown.content, shown.is_deleted, shown.version), (digest(""), true, 3));
        assert!(shown.reactions.is_empty());
    }

    #[test]
    fn what_contradicts_the_held_messages_is_found() {
        let log = log();
        let mut unnumbered = updated(1, 2, 1);
        unnumbered.as_object_mut().unwrap().remove("rev");
        let mut of_another = updated(1, 2, 1);
        of_another["message"]["seq"] = json!(2);
        let mut of_another_version = updated(1, 2, 1);
        of_another_version["message"]["version"] = json!(3);
        let mut with_another_id = updated(1, 2, 1);
        with_another_id["message"]["message_id"] = json!("id-2");
        let created = |message: Value| json!({ "type": "message.created", "seq": 2, "version": 1, "message": message });
        for wrong in [
            unnumbered,
            of_another,
            of_another_version,
            with_another_id,
            created(message(2, 1, "another content of one version")),
            json!({ "type": "message.created", "seq": 3, "version": 1 }),
            json!({ "type": "message.pinned", "seq": 1, "version": 2, "rev": 1 }),
            reacted("reaction.removed", 2, 1, 0),
            reacted("reaction.added", 2, 1, 2),
        ] {
            assert!(contradicts(&log, &event(&wrong)).is_some(), "{wrong}");
        }
        assert_eq!(contradicts(&log, &event(&created(message(2, 1, "x")))), None, "a repetition");
    }
}
