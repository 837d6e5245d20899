//! Messages of one channel.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use crate::{Event, EventKind, Message, Reaction};

/// The messages of a channel by their numbers, as one user sees them. Detects missing messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLog {
    user_id: String,
    messages: BTreeMap<u64, Message>,
    settled: u64,
    outdated: BTreeSet<u64>,
}

impl ChannelLog {
    /// Creates an empty log of a user.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), ..Self::default() }
    }

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

    /// Returns the numbers of messages that missed an event, and so must be read again.
    #[must_use]
    pub fn outdated(&self) -> &BTreeSet<u64> {
        &self.outdated
    }

    /// Adds the events of a push. A duplicate, or an older version of a message, changes nothing.
    pub fn take_events(&mut self, events: Vec<Event>) {
        for event in events {
            match (event.kind, &event.message) {
                (EventKind::Created, Some(message)) => self.keep(message.clone()),
                // A message that is not held was never shown.
                (EventKind::Updated | EventKind::Deleted, Some(message))
                    if self.messages.contains_key(&message.seq) =>
                {
                    self.keep(message.clone());
                }
                (EventKind::ReactionAdded | EventKind::ReactionRemoved, _) => self.react(&event),
                _ => {}
            }
        }
        self.advance();
    }

    /// Adds a page of history after [`ChannelLog::settled`].
    pub fn take_page(&mut self, messages: Vec<Message>) {
        for message in messages {
            // A number that the history omits has expired.
            self.settled = self.settled.max(message.seq);
            self.keep(message);
        }
        self.advance();
    }

    /// Keeps the newer version of a message. The summary of its thread only grows, and is not part of the version.
    fn keep(&mut self, mut message: Message) {
        match self.messages.entry(message.seq) {
            Entry::Vacant(place) => {
                place.insert(message);
            }
            Entry::Occupied(mut place) => {
                let held = place.get_mut();
                let summaries = [held.thread.take(), message.thread.take()];
                if held.version < message.version {
                    self.outdated.remove(&message.seq);
                    *held = message;
                }
                held.thread = summaries.into_iter().flatten().max_by_key(|thread| thread.reply_count);
            }
        }
    }

    /// Adds or removes a user's reaction, if the event follows the held version. It has the resulting number of users.
    fn react(&mut self, event: &Event) {
        let Some(held) = self.messages.get_mut(&event.seq).filter(|held| held.version < event.version) else { return };
        if event.version > held.version + 1 {
            self.outdated.insert(event.seq);
            return;
        }
        let (Some(emoji), Some(user), Some(count)) = (&event.emoji, &event.user_id, event.count) else { return };
        held.version = event.version;
        let mut reaction = match held.reactions.iter().position(|reaction| reaction.emoji == *emoji) {
            Some(at) => held.reactions.remove(at),
            None => Reaction { emoji: emoji.clone(), count, user_ids: Vec::new(), reacted: None },
        };
        let is_added = event.kind == EventKind::ReactionAdded;
        reaction.count = count;
        reaction.user_ids.retain(|one| one != user);
        if is_added {
            reaction.user_ids.push(user.clone());
        }
        if *user == self.user_id {
            reaction.reacted = Some(is_added);
        }
        if count > 0 {
            held.reactions.push(reaction);
            held.reactions.sort_by(|one, other| one.emoji.cmp(&other.emoji));
        }
    }

    fn advance(&mut self) {
        while self.messages.contains_key(&(self.settled + 1)) {
            self.settled += 1;
        }
    }
}
