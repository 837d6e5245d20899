//! A channel: messages by `seq`, changes by `rev`, and replies that are being written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::message::{Message, State, ulid};

/// A reply that is being written, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the name of the contract")]
pub(crate) struct Draft {
    pub(crate) draft_id: String,
    pub(crate) text: String,
    pub(crate) status: &'static str,
    /// Number of the stored reply.
    pub(crate) seq: Option<u64>,
}

/// Event of a message, in the shape of the contract.
pub(crate) type Event = Value;

/// A message to store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Append {
    pub(crate) sender_id: String,
    pub(crate) content: String,
    pub(crate) reply_to: Option<u64>,
    pub(crate) thread_seq: Option<u64>,
    pub(crate) metadata: Value,
    pub(crate) key: Option<String>,
    /// The draft that becomes the message.
    pub(crate) draft_id: Option<String>,
}

/// A channel of the model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) messages: BTreeMap<u64, Message>,
    /// Messages by the number of their last change.
    pub(crate) changes: BTreeMap<u64, u64>,
    pub(crate) rev: u64,
    /// Changes after a smaller number are no longer stored.
    pub(crate) floor: u64,
    /// By the number of the question.
    pub(crate) drafts: BTreeMap<u64, Draft>,
    /// Text of each draft, as far as it was ever stored, by its id.
    pub(crate) texts: BTreeMap<String, String>,
    /// Whether the user may no longer read the channel.
    pub(crate) is_hidden: bool,
    pub(crate) read_seq: u64,
    drafts_made: u64,
}

impl Channel {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.messages.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Stores a message. Returns its number.
    pub(crate) fn append(&mut self, new: Append, now: u64) -> u64 {
        let seq = self.last_seq() + 1;
        let message = Message {
            seq,
            role: if new.draft_id.is_some() { "agent" } else { "user" },
            sender_id: new.sender_id,
            created_at: now,
            reply_to: new.reply_to,
            thread_seq: new.thread_seq,
            draft_id: new.draft_id,
            metadata: new.metadata,
            states: vec![State { content: new.content, ..State::default() }],
            key: new.key,
        };
        self.messages.insert(seq, message);
        seq
    }

    /// Returns the event of a new message.
    pub(crate) fn created(&self, seq: u64) -> Option<Event> {
        let message = self.messages.get(&seq)?;
        let mut first = message.clone();
        first.states.truncate(1);
        Some(json!({"type": "message.created", "seq": seq, "version": 1, "message": first.shape(&self.id, None)}))
    }

    /// Edits a message. Returns its event.
    pub(crate) fn edit(&mut self, seq: u64, content: &str, now: u64) -> Option<Event> {
        let message = self.messages.get(&seq).filter(|message| !message.is_deleted())?;
        let state = State { content: content.to_owned(), edited_at: Some(now), ..message.state() };
        Some(self.change(seq, state, "message.updated"))
    }

    /// Deletes a message. Returns its event, or `None` if it is deleted.
    pub(crate) fn delete(&mut self, seq: u64, now: u64) -> Option<Event> {
        self.messages.get(&seq).filter(|message| !message.is_deleted())?;
        let state = State { deleted_at: Some(now), ..State::default() };
        Some(self.change(seq, state, "message.deleted"))
    }

    /// Adds or removes a reaction. Returns its event, or `None` if nothing changes.
    pub(crate) fn react(&mut self, seq: u64, emoji: &str, user_id: &str, is_added: bool) -> Option<Event> {
        let message = self.messages.get(&seq).filter(|message| !message.is_deleted())?;
        let mut state = message.state();
        let users = state.reactions.entry(emoji.to_owned()).or_default();
        let is_changed = if is_added { users.insert(user_id.to_owned()) } else { users.remove(user_id) };
        let count = users.len();
        if !is_changed {
            return None;
        }
        state.reactions.retain(|_, users: &mut BTreeSet<String>| !users.is_empty());
        let mut event = self.change(seq, state, if is_added { "reaction.added" } else { "reaction.removed" });
        if let Some(fields) = event.as_object_mut() {
            fields.remove("message");
        }
        event["emoji"] = json!(emoji);
        event["user_id"] = json!(user_id);
        event["count"] = json!(count);
        Some(event)
    }

    fn change(&mut self, seq: u64, state: State, kind: &str) -> Event {
        self.rev += 1;
        self.changes.retain(|_, changed| *changed != seq);
        self.changes.insert(self.rev, seq);
        let Some(message) = self.messages.get_mut(&seq) else { return Value::Null };
        message.states.push(state);
        let shape = message.shape(&self.id, None);
        json!({"type": kind, "seq": seq, "version": message.version(), "rev": self.rev, "message": shape})
    }

    /// Begins a reply. It replaces an earlier draft of the same question.
    pub(crate) fn begin_draft(&mut self, reply_to: u64, now: u64) -> String {
        self.drafts_made += 1;
        let draft_id = ulid(now, 1_000_000 + self.drafts_made);
        let draft = Draft { draft_id: draft_id.clone(), text: String::new(), status: "thinking", seq: None };
        self.drafts.insert(reply_to, draft);
        self.texts.insert(draft_id.clone(), String::new());
        draft_id
    }

    /// Stores a piece of a reply. Returns its frame.
    pub(crate) fn extend_draft(&mut self, reply_to: u64, piece: &str) -> Option<Value> {
        let draft = self.drafts.get_mut(&reply_to).filter(|draft| draft.seq.is_none())?;
        let position = draft.text.chars().count();
        draft.text.push_str(piece);
        draft.status = if draft.text.is_empty() { "thinking" } else { "writing" };
        self.texts.insert(draft.draft_id.clone(), draft.text.clone());
        Some(delta(&self.id, reply_to, draft, position, piece))
    }

    /// Stores the reply as a message. Returns its number and the last frame of the draft.
    pub(crate) fn finish_draft(&mut self, reply_to: u64, now: u64) -> Option<(u64, Value)> {
        let draft = self.drafts.get(&reply_to).filter(|draft| draft.seq.is_none() && !draft.text.is_empty())?.clone();
        let seq = self.append(
            Append {
                sender_id: "agent".to_owned(),
                content: draft.text.clone(),
                reply_to: Some(reply_to),
                draft_id: Some(draft.draft_id.clone()),
                ..Append::default()
            },
            now,
        );
        let ended = Draft { status: "done", seq: Some(seq), ..draft };
        let mut frame = delta(&self.id, reply_to, &ended, ended.text.chars().count(), "");
        frame["seq"] = json!(seq);
        self.drafts.insert(reply_to, ended);
        Some((seq, frame))
    }

    /// Returns the frames with the whole text of each reply that is being written, as a new socket receives them.
    pub(crate) fn draft_frames(&self) -> Vec<Value> {
        let open = self.drafts.iter().filter(|(_, draft)| draft.seq.is_none() && !draft.text.is_empty());
        open.map(|(reply_to, draft)| delta(&self.id, *reply_to, draft, 0, &draft.text)).collect()
    }

    /// Returns the questions to which a reply is being written.
    pub(crate) fn replying_to(&self) -> Vec<u64> {
        self.drafts.iter().filter(|(_, draft)| draft.seq.is_none()).map(|(reply_to, _)| *reply_to).collect()
    }
}

fn delta(channel_id: &str, reply_to: u64, draft: &Draft, position: usize, text: &str) -> Value {
    json!({
        "type": "message.delta",
        "channel_id": channel_id,
        "draft_id": draft.draft_id,
        "reply_to": reply_to,
        "status": draft.status,
        "position": position,
        "text": text,
    })
}

/// Returns the frame of events.
pub(crate) fn events_frame(channel_id: &str, events: &[Event]) -> Value {
    json!({"type": "events", "channel_id": channel_id, "events": events})
}

/// Joins two consecutive events of one message into the later one, which covers the numbers of both.
pub(crate) fn joined(first: &Event, mut last: Event) -> Event {
    last["rev_from"] = first.get("rev_from").unwrap_or(&first["rev"]).clone();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        let mut channel = Channel::new("a");
        for content in ["one", "two"] {
            channel.append(Append { sender_id: "bob".to_owned(), content: content.to_owned(), ..Append::default() }, 0);
        }
        channel
    }

    #[test]
    fn changes_are_numbered_and_versions_grow() {
        let mut channel = channel();
        let edited = channel.edit(1, "uno", 5).unwrap();
        assert_eq!((&edited["rev"], &edited["version"]), (&json!(1), &json!(2)));
        let reacted = channel.react(1, "👍", "me", true).unwrap();
        assert_eq!((&reacted["rev"], &reacted["count"], reacted.get("message")), (&json!(2), &json!(1), None));
        assert_eq!(channel.react(1, "👍", "me", true), None, "a reaction that is held changes nothing");
        assert_eq!(joined(&edited, reacted)["rev_from"], 1);
        assert_eq!(channel.changes, BTreeMap::from([(2, 1)]), "each message is listed at its last change");
        assert_eq!(channel.messages[&1].at(2).unwrap().content, "uno");
        let deleted = channel.delete(1, 9).unwrap();
        assert_eq!(deleted["message"]["content"], "");
        assert_eq!(deleted["message"].get("reactions"), None);
        assert_eq!(channel.delete(1, 9), None);
    }

    #[test]
    fn a_draft_is_stored_before_it_is_shown() {
        let mut channel = channel();
        let draft_id = channel.begin_draft(1, 0);
        channel.extend_draft(1, "Hello").unwrap();
        let frame = channel.extend_draft(1, " world").unwrap();
        assert_eq!((&frame["position"], &frame["text"]), (&json!(5), &json!(" world")));
        assert_eq!(channel.draft_frames()[0]["text"], "Hello world");
        assert_eq!(channel.texts[&draft_id], "Hello world");
        let (seq, last) = channel.finish_draft(1, 0).unwrap();
        assert_eq!((seq, &last["status"], &last["seq"]), (3, &json!("done"), &json!(3)));
        assert_eq!(channel.messages[&3].shape("a", None)["agent"]["draft_id"], json!(draft_id));
        assert!(channel.draft_frames().is_empty());
        assert_eq!(channel.extend_draft(1, "!"), None);
    }
}
