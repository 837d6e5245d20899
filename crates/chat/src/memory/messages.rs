//! Messages in memory.

use std::ops::Bound::{Excluded, Unbounded};

use super::{
    Call, Hook, MemoryStore, Reading, State,
    state::{is_live, living},
};
use crate::{
    model::{
        access::Authority,
        channel::ChannelHead,
        error::StoreError,
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        preview::{MessageOutline, MessagePreview},
        reaction::Toggle,
        rev::{ChangeNumber, Rev},
        seq::Seq,
        text::emoji::Emoji,
        time::Timestamp,
    },
    ports::message_store::{
        Append, AppendResult, Excerpt, IdempotencyRecord, MessageStore, Range, ReactionResult, RecordKey, Selection,
        UpdateResult,
    },
};

impl<H: Hook> MessageStore for MemoryStore<H> {
    async fn head(&self, channel: &ChannelId) -> Result<Option<(ChannelHead, Rev)>, StoreError> {
        self.call(Call::Head, |state| {
            let channel = state.channels.get(channel)?;
            Some((ChannelHead::from(channel), state.last_change(&channel.key())))
        })
        .await
    }

    async fn is_member(&self, channel: &ChannelKey, user: &UserId) -> Result<bool, StoreError> {
        self.call(Call::Member, |state| state.member(channel, user).is_some()).await
    }

    async fn previews(
        &self,
        wanted: &[(ChannelKey, Seq)],
        now: Timestamp,
    ) -> Result<Vec<(ChannelKey, MessagePreview)>, StoreError> {
        self.call(Call::Previews, |state| {
            for (channel, _) in wanted {
                self.hook.reads(state, channel, Reading::Messages);
            }
            let found = wanted.iter().filter_map(|(channel, seq)| Some((channel, state.message(channel, *seq)?)));
            let live = found.filter(|(_, item)| is_live(&item.stored, now));
            live.map(|(channel, item)| (channel.clone(), MessagePreview::from(&item.stored.message))).collect()
        })
        .await
    }

    async fn outlines(
        &self,
        channel: &ChannelKey,
        after: Seq,
        before: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<MessageOutline>, StoreError> {
        self.read(Call::Outlines, channel, Reading::Messages, |state| {
            let Some(all) = state.messages.get(channel).filter(|_| after < before) else { return Vec::new() };
            let newest = all.range((Excluded(after), Excluded(before))).rev().take(usize::from(limit));
            let live = newest.map(|(_, item)| &item.stored).filter(|stored| is_live(stored, now));
            live.map(|stored| MessageOutline::from(&stored.message)).collect()
        })
        .await
    }

    async fn append(&self, append: Append<'_>) -> Result<AppendResult, StoreError> {
        let attempt = self.attempt(Call::Append, |state| self.commit(state, |state| state.append(&append)));
        Ok(attempt.await?.unwrap_or(AppendResult::Conflict))
    }

    async fn idempotency_record(
        &self,
        channel: &ChannelKey,
        key: &RecordKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        self.call(Call::Record, |state| state.record(channel, key).cloned()).await
    }

    async fn message(&self, channel: &ChannelKey, seq: Seq, now: Timestamp) -> Result<Option<Message>, StoreError> {
        self.read(Call::Message, channel, Reading::Messages, |state| {
            let found = state.message(channel, seq).filter(|item| is_live(&item.stored, now));
            found.map(|item| item.stored.message.clone())
        })
        .await
    }

    async fn update_message(
        &self,
        by: &Authority<'_>,
        revised: &StoredMessage,
        number: ChangeNumber,
    ) -> Result<UpdateResult, StoreError> {
        let attempt = self.attempt(Call::Revise, |state| self.commit(state, |state| state.revise(by, revised, number)));
        Ok(attempt.await?.unwrap_or(UpdateResult::Conflict))
    }

    async fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        number: ChangeNumber,
        now: Timestamp,
    ) -> Result<ReactionResult, StoreError> {
        let attempt = self.attempt(Call::React, |state| {
            self.commit(state, |state| state.react(by, revision, emoji, toggle, number, now))
        });
        Ok(attempt.await?.unwrap_or(ReactionResult::Conflict))
    }

    async fn changes(
        &self,
        channel: &ChannelKey,
        after: Rev,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<(Rev, Seq)>, StoreError> {
        self.read(Call::Changes, channel, Reading::Messages, |state| {
            let Some(all) = state.changes.get(channel) else { return Vec::new() };
            let rest = all.range((Excluded(after), Unbounded)).take_while(|(_, record)| record.expires_at > now);
            rest.take(usize::from(limit)).map(|(rev, record)| (*rev, record.seq)).collect()
        })
        .await
    }

    async fn messages_among(
        &self,
        channel: &ChannelKey,
        seqs: &[Seq],
        now: Timestamp,
    ) -> Result<Vec<(Rev, Message)>, StoreError> {
        self.read(Call::MessagesAmong, channel, Reading::Messages, |state| {
            let found = seqs.iter().filter_map(|seq| state.message(channel, *seq)).map(|item| &item.stored);
            let live = found.filter(|stored| is_live(stored, now));
            live.map(|stored| (stored.rev, stored.message.clone())).collect()
        })
        .await
    }

    async fn messages(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        self.read(Call::Messages, channel, Reading::Messages, |state| {
            living(state.in_range(channel, range), now).take(usize::from(limit)).collect()
        })
        .await
    }

    async fn selected(
        &self,
        channel: &ChannelKey,
        selection: Selection,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Excerpt, StoreError> {
        let limit = usize::from(limit);
        let is_selected = |message: &Message| match selection {
            Selection::OutsideThreads => message.thread_seq.is_none(),
            Selection::Thread(root) => message.thread_seq == Some(root),
            Selection::Roots => message.thread.is_some(),
        };
        let find = |state: &State| {
            let items = state.in_range(channel, range).filter(|item| is_selected(&item.stored.message));
            living(items, now).take(limit + 1).collect::<Vec<_>>()
        };
        if selection == Selection::OutsideThreads {
            let mut messages = self.read(Call::Messages, channel, Reading::Messages, find).await?;
            let is_more = messages.len() > limit;
            messages.truncate(limit);
            let rest = messages.last().filter(|_| is_more).map(|message| message.seq);
            return Ok(Excerpt { messages, rest });
        }
        // The other selections are read from a list first.
        let mut listed: Vec<Seq> = self
            .read(Call::Listed, channel, Reading::Messages, |state| {
                find(state).into_iter().map(|message| message.seq).collect()
            })
            .await?;
        let is_more = listed.len() > limit;
        listed.truncate(limit);
        let rest = listed.last().copied().filter(|_| is_more);
        let messages = self
            .read(Call::Messages, channel, Reading::Messages, |state| {
                living(listed.iter().filter_map(|seq| state.message(channel, *seq)), now).collect()
            })
            .await?;
        Ok(Excerpt { messages, rest })
    }
}
