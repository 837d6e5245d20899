//! Messages as a client holds them, and its rules for the numbers of changes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::digest;

/// Users by emoji.
pub(crate) type Reactions = BTreeMap<String, BTreeSet<String>>;

/// A message that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) message_id: String,
    pub(crate) version: u64,
    pub(crate) content: u64,
    pub(crate) is_deleted: bool,
    pub(crate) reactions: Reactions,
}

impl Shown {
    /// Returns a message of a response or an event, and its `seq`. Returns `None` if it lacks a field.
    pub(crate) fn of(message: &Value) -> Option<(u64, Self)> {
        let mut reactions = Reactions::new();
        for reaction in message["reactions"].as_array().into_iter().flatten() {
            let users = reaction["user_ids"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
            reactions.insert(reaction["emoji"].as_str()?.to_owned(), users.collect());
        }
        let shown = Self {
            message_id: message["message_id"].as_str()?.to_owned(),
            version: message["version"].as_u64()?,
            content: digest(message["content"].as_str()?),
            is_deleted: message["deleted_at"].is_string(),
            reactions,
        };
        Some((message["seq"].as_u64()?, shown))
    }
}

/// Position of a message relative to the shown ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Next,
    Known,
    AfterGap,
}

/// Result of the event of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The log has the change.
    Done,
    /// An earlier change, or the message, is missing: both must be read.
    Missed,
}

/// State of a channel, as a client holds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// Message `n` at index `n - 1`.
    pub(crate) messages: Vec<Shown>,
    /// Number up to which the messages have all changes. `None` before the first page.
    pub(crate) known: Option<u64>,
}

impl Log {
    fn index(seq: u64) -> usize {
        usize::try_from(seq).unwrap_or(usize::MAX).wrapping_sub(1)
    }

    /// Shows a message if it is the next one, or a newer version of a shown one.
    ///
    /// # Errors
    /// The reason why the message contradicts the shown one.
    pub(crate) fn put(&mut self, seq: u64, message: Shown) -> Result<Place, String> {
        let index = Self::index(seq);
        let count = self.messages.len();
        match self.messages.get_mut(index) {
            Some(known) if known.message_id != message.message_id => Err(format!("two messages {seq}")),
            Some(known) if known.version == message.version && *known != message => {
                Err(format!("two versions {} of message {seq}", known.version))
            }
            Some(known) => {
                if known.version < message.version {
                    *known = message;
                }
                Ok(Place::Known)
            }
            None if index == count => {
                self.messages.push(message);
                Ok(Place::Next)
            }
            None => Ok(Place::AfterGap),
        }
    }

    /// Applies the event of a change.
    ///
    /// # Errors
    /// The reason why the event contradicts what is shown.
    pub(crate) fn apply(&mut self, event: &Value) -> Result<Applied, String> {
        let (Some(seq), Some(version), Some(rev)) =
            (event["seq"].as_u64(), event["version"].as_u64(), event["rev"].as_u64())
        else {
            return Err(format!("an event without its numbers: {event}"));
        };
        let known = self.known.unwrap_or_default();
        if event["rev_from"].as_u64().unwrap_or(rev) > known + 1 {
            return Ok(Applied::Missed);
        }
        let Some(message) = self.messages.get_mut(Self::index(seq)) else { return Ok(Applied::Missed) };
        if message.version < version {
            match event["type"].as_str() {
                Some("message.updated" | "message.deleted") => match Shown::of(&event["message"]) {
                    Some((of, newer)) if of == seq && newer.version == version => *message = newer,
                    _ => return Err(format!("an event with another message: {event}")),
                },
                Some(kind @ ("reaction.added" | "reaction.removed")) => {
                    if message.version + 1 != version {
                        return Ok(Applied::Missed);
                    }
                    react(message, kind == "reaction.added", event)?;
                    message.version = version;
                }
                _ => return Err(format!("an unknown event: {event}")),
            }
        }
        self.known = Some(known.max(rev));
        Ok(Applied::Done)
    }
}

/// Applies a reaction to the version before its own.
fn react(message: &mut Shown, is_added: bool, event: &Value) -> Result<(), String> {
    let (Some(emoji), Some(user), Some(count)) =
        (event["emoji"].as_str(), event["user_id"].as_str(), event["count"].as_u64())
    else {
        return Err(format!("a reaction without its fields: {event}"));
    };
    let users = message.reactions.entry(emoji.to_owned()).or_default();
    let is_changed = if is_added { users.insert(user.to_owned()) } else { users.remove(user) };
    let is_counted = u64::try_from(users.len()) == Ok(count);
    if users.is_empty() {
        message.reactions.remove(emoji);
    }
    if is_changed && is_counted { Ok(()) } else { Err(format!("a reaction that is not the next one: {event}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(seq: u64, version: u64, content: &str) -> Value {
        json!({ "seq": seq, "message_id": format!("id-{seq}"), "version": version, "content": content })
    }

    fn log(known: u64) -> Log {
        let mut log = Log { known: Some(known), ..Log::default() };
        for seq in 1..=2 {
            let (seq, shown) = Shown::of(&message(seq, 1, "x")).unwrap();
            assert_eq!(log.put(seq, shown), Ok(Place::Next));
        }
        log
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
    fn the_next_changes_are_applied_and_known_ones_are_not() {
        let mut log = log(0);
        assert_eq!(log.apply(&updated(1, 2, 1)), Ok(Applied::Done));
        assert_eq!(log.apply(&reacted("reaction.added", 3, 2, 1)), Ok(Applied::Done));
        let after = log.messages.clone();
        assert_eq!(after[0].reactions["👍"], BTreeSet::from(["bob".to_owned()]));
        for again in [updated(1, 2, 1), reacted("reaction.added", 3, 2, 1)] {
            assert_eq!(log.apply(&again), Ok(Applied::Done));
        }
        assert_eq!((&log.messages, log.known), (&after, Some(2)));
        assert_eq!(log.apply(&reacted("reaction.removed", 4, 3, 0)), Ok(Applied::Done));
        assert!(log.messages[0].reactions.is_empty());
    }

    #[test]
    fn an_event_that_covers_several_changes_closes_no_other_gap() {
        let mut covering = updated(2, 4, 7);
        covering["rev_from"] = json!(5);
        assert_eq!(log(3).apply(&covering), Ok(Applied::Missed), "change 4 is missing");
        let mut log = log(4);
        assert_eq!((log.apply(&covering), log.known), (Ok(Applied::Done), Some(7)));
        assert_eq!(log.apply(&updated(1, 2, 9)), Ok(Applied::Missed), "change 8 is missing");
        assert_eq!(log.apply(&updated(3, 2, 8)), Ok(Applied::Missed), "the message is missing");
        assert_eq!(log.apply(&reacted("reaction.added", 3, 8, 1)), Ok(Applied::Missed), "a version is missing");
        assert_eq!(log.known, Some(7));
    }

    #[test]
    fn what_contradicts_the_shown_messages_is_a_violation() {
        let mut log = log(0);
        assert!(log.apply(&reacted("reaction.removed", 2, 1, 0)).is_err(), "it is not there");
        let mut unnumbered = updated(1, 3, 1);
        unnumbered.as_object_mut().unwrap().remove("rev");
        assert!(log.apply(&unnumbered).is_err());
        let (_, other) = Shown::of(&message(1, 1, "other")).unwrap();
        assert!(log.put(2, other.clone()).is_err(), "another id");
        let (_, other) = Shown::of(&message(2, 1, "other")).unwrap();
        assert!(log.put(2, other).is_err(), "another content of one version");
    }
}
