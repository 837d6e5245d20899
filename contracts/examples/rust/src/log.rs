//! What a client knows of one channel.

use std::collections::BTreeMap;

use crate::{Event, EventKind, Message};

/// The messages of a channel, by their numbers. Says itself when some are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLog {
    messages: BTreeMap<u64, Message>,
    settled: u64,
}

impl ChannelLog {
    /// The messages, the oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    /// Everything up to this number is here; it is what to ask `messages_after`.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether a message between here and the newest is missing, so that history has to be asked.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.messages.keys().next_back().is_some_and(|last| *last > self.settled)
    }

    /// Takes what a push brought. What comes twice, and what is older than what is here, changes nothing.
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

    /// Takes a page of history that was asked for after [`ChannelLog::settled`].
    pub fn take_page(&mut self, messages: Vec<Message>) {
        for message in messages {
            // A number that history has left out has expired.
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

/// Orders the states of a message: sent, edited ever later, deleted. Times are RFC 3339 in UTC, all of one length.
fn revision(message: &Message) -> (bool, &str) {
    (message.deleted_at.is_some(), message.edited_at.as_deref().unwrap_or_default())
}
