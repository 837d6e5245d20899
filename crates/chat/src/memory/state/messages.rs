//! Messages, their reactions, and the records of requests.

use std::{
    iter,
    ops::Bound::{Excluded, Unbounded},
};

use super::{ChangeRecord, Decision, Effect, MessageItem, Rule, State, StreamRecord, keys::send_bucket};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, ChannelHead},
        incarnation::ChannelKey,
        limits::{REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message::{Change, Message, MessageEvent, StoredMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        rev::{ChangeNumber, Rev},
        seq::Seq,
        text::emoji::Emoji,
        thread::ThreadSummary,
        time::Timestamp,
        trace::TraceContext,
    },
    ports::message_store::{Append, AppendResult, IdempotencyRecord, Range, ReactionResult, RecordKey, UpdateResult},
};

impl State {
    pub(crate) fn record(&self, channel: &ChannelKey, key: &RecordKey) -> Option<&IdempotencyRecord> {
        self.records.get(&self.record_place(channel))?.get(key)
    }

    /// Decides an append. A used idempotency key and an already stored message are checked first, since they are no
    /// failures.
    pub(crate) fn append(&self, append: &Append<'_>) -> Decision<AppendResult> {
        let Append { head, message, for_agent, record, member, token, now } = *append;
        let key = head.key();
        let taken = record.and_then(|record| self.record(&key, &record.key));
        if let Some(taken) = taken.filter(|taken| taken.expires_at > now) {
            return (AppendResult::KeyTaken(taken.clone()), None);
        }
        let there = self.message(&key, message.message.seq).filter(|_| !self.lacks(Rule::HeadNumber));
        let is_own = there.is_some_and(|there| there.stored.message.message_id == message.message.message_id);
        if is_own && record.is_none() && !self.lacks(Rule::OwnMessage) {
            return (AppendResult::Stored, None);
        }
        let moved_bucket = self.moved_bucket(append);
        let current = self.channels.get(&head.channel_id);
        if current.is_none_or(|current| !self.is_as_believed(current, head)) {
            let answer = match current.map(ChannelHead::from) {
                Some(current) => AppendResult::Stale { head: Some(current), bucket_full_at: moved_bucket },
                None => AppendResult::ChannelNotFound,
            };
            return (answer, None);
        }
        if member.is_some_and(|user| self.member(&key, user).is_none()) && !self.lacks(Rule::SenderIsMember) {
            return (AppendResult::NotAMember, None);
        }
        let question = record.and_then(|record| record.key.question());
        if question.is_some_and(|seq| !self.is_there(&key, seq, now)) && !self.lacks(Rule::QuestionHeld) {
            return (AppendResult::QuestionNotFound, None);
        }
        let refused = message.message.thread_seq.and_then(|root| self.refused_root(&key, root, now));
        if let Some(refused) = refused.filter(|_| !self.lacks(Rule::RootHeld)) {
            return (refused, None);
        }
        if moved_bucket.is_some() {
            return (AppendResult::Stale { head: None, bucket_full_at: moved_bucket }, None);
        }
        // In a mutant without another rule, the message of another attempt may be there.
        if there.is_some() && !is_own {
            return (AppendResult::Conflict, None);
        }
        let effect = Effect::MessageAppended {
            item: MessageItem { stored: message.clone(), for_agent },
            record: record.cloned(),
            full_at: token.map(|token| token.next),
        };
        (AppendResult::Stored, Some(effect))
    }

    /// Returns why a message can have no thread, if it cannot. A deleted message can.
    fn refused_root(&self, channel: &ChannelKey, root: Seq, now: Timestamp) -> Option<AppendResult> {
        match self.message(channel, root).filter(|item| is_live(&item.stored, now)) {
            None => Some(AppendResult::RootNotFound),
            Some(item) => item.stored.message.thread_seq.map(|_| AppendResult::NotARoot),
        }
    }

    /// Whether a message is neither deleted nor expired.
    fn is_there(&self, channel: &ChannelKey, seq: Seq, now: Timestamp) -> bool {
        let found = self.message(channel, seq);
        found.is_some_and(|item| is_live(&item.stored, now) && item.stored.message.deleted_at.is_none())
    }

    /// Returns the time when the sender's bucket is full, if it differs from the time that the append believes.
    fn moved_bucket(&self, append: &Append<'_>) -> Option<Timestamp> {
        let token = append.token?;
        let stored = self.buckets.get(&send_bucket(&append.message.message.sender_id)).copied();
        match token.full_at {
            None => stored.filter(|full_at| *full_at > append.now),
            Some(believed) if stored == Some(believed) => None,
            // Without a stored time, the bucket is full.
            Some(_) => Some(stored.unwrap_or(append.now)),
        }
    }

    /// Whether a channel still has the head that an append believes.
    fn is_as_believed(&self, current: &Channel, head: &ChannelHead) -> bool {
        (self.lacks(Rule::HeadNumber) || (current.last_seq, current.version) == (head.last_seq, head.version))
            && (self.lacks(Rule::HeadIncarnation) || current.incarnation == head.incarnation)
    }

    /// Returns the number of the channel's last change, if it is not the one that a change requires.
    fn moved_number(&self, channel: &ChannelKey, number: ChangeNumber) -> Option<Rev> {
        let last = self.last_change(channel);
        (last != number.last && !self.lacks(Rule::ChangeNumbered)).then_some(last)
    }

    pub(crate) fn revise(
        &self,
        by: &Authority<'_>,
        revised: &StoredMessage,
        number: ChangeNumber,
    ) -> Decision<UpdateResult> {
        let key = by.channel.key();
        if !self.holds(by, Rule::MessageAuthority) {
            return (UpdateResult::Stale, None);
        }
        let found = self.message(&key, revised.message.seq);
        let Some(before) = found.filter(|item| item.stored.message.deleted_at.is_none()) else {
            return (UpdateResult::MessageNotFound, None);
        };
        let version = before.stored.message.version + 1;
        if version != revised.message.version && !self.lacks(Rule::MessageAsRead) {
            return (UpdateResult::Stale, None);
        }
        if let Some(last) = self.moved_number(&key, number) {
            return (UpdateResult::Behind(last), None);
        }
        let mut after = before.clone();
        after.stored.rev = self.taken(number);
        let (message, to) = (&mut after.stored.message, &revised.message);
        message.content.clone_from(&to.content);
        message.content_type = to.content_type;
        message.metadata.clone_from(&to.metadata);
        message.edited_at = to.edited_at;
        message.deleted_at = to.deleted_at;
        message.version = version;
        if to.deleted_at.is_some() {
            message.reactions.clear();
            message.agent = None;
        }
        after.stored.trace.clone_from(&revised.trace);
        (UpdateResult::Done, Some(Effect::MessageRevised { before: before.clone(), after, number }))
    }

    pub(crate) fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        number: ChangeNumber,
        now: Timestamp,
    ) -> Decision<ReactionResult> {
        let key = by.channel.key();
        if !self.holds(by, Rule::MessageAuthority) {
            return (ReactionResult::Stale, None);
        }
        let found = self.message(&key, revision.seq);
        let is_there = |item: &&MessageItem| is_live(&item.stored, now) && item.stored.message.deleted_at.is_none();
        let Some(before) = found.filter(is_there) else { return (ReactionResult::MessageNotFound, None) };
        let reactions = &before.stored.message.reactions;
        let users = reactions.get(emoji);
        if toggle.is_done(users.is_some_and(|users| users.contains(&revision.caller))) {
            return (ReactionResult::Done, None);
        }
        let is_full = users.map_or(reactions.len() >= REACTIONS_PER_MESSAGE, |users| users.len() >= USERS_PER_REACTION);
        if toggle == Toggle::Add && is_full {
            return (ReactionResult::Full, None);
        }
        if let Some(last) = self.moved_number(&key, number) {
            return (ReactionResult::Behind(last), None);
        }
        let mut after = before.clone();
        after.stored.rev = self.taken(number);
        if !self.lacks(Rule::ReactionVersion) {
            after.stored.message.version += 1;
        }
        let reactions = &mut after.stored.message.reactions;
        let users = reactions.entry(emoji.clone()).or_default();
        match toggle {
            Toggle::Add => users.insert(revision.caller.clone()),
            Toggle::Remove => users.remove(&revision.caller),
        };
        if users.is_empty() {
            reactions.remove(emoji);
        }
        if let Some(trace) = &revision.trace {
            after.stored.trace = Some(TraceContext::clone(trace));
        }
        (ReactionResult::Done, Some(Effect::ReactionChanged { user: revision.caller.clone(), after, number }))
    }

    pub(super) fn message_appended(
        &mut self,
        item: MessageItem,
        record: Option<IdempotencyRecord>,
        full_at: Option<Timestamp>,
    ) {
        let (key, message) = (item.stored.channel(), &item.stored.message);
        if let Some(full_at) = full_at {
            self.buckets.insert(send_bucket(&message.sender_id), full_at);
        }
        if let Some(channel) = self.channels.get_mut(&key.channel_id) {
            channel.last_seq = message.seq;
            channel.last_message_at = Some(message.created_at);
        }
        if let Some(record) = record.filter(|_| !self.lacks(Rule::RecordKept)) {
            let place = self.record_place(&key);
            self.records.entry(place).or_default().insert(record.key.clone(), record);
        }
        self.count_reply(&key, &item.stored.message);
        self.put_message(Some(Change::Created), item);
    }

    /// Updates the summary of the thread that a message is in. It is no change that subscribers hear of.
    fn count_reply(&mut self, channel: &ChannelKey, reply: &Message) {
        if self.lacks(Rule::RepliesCounted) {
            return;
        }
        let root = reply.thread_seq.and_then(|root| self.messages.get_mut(channel)?.get_mut(&root));
        if let Some(root) = root {
            let summary = &mut root.stored.message.thread;
            *summary = Some(ThreadSummary::after_reply(*summary, reply.seq, reply.created_at));
        }
    }

    /// Returns the number that a change takes.
    fn taken(&self, number: ChangeNumber) -> Rev {
        if self.lacks(Rule::ChangeFollows) { number.rev().next() } else { number.rev() }
    }

    pub(super) fn message_changed(&mut self, after: MessageItem, number: ChangeNumber) {
        let (key, seq) = (after.stored.channel(), after.stored.message.seq);
        let rev = self.taken(number);
        self.last_changes.insert(key.channel_id.clone(), (key.incarnation, rev));
        if !self.lacks(Rule::ChangeRecorded) {
            let record = ChangeRecord { seq, expires_at: number.expires_at };
            self.changes.entry(key.clone()).or_default().insert(rev, record);
        }
        let before = self.message(&key, seq);
        let change = before.and_then(|before| Change::between(&before.stored.message, &after.stored.message));
        self.put_message(change, after);
    }

    /// Stores a message, and adds its change, if subscribers learn of it, to the stream.
    fn put_message(&mut self, change: Option<Change>, item: MessageItem) {
        if let Some(change) = change {
            let event = MessageEvent::of(change, item.stored.clone());
            self.stream.push(StreamRecord { event, for_agent: item.for_agent });
        }
        let place = self.messages.entry(item.stored.channel()).or_default();
        place.insert(item.stored.message.seq, item);
    }
}

impl State {
    /// Returns the stored messages of a range, expired or not, in the range's order.
    pub(crate) fn in_range(&self, channel: &ChannelKey, range: Range) -> Box<dyn Iterator<Item = &MessageItem> + '_> {
        let Some(all) = self.messages.get(channel) else { return Box::new(iter::empty()) };
        match range {
            Range::Newest => Box::new(all.values().rev()),
            Range::Before(seq) => Box::new(all.range(..seq).rev().map(|(_, item)| item)),
            Range::After(seq) => Box::new(all.range((Excluded(seq), Unbounded)).map(|(_, item)| item)),
        }
    }
}

/// Whether a message has not expired.
pub(crate) fn is_live(stored: &StoredMessage, now: Timestamp) -> bool {
    stored.expires_at.is_none_or(|expires_at| expires_at > now)
}

/// Returns the messages of a page that have not expired, as clients see them.
pub(crate) fn living<'a>(
    items: impl Iterator<Item = &'a MessageItem>,
    now: Timestamp,
) -> impl Iterator<Item = Message> {
    items.filter(move |item| is_live(&item.stored, now)).map(|item| item.stored.message.clone())
}
