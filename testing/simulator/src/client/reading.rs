//! The client's copy of a channel: its messages by `seq`, and their changes by `rev`.

use chat::{
    app::history::PageRequest,
    model::{error::ChatError, id::ChannelId, message::Message, rev::Rev, seq::Seq},
    ports::message_store::{MessageStore, Range},
};
use serde_json::Value;

use super::{Client, Left};
use crate::{invocation::request, mutant::Mutant, tables::Shown, world::LOUNGE};

/// Page size of the client's requests.
const PAGE: u16 = 3;

/// Messages of a channel that a client has.
#[derive(Default)]
pub(super) struct ChannelCopy {
    /// Messages that the client shows.
    pub(super) shown: Shown,
    /// Number up to which the client has all changes of these messages. `None`: it has read no page.
    rev: Option<Rev>,
}

impl ChannelCopy {
    fn last_seq(&self) -> Seq {
        self.shown.last().map_or(Seq::ZERO, |(seq, _)| *seq)
    }
}

/// Data that a client's copy lacks.
enum Lacking {
    Messages,
    Changes,
}

impl Client {
    /// Forgets the messages of a channel.
    pub(super) fn forget(&mut self, of: &ChannelId) {
        self.copies.remove(of);
        self.derived.forget(of);
    }

    /// Takes an event of a channel.
    pub(super) async fn take_event(&mut self, of: &ChannelId, event: &Value) -> Result<(), Left> {
        let Some(seq) = event["seq"].as_u64().map(Seq::new) else { return Ok(()) };
        if self.copies.get(of).is_none_or(|copy| copy.rev.is_none()) {
            return self.complete(of, Lacking::Messages).await;
        }
        let message = event["message"]["message_id"].as_str();
        let has = self.last_seq(of);
        // An event of any kind reveals the messages up to its own, since a later state is read with them.
        let is_gap = seq > has.next() || (seq > has && message.is_none());
        if is_gap && !self.world.has(Mutant::GapIgnored) {
            return self.complete(of, Lacking::Messages).await;
        }
        if let Some(message) = message.filter(|_| seq > has || self.world.has(Mutant::DuplicatesKept)) {
            self.copies.entry(of.clone()).or_default().shown.push((seq, message.to_owned()));
        }
        let Some(rev) = event["rev"].as_u64() else {
            self.derived.hear(&self.world, event);
            return Ok(());
        };
        let first = Rev::new(event["rev_from"].as_u64().unwrap_or(rev));
        let (rev, known) = (Rev::new(rev), self.rev(of));
        if first > known.next() && !self.world.has(Mutant::ChangeGapIgnored) {
            return self.complete(of, Lacking::Changes).await;
        }
        self.derived.hear(&self.world, event);
        self.learn(of, known.max(rev));
        Ok(())
    }

    /// Reads the messages after the last known one, and the changes that the client lacks.
    pub(super) async fn catch_up(&mut self, of: &ChannelId) -> Result<(), Left> {
        self.complete(of, Lacking::Messages).await
    }

    async fn complete(&mut self, of: &ChannelId, first: Lacking) -> Result<(), Left> {
        let mut lacking = Some(first);
        while let Some(next) = lacking {
            lacking = match next {
                Lacking::Messages => self.read_messages(of).await?,
                Lacking::Changes => self.read_changes(of).await?,
            };
        }
        Ok(())
    }

    fn last_seq(&self, of: &ChannelId) -> Seq {
        self.copies.get(of).map_or(Seq::ZERO, ChannelCopy::last_seq)
    }

    fn rev(&self, of: &ChannelId) -> Rev {
        self.copies.get(of).and_then(|copy| copy.rev).unwrap_or_default()
    }

    /// Sets the number up to which the client has all changes.
    fn learn(&mut self, of: &ChannelId, rev: Rev) {
        self.copies.entry(of.clone()).or_default().rev = Some(rev);
        // The id of the lounge leads to several channels. Only the end of a socket tells the client so.
        if of.as_str() != LOUNGE {
            self.derived.require(&self.world, self.name, of, rev);
        }
    }

    /// Reads the messages after the last known one, page by page. The `rev` of a page is from before its messages, so
    /// the client knows at most the smallest.
    async fn read_messages(&mut self, of: &ChannelId) -> Result<Option<Lacking>, Left> {
        loop {
            let last = self.last_seq(of);
            let after = if self.world.has(Mutant::CursorOffByOne) { last.next() } else { last };
            let (of_channel, of_user, is_late) = (of.clone(), self.user.clone(), self.world.has(Mutant::PageRevLate));
            let page = request(&self.world, self.caller(), |node| async move {
                let request = PageRequest::of_history(Range::After(after), PAGE);
                let mut page = node.channel_messages().page(&of_channel, &of_user, request).await;
                if let Ok(page) = &mut page
                    && is_late
                    && let Ok(Some((_, rev))) = MessageStore::head(&node.store, &of_channel).await
                {
                    page.rev = rev;
                }
                if page.as_ref().is_ok_and(|page| !page.messages.is_empty()) {
                    node.answers_with_what_it_read();
                }
                page
            })
            .await
            .1;
            match page {
                Some(Ok(page)) => {
                    let has_more = page.next.is_some();
                    page.messages.iter().for_each(|message| self.derived.read(&self.world, message, page.rev));
                    let copy = self.copies.entry(of.clone()).or_default();
                    let messages = page.messages.into_iter();
                    copy.shown.extend(messages.map(|message| (message.seq, message.message_id.to_string())));
                    let known = copy.rev.map_or(page.rev, |known| known.min(page.rev));
                    if self.world.has(Mutant::ChangesSkipped) {
                        self.learn(of, page.rev);
                    } else {
                        self.learn(of, known);
                    }
                    if !has_more {
                        for question in page.replying_to {
                            self.read_reply(of, question).await?;
                        }
                        return Ok((page.rev > self.rev(of)).then_some(Lacking::Changes));
                    }
                }
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.pause().await,
            }
        }
    }

    /// Reads the changes after the last known one, page by page. A change of a message that the client does not show
    /// reveals missing messages.
    async fn read_changes(&mut self, of: &ChannelId) -> Result<Option<Lacking>, Left> {
        let mut after = self.rev(of);
        let mut is_behind = false;
        loop {
            let (of_channel, of_user) = (of.clone(), self.user.clone());
            let page = request(&self.world, self.caller(), |node| async move {
                let page = node.channel_messages().changes(&of_channel, &of_user, after, PAGE).await;
                if page.as_ref().is_ok_and(|page| !page.changes.is_empty()) {
                    node.answers_with_what_it_read();
                }
                page
            })
            .await
            .1;
            match page {
                Some(Ok(page)) => {
                    let mut last = after;
                    for change in &page.changes {
                        if change.rev <= last || change.rev > page.rev {
                            let (name, rev) = (self.name, change.rev);
                            self.world.violation(format!("{name} reads change {rev} of {of} after {last}"));
                        }
                        last = change.rev;
                        is_behind |= !self.take_change(of, &change.message, change.rev);
                    }
                    let Some(next) = page.next else {
                        self.learn(of, page.rev);
                        return Ok(is_behind.then_some(Lacking::Messages));
                    };
                    after = next;
                }
                Some(Err(ChatError::ChangesExpired)) => {
                    self.forget(of);
                    return Ok(Some(Lacking::Messages));
                }
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.pause().await,
            }
        }
    }

    /// Takes a changed message. Returns `false` if it comes after those that the client shows.
    fn take_change(&self, of: &ChannelId, message: &Message, rev: Rev) -> bool {
        if message.seq > self.last_seq(of) {
            return false;
        }
        self.derived.read(&self.world, message, rev);
        true
    }
}
