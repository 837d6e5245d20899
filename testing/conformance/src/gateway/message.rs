//! A message with all its states.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::time::timestamp;

/// Most users that a reaction names.
const NAMED_USERS: usize = 10;

/// One state of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) content: String,
    pub(crate) edited_at: Option<u64>,
    pub(crate) deleted_at: Option<u64>,
    /// Users by emoji; no emoji is without users.
    pub(crate) reactions: BTreeMap<String, BTreeSet<String>>,
}

/// A message. Its version is the number of its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) sender_id: String,
    pub(crate) role: &'static str,
    pub(crate) created_at: u64,
    pub(crate) reply_to: Option<u64>,
    pub(crate) thread_seq: Option<u64>,
    pub(crate) draft_id: Option<String>,
    pub(crate) metadata: Value,
    pub(crate) states: Vec<State>,
    /// Key of the send that stored the message.
    pub(crate) key: Option<String>,
}

impl Message {
    pub(crate) fn version(&self) -> u64 {
        u64::try_from(self.states.len()).unwrap_or(u64::MAX)
    }

    /// Returns the state with a version.
    pub(crate) fn at(&self, version: u64) -> Option<&State> {
        self.states.get(usize::try_from(version.checked_sub(1)?).ok()?)
    }

    pub(crate) fn state(&self) -> State {
        self.states.last().cloned().unwrap_or_default()
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.states.last().is_some_and(|state| state.deleted_at.is_some())
    }

    /// Returns the message in the shape of the contract. Frames have no `reader`, and so no `reacted`.
    pub(crate) fn shape(&self, channel_id: &str, reader: Option<&str>) -> Value {
        let state = self.state();
        let mut shape = json!({
            "channel_id": channel_id,
            "seq": self.seq,
            "message_id": ulid(self.created_at, self.seq),
            "version": self.version(),
            "sender_id": self.sender_id,
            "role": self.role,
            "content": state.content,
            "content_type": "text/plain",
            "created_at": timestamp(self.created_at),
        });
        let optional = [
            ("reply_to", self.reply_to.map(Value::from)),
            ("thread_seq", self.thread_seq.map(Value::from)),
            ("metadata", (state.deleted_at.is_none() && self.metadata.is_object()).then(|| self.metadata.clone())),
            ("agent", (self.role != "user").then(|| self.agent())),
            ("edited_at", state.edited_at.map(|time| timestamp(time).into())),
            ("deleted_at", state.deleted_at.map(|time| timestamp(time).into())),
            ("reactions", (!state.reactions.is_empty()).then(|| reactions(&state, reader))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                shape[name] = value;
            }
        }
        shape
    }

    fn agent(&self) -> Value {
        let mut agent = json!({"status": "complete"});
        if let Some(draft_id) = &self.draft_id {
            agent["draft_id"] = json!(draft_id);
        }
        agent
    }
}

fn reactions(state: &State, reader: Option<&str>) -> Value {
    let shapes = state.reactions.iter().map(|(emoji, users)| {
        let named: Vec<&String> = users.iter().take(NAMED_USERS).collect();
        let mut shape = json!({"emoji": emoji, "count": users.len(), "user_ids": named});
        if let Some(reader) = reader {
            shape["reacted"] = json!(users.contains(reader));
        }
        shape
    });
    shapes.collect()
}

/// Returns a ULID of a time and a number.
pub(crate) fn ulid(millis: u64, number: u64) -> String {
    let mut rest = (u128::from(millis) << 80) | u128::from(number);
    let mut digits = ['0'; 26];
    for digit in digits.iter_mut().rev() {
        let value = u8::try_from(rest & 31).unwrap_or(0);
        *digit = char::from(*b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".get(usize::from(value)).unwrap_or(&b'0'));
        rest >>= 5;
    }
    digits.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_messages_are_ulids() {
        assert_eq!(ulid(0, 33), "00000000000000000000000011");
        let id = ulid(1_777_636_800_000, 7);
        assert_eq!((id.len(), id.starts_with("01")), (26, true));
    }
}
