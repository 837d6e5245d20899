//! Messages of one channel.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use crate::{Changes, Draft, Event, EventKind, Frame, Message, Page, Reaction, Reply, Sent, Thread, draft::DraftFrame};

/// Request that a log needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing is missing.
    Nothing,
    /// The newest page of the history, because no page is held: [`ChannelLog::take_newest`].
    Reload,
    /// The messages after this number: [`ChannelLog::take_page`].
    MessagesAfter(u64),
    /// The changes after this number: [`ChannelLog::take_changes`].
    ChangesAfter(u64),
}

/// The messages of a channel by their numbers, as one user sees them. Detects missing messages and changes.
///
/// After [`crate::Error::requires_reload`], [`ChannelLog::expire`] forgets the messages, and the history is read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLog {
    user_id: String,
    messages: BTreeMap<u64, Message>,
    settled: u64,
    /// Largest message number of an event, a change or a draft.
    told: u64,
    /// Number up to which the held messages have all changes; `None` before the first page.
    known: Option<u64>,
    /// Largest change number of a page or an event.
    newest: u64,
    /// `newest` and the newest message at the time of the last request.
    asked: Option<(u64, u64)>,
    has_earlier: bool,
    drafts: BTreeMap<u64, Draft>,
    /// Questions whose replies are stored.
    answered: BTreeSet<u64>,
    /// Questions whose replies must be read.
    unread_replies: BTreeSet<u64>,
}

impl ChannelLog {
    /// Creates an empty log of a user.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), ..Self::default() }
    }

    /// Sets the user, if it was unknown.
    pub fn set_user(&mut self, user_id: &str) {
        user_id.clone_into(&mut self.user_id);
    }

    /// Returns the messages, oldest first.
    #[must_use]
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.values()
    }

    /// Returns a held message.
    #[must_use]
    pub fn message(&self, seq: u64) -> Option<&Message> {
        self.messages.get(&seq)
    }

    /// Returns the drafts of replies that are not stored yet, by the numbers of their questions.
    pub fn drafts(&self) -> impl Iterator<Item = (u64, &Draft)> {
        self.drafts.iter().map(|(question, draft)| (*question, draft))
    }

    /// Returns the number up to which no message is missing; the argument for `messages_after`.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Returns the number up to which all changes are held; `None` before the first page.
    #[must_use]
    pub fn known(&self) -> Option<u64> {
        self.known
    }

    /// Returns the number of the oldest held message.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.messages.keys().next().copied()
    }

    /// Returns whether the server has messages before the oldest held one.
    #[must_use]
    pub fn has_earlier(&self) -> bool {
        self.has_earlier
    }

    /// Returns whether a message before the newest is missing, so that the history must be read.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.last() > self.settled
    }

    /// Returns the change number after which changes are missing; the argument for `changes_after`. `None` if no change is
    /// missing.
    #[must_use]
    pub fn missed_changes(&self) -> Option<u64> {
        self.known.filter(|known| *known < self.newest)
    }

    /// Returns the request that is needed next.
    #[must_use]
    pub fn need(&self) -> Need {
        if self.known.is_none() {
            Need::Reload
        } else if self.has_gap() {
            Need::MessagesAfter(self.settled)
        } else {
            self.missed_changes().map_or(Need::Nothing, Need::ChangesAfter)
        }
    }

    /// Returns a question whose reply must be read: a frame was lost, or a page shows that the agent is replying.
    #[must_use]
    pub fn unread_reply(&self) -> Option<u64> {
        self.unread_replies.first().copied()
    }

    /// Notes that a request is sent. Its response answers only for numbers that were known before it.
    pub fn ask(&mut self) {
        self.asked = Some((self.newest, self.last()));
        self.drafts.values_mut().for_each(Draft::ask);
    }

    /// Forgets all messages, because the missed changes are no longer stored.
    pub fn expire(&mut self) {
        *self = Self::new(&self.user_id);
    }

    /// Takes a frame of this channel. Ignores frames that are not about messages.
    pub fn take_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Events { events, .. } => self.take_events(events),
            Frame::Draft { reply_to, draft_id, status, position, text, seq, .. } => {
                self.take_draft(reply_to, &DraftFrame { draft_id: &draft_id, status, position, text: &text }, seq);
            }
            _ => {}
        }
    }

    /// Adds the events of a push. A duplicate, or an older version of a message, changes nothing.
    pub fn take_events(&mut self, events: Vec<Event>) {
        for event in events {
            self.count(&event);
            match (event.kind, event.message) {
                (EventKind::Created | EventKind::Updated | EventKind::Deleted, Some(message)) => {
                    self.keep_shown(message);
                }
                (kind @ (EventKind::ReactionAdded | EventKind::ReactionRemoved), _) => {
                    self.told = self.told.max(event.seq);
                    if let (Some(emoji), Some(user), Some(count)) = (event.emoji, event.user_id, event.count) {
                        let is_added = kind == EventKind::ReactionAdded;
                        self.react(event.seq, event.version, &Reacted { emoji, user, count, is_added });
                    }
                }
                _ => {}
            }
        }
        self.advance();
    }

    /// Takes the newest page of the history, as the beginning of this log. Keeps messages that events brought before it.
    pub fn take_newest(&mut self, page: Page) {
        let numbers = || page.messages.iter().map(|message| message.seq);
        self.settled = numbers().max().unwrap_or_default().max(self.settled);
        // Messages are missing between those before the page and the page.
        if page.has_more
            && let Some(first) = numbers().min()
        {
            self.messages = self.messages.split_off(&first);
        }
        self.take_earlier(page);
    }

    /// Adds a page of history before [`ChannelLog::first`].
    pub fn take_earlier(&mut self, page: Page) {
        self.has_earlier = page.has_more;
        self.join(&page);
        for message in page.messages {
            self.keep(message);
        }
        self.advance();
    }

    /// Adds a page of history after [`ChannelLog::settled`].
    pub fn take_page(&mut self, page: Page) {
        self.join(&page);
        let is_last = !page.has_more;
        for message in page.messages {
            // A number that the history omits has expired.
            self.settled = self.settled.max(message.seq);
            self.keep(message);
        }
        if let Some((_, last)) = self.asked.take().filter(|_| is_last) {
            self.settled = self.settled.max(last);
            self.forget_ended_drafts(&page.replying_to);
        }
        self.advance();
    }

    /// Applies a page of changes after [`ChannelLog::missed_changes`]. Returns the position of the next page, if there is
    /// one.
    pub fn take_changes(&mut self, page: Changes) -> Option<u64> {
        for change in page.changes {
            self.keep_shown(change.message);
        }
        self.newest = self.newest.max(page.rev);
        if page.has_more
            && let Some(after) = page.next.and_then(|next| next.after)
        {
            return Some(after);
        }
        self.known = self.known.max(Some(page.rev));
        self.advance();
        // A number that the server does not have belongs to another channel that had the id.
        if self.asked.take().is_some_and(|(newest, _)| self.newest <= newest.max(page.rev)) {
            self.newest = page.rev;
        }
        None
    }

    /// Takes the response to a sent message.
    pub fn take_sent(&mut self, sent: Sent) {
        self.newest = self.newest.max(sent.rev);
        self.keep(sent.message);
        self.advance();
    }

    /// Takes a message as a response of the server has it, such as that to an edit.
    pub fn take_message(&mut self, message: Message) {
        if self.messages.contains_key(&message.seq) {
            self.keep(message);
        }
    }

    /// Takes a frame of a draft. `seq` is the number of the stored reply.
    pub fn take_draft(&mut self, question: u64, frame: &DraftFrame<'_>, seq: Option<u64>) {
        self.told = self.told.max(seq.unwrap_or_default());
        if self.answered.contains(&question) {
            return;
        }
        let draft = self.drafts.entry(question).or_default();
        draft.take_frame(frame.draft_id, frame.status, frame.position, frame.text);
        if frame.status.is_without_message() && seq.is_none() {
            self.end_draft(question);
        } else if draft.is_behind() {
            self.unread_replies.insert(question);
        } else {
            self.unread_replies.remove(&question);
        }
    }

    /// Takes a reply as it is stored.
    pub fn take_reply(&mut self, question: u64, reply: Reply) {
        self.unread_replies.remove(&question);
        self.told = self.told.max(reply.seq.unwrap_or_default());
        if self.answered.contains(&question) {
            return;
        }
        let draft = self.drafts.entry(question).or_default();
        if reply.status.is_without_message() && reply.seq.is_none() && !draft.is_ahead_of(&reply) {
            return self.end_draft(question);
        }
        draft.take_reply(reply);
        if draft.is_behind() {
            self.unread_replies.insert(question);
        }
    }

    /// Notes that the server had no reply to read. A frame that came since the request shows a later one.
    pub(crate) fn miss_reply(&mut self, question: u64) {
        if self.drafts.get_mut(&question).is_some_and(Draft::take_heard) {
            self.unread_replies.insert(question);
        } else {
            self.end_draft(question);
        }
    }

    /// Drops the draft of a reply that ended without a message, or whose question is gone.
    pub fn end_draft(&mut self, question: u64) {
        self.unread_replies.remove(&question);
        self.drafts.remove(&question);
    }

    /// Returns the largest number of a message that is held or was named.
    fn last(&self) -> u64 {
        self.messages.keys().next_back().copied().unwrap_or_default().max(self.told)
    }

    /// Takes the numbers of a page of history.
    fn join(&mut self, page: &Page) {
        self.newest = self.newest.max(page.rev);
        // The page may lack later changes that events have announced for messages that were not held.
        self.known = Some(self.known.map_or(page.rev, |known| known.min(page.rev)));
        let unread = |question: &&u64| !self.drafts.contains_key(question) && !self.answered.contains(question);
        let unread: Vec<u64> = page.replying_to.iter().filter(unread).copied().collect();
        self.unread_replies.extend(unread);
    }

    /// Reads the replies again that ended while no frame arrived.
    fn forget_ended_drafts(&mut self, replying_to: &[u64]) {
        let ended = self.drafts.keys().filter(|question| !replying_to.contains(question));
        self.unread_replies.extend(ended.copied());
    }

    /// Counts the changes of an event. A number beyond the next one shows that a change was missed.
    fn count(&mut self, event: &Event) {
        let Some(rev) = event.rev else { return };
        self.newest = self.newest.max(rev);
        // A reaction to a message that will come later is missing then.
        let is_applied = event.message.is_some() || event.seq <= self.settled || self.messages.contains_key(&event.seq);
        if !is_applied {
            return;
        }
        self.known = self
            .known
            .map(|known| if event.rev_from.unwrap_or(rev) <= known.saturating_add(1) { known.max(rev) } else { known });
    }

    /// Keeps a message, unless it was never shown: it is before the first page, or had expired. A first state of such a
    /// message is a late repetition, which may have changed since.
    fn keep_shown(&mut self, message: Message) {
        if message.seq > self.settled || self.messages.contains_key(&message.seq) {
            self.keep(message);
        }
    }

    /// Keeps the newer version of a message. The summary of its thread only grows, and is not part of the version.
    fn keep(&mut self, mut message: Message) {
        let (seq, root) = (message.seq, message.thread_seq);
        if message.role != "user"
            && let Some(question) = message.reply_to
        {
            self.answered.insert(question);
            self.end_draft(question);
        }
        match self.messages.entry(seq) {
            Entry::Vacant(place) => {
                place.insert(message);
            }
            Entry::Occupied(mut place) => {
                let held = place.get_mut();
                let summaries = [held.thread.take(), message.thread.take()];
                if held.version < message.version {
                    keep_own_reactions(&self.user_id, held, &mut message);
                    *held = message;
                }
                held.thread = summaries.into_iter().flatten().max_by_key(|thread| thread.reply_count);
            }
        }
        self.summarise(seq);
        if let Some(root) = root {
            self.summarise(root);
        }
    }

    /// Adds held replies to the summary of a thread that came after it.
    fn summarise(&mut self, root: u64) {
        let Some(held) = self.messages.get(&root) else { return };
        let (count, last) =
            held.thread.as_ref().map_or((0, root), |thread| (thread.reply_count, thread.last_reply_seq));
        let later = self.messages.range(last.saturating_add(1)..).map(|(_, message)| message);
        let later: Vec<_> = later.filter(|message| message.thread_seq == Some(root)).collect();
        let Some(newest) = later.last() else { return };
        let summary = Thread {
            reply_count: count.saturating_add(u64::try_from(later.len()).unwrap_or_default()),
            last_reply_seq: newest.seq,
            last_reply_at: newest.created_at.clone(),
        };
        if let Some(held) = self.messages.get_mut(&root) {
            held.thread = Some(summary);
        }
    }

    /// Adds or removes a user's reaction, if the event follows the held version. It has the resulting number of users.
    /// After a missed version, the message comes with the missed changes.
    fn react(&mut self, seq: u64, version: u64, event: &Reacted) {
        let follows = |held: &&mut Message| held.version.saturating_add(1) == version;
        let Some(held) = self.messages.get_mut(&seq).filter(follows) else { return };
        held.version = version;
        let mut reaction = match held.reactions.iter().position(|reaction| reaction.emoji == event.emoji) {
            Some(at) => held.reactions.remove(at),
            None => Reaction {
                emoji: event.emoji.clone(),
                count: event.count,
                user_ids: Vec::new(),
                // No user had reacted with it, so this one had not.
                reacted: Some(false),
            },
        };
        reaction.count = event.count;
        reaction.user_ids.retain(|one| *one != event.user);
        if event.is_added {
            reaction.user_ids.push(event.user.clone());
        }
        if event.user == self.user_id {
            reaction.reacted = Some(event.is_added);
        }
        if event.count > 0 {
            held.reactions.push(reaction);
            held.reactions.sort_by(|one, other| one.emoji.cmp(&other.emoji));
        }
    }

    fn advance(&mut self) {
        while self.messages.contains_key(&self.settled.saturating_add(1)) {
            self.settled += 1;
        }
    }
}

/// A reaction that was added or removed.
struct Reacted {
    emoji: String,
    user: String,
    count: u64,
    is_added: bool,
}

/// Keeps the user's own reactions, which no frame states, in a later state of a message.
fn keep_own_reactions(user_id: &str, held: &Message, message: &mut Message) {
    let is_next = held.version.saturating_add(1) == message.version;
    for reaction in message.reactions.iter_mut().filter(|reaction| reaction.reacted.is_none()) {
        let names_all = u64::try_from(reaction.user_ids.len()).is_ok_and(|named| named >= reaction.count);
        let before = held.reactions.iter().find(|one| is_next && one.emoji == reaction.emoji);
        let is_named = reaction.user_ids.iter().any(|one| one == user_id);
        reaction.reacted = if is_named || names_all { Some(is_named) } else { before.and_then(|one| one.reacted) };
    }
}
