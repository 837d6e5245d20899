//! Messages of one channel.

use std::collections::BTreeMap;

use crate::{Event, EventKind, Message};

/// The messages of a channel by their numbers. Detects missing messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLog {
    messages: BTreeMap<u64, Message>,
    settled: u64,
}

impl ChannelLog {
    /// Returns the messages, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    /// Returns the number up to which no message is missing; the argument for `messages_after`.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Returns whether a message before the newest is missing, so that the history must be read.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.messages.keys().next_back().is_some_and(|last| *last > self.settled)
    }

    /// Adds the events of a push. A duplicate, or an older version of a message, changes nothing.
    pub fn take_events(&mut self, events: Vec<Event>) {
        for Event { kind, message, .. } in events {
            let Some(message) = message else { continue };
            match kind {
                EventKind::Created => {
                    self.messages.entry(message.seq).or_insert(message);
                }
                EventKind::Updated | EventKind::Deleted => {
                    if let Some(held) = self.messages.get_mut(&message.seq)
                        && revision(held) < revision(&message)
                    {
                        *held = message;
                    }
                }
                EventKind::Unknown => {}
            }
        }
        self.advance();
    }

    /// Adds a page of history after [`ChannelLog::settled`].
    pub fn take_page(&mut self, messages: Vec<Message>) {
        for message in messages {
            // A number that the history omits has expired.
            self.settled = self.settled.max(message.seq);
            self.messages.insert(message.seq, message);
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.messages.contains_key(&(self.settled + 1)) {
            self.settled += 1;
        }
    }
}

/// Returns the order of a message's versions: sent, edited later, deleted. Times are RFC 3339 in UTC with equal
/// length.
fn revision(message: &Message) -> (bool, &str) {
    (message.deleted_at.is_some(), message.edited_at.as_deref().unwrap_or_default())
}
