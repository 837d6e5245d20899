//! Messages of one channel.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{Changes, Event, EventKind, Message, Page, Reaction};

/// The messages of a channel by their numbers, as one user sees them. Detects missing messages and changes.
///
/// After [`crate::Error::requires_reload`], a new log begins with a page of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLog {
    user_id: String,
    messages: BTreeMap<u64, Message>,
    settled: u64,
    /// Number up to which the held messages have all changes; `None` before the first page.
    known: Option<u64>,
    /// Largest change number of a page or an event.
    newest: u64,
    /// Largest number of a message that a change named and that was not held.
    named: u64,
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

    /// Returns whether a message is missing before the newest one that is held or that a change named. Then the history
    /// must be read after [`ChannelLog::settled`].
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.messages.keys().next_back().is_some_and(|last| *last > self.settled) || self.named > self.settled
    }

    /// Returns the change number after which changes are missing; the argument for `changes_after`. `None` if no change is
    /// missing.
    #[must_use]
    pub fn missed_changes(&self) -> Option<u64> {
        self.known.filter(|known| *known < self.newest)
    }

    /// Adds the events of a push. A duplicate, or an older version of a message, changes nothing.
    pub fn take_events(&mut self, events: Vec<Event>) {
        for event in events {
            self.count(&event);
            match (event.kind, &event.message) {
                // A message up to the settled ones that is not held is a late repetition of a first state.
                (EventKind::Created, Some(message)) if self.may_hold(message.seq) => self.keep(message.clone()),
                (EventKind::Updated | EventKind::Deleted, Some(message)) => self.change(message.clone()),
                (EventKind::ReactionAdded | EventKind::ReactionRemoved, _) => {
                    self.name(event.seq);
                    self.react(&event);
                }
                _ => {}
            }
        }
        self.advance();
    }

    /// Adds a page of history after [`ChannelLog::settled`].
    pub fn take_page(&mut self, page: Page) {
        // The last page, if it was read after all known changes, omits only messages that have expired.
        if !page.has_more && page.rev >= self.newest {
            self.settled = self.settled.max(self.named);
        }
        self.newest = self.newest.max(page.rev);
        // The page may lack later changes that events have announced for messages that were not held.
        self.known = Some(self.known.map_or(page.rev, |known| known.min(page.rev)));
        for message in page.messages {
            // A number that the history omits has expired.
            self.settled = self.settled.max(message.seq);
            self.keep(message);
        }
        self.advance();
    }

    /// Applies a page of changes after [`ChannelLog::missed_changes`]. Returns the position of the next page, if there is
    /// one.
    pub fn take_changes(&mut self, page: Changes) -> Option<u64> {
        for change in page.changes {
            self.change(change.message);
        }
        self.newest = self.newest.max(page.rev);
        if page.has_more {
            return page.next.and_then(|next| next.after);
        }
        self.known = self.known.max(Some(page.rev));
        None
    }

    /// Returns whether a created message is held, or comes after the settled ones.
    fn may_hold(&self, seq: u64) -> bool {
        seq > self.settled || self.messages.contains_key(&seq)
    }

    /// Takes the new state of a message. A message that is not held and has an earlier number was never shown.
    fn change(&mut self, message: Message) {
        self.name(message.seq);
        if self.messages.contains_key(&message.seq) {
            self.keep(message);
        }
    }

    /// Takes the number of a changed message. If the message is not held, and comes after the settled ones, its push was
    /// missed: its first state may come later, and would lack the change.
    fn name(&mut self, seq: u64) {
        if !self.messages.contains_key(&seq) {
            self.named = self.named.max(seq);
        }
    }

    /// Counts the changes of an event. A number beyond the next one shows that a change was missed.
    fn count(&mut self, event: &Event) {
        let Some(rev) = event.rev else { return };
        self.newest = self.newest.max(rev);
        self.known =
            self.known.map(|known| if event.rev_from.unwrap_or(rev) <= known + 1 { known.max(rev) } else { known });
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
                    *held = message;
                }
                held.thread = summaries.into_iter().flatten().max_by_key(|thread| thread.reply_count);
            }
        }
    }

    /// Adds or removes a user's reaction, if the event follows the held version. It has the resulting number of users.
    /// After a missed version, the message comes with the missed changes.
    fn react(&mut self, event: &Event) {
        let follows = |held: &&mut Message| held.version + 1 == event.version;
        let Some(held) = self.messages.get_mut(&event.seq).filter(follows) else { return };
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
