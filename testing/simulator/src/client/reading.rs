//! The client's copy of a channel: the log of the client that is shipped, which reads what it needs.

use chat::{
    app::{
        changes::ChangesPage,
        history::{HistoryPage, PageRequest},
    },
    model::{error::ChatError, id::ChannelId, message::Message, rev::Rev, seq::Seq},
    ports::message_store::{MessageStore, Range},
};
use serde_json::json;
use switchboard_client::{Changes, ChannelLog, EventKind, Frame, Page};

use super::{Client, Left};
use crate::{invocation::request, mutant::Mutant, oracle::Derived, tables::Shown, world::LOUNGE};

/// Page size of the client's requests.
const PAGE: u16 = 3;

/// Messages of a channel that a client has.
pub(super) struct ChannelCopy {
    pub(super) log: ChannelLog,
    /// Duplicates that a client with a planted bug keeps.
    doubled: Shown,
}

impl ChannelCopy {
    /// Returns the messages that the client shows.
    pub(super) fn shown(&self) -> Shown {
        let messages = self.log.messages().map(|message| (Seq::new(message.seq), message.message_id.clone()));
        messages.chain(self.doubled.iter().cloned()).collect()
    }
}

/// Data that a client's copy lacks.
enum Lacking {
    Nothing,
    Messages,
    Changes(u64),
    Reply(u64),
}

impl Client {
    /// Forgets the messages of a channel.
    pub(super) fn forget(&mut self, of: &ChannelId) {
        self.copies.remove(of);
        self.derived.forget(of);
    }

    /// Returns the copy of a channel, which begins empty.
    pub(super) fn copy(&mut self, of: &ChannelId) -> &mut ChannelCopy {
        let user = &self.user;
        self.copies
            .entry(of.clone())
            .or_insert_with(|| ChannelCopy { log: ChannelLog::new(user.as_str()), doubled: Shown::new() })
    }

    /// Takes a frame of a channel, and reads what it shows to be missing.
    pub(super) async fn take_frame(&mut self, of: &ChannelId, frame: Frame) -> Result<(), Left> {
        let keeps_duplicates = self.world.has(Mutant::DuplicatesKept);
        let copy = self.copy(of);
        if let Frame::Events { events, .. } = &frame
            && keeps_duplicates
        {
            let created = events.iter().filter(|event| event.kind == EventKind::Created);
            for message in created.filter_map(|event| event.message.as_ref()) {
                if copy.log.message(message.seq).is_some() {
                    copy.doubled.push((Seq::new(message.seq), message.message_id.clone()));
                }
            }
        }
        copy.log.take_frame(frame.clone());
        if let Some(copy) = self.copies.get(of) {
            self.check_draft(&copy.log, &frame);
        }
        self.check(of);
        self.complete(of).await
    }

    /// Reads the messages after the last known one, and the changes that the client lacks.
    pub(super) async fn catch_up(&mut self, of: &ChannelId) -> Result<(), Left> {
        self.read_messages(of).await?;
        self.complete(of).await
    }

    /// Reads until nothing is missing.
    async fn complete(&mut self, of: &ChannelId) -> Result<(), Left> {
        loop {
            match self.lacking(of) {
                Lacking::Nothing => return Ok(()),
                Lacking::Messages => self.read_messages(of).await?,
                Lacking::Changes(after) => self.read_changes(of, Rev::new(after)).await?,
                Lacking::Reply(question) => self.read_reply(of, Seq::new(question)).await?,
            }
        }
    }

    /// Returns what the log needs, unless a planted bug ignores it.
    fn lacking(&self, of: &ChannelId) -> Lacking {
        let Some(ChannelCopy { log, .. }) = self.copies.get(of) else { return Lacking::Messages };
        if log.known().is_none() || (log.has_gap() && !self.world.has(Mutant::GapIgnored)) {
            return Lacking::Messages;
        }
        if let Some(after) = log.missed_changes().filter(|_| !self.world.has(Mutant::ChangeGapIgnored)) {
            return Lacking::Changes(after);
        }
        let unread = log.unread_reply().filter(|_| !self.world.has(Mutant::DraftGapIgnored));
        unread.map_or(Lacking::Nothing, Lacking::Reply)
    }

    /// Checks the messages that the client holds. The id of the lounge leads to several channels. Only the end of a
    /// socket tells the client so.
    fn check(&self, of: &ChannelId) {
        let Some(ChannelCopy { log, .. }) = self.copies.get(of) else { return };
        let rev = log.known().filter(|_| of.as_str() != LOUNGE).map(Rev::new);
        self.derived.hold(&self.world, self.name, of, log, rev);
    }

    /// Reads the messages after the last known one, page by page.
    async fn read_messages(&mut self, of: &ChannelId) -> Result<(), Left> {
        loop {
            let log = &mut self.copy(of).log;
            log.ask();
            let last = Seq::new(log.settled());
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
                    page.messages.iter().for_each(|message| Derived::read(&self.world, message, page.rev));
                    let skips = self.world.has(Mutant::ChangesSkipped);
                    let log = &mut self.copy(of).log;
                    log.take_page(page_of(&page));
                    if skips {
                        log.take_changes(changes_of(&ChangesPage { rev: page.rev, ..ChangesPage::default() }));
                    }
                    self.check(of);
                    if page.next.is_none() {
                        return Ok(());
                    }
                }
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.pause().await,
            }
        }
    }

    /// Reads the changes after a number, page by page.
    async fn read_changes(&mut self, of: &ChannelId, mut after: Rev) -> Result<(), Left> {
        loop {
            self.copy(of).log.ask();
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
                        self.read_change(of, &change.message, change.rev);
                    }
                    let next = self.copy(of).log.take_changes(changes_of(&page));
                    self.check(of);
                    let Some(next) = next else { return Ok(()) };
                    after = Rev::new(next);
                }
                Some(Err(ChatError::ChangesExpired)) => {
                    self.forget(of);
                    return Ok(());
                }
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.pause().await,
            }
        }
    }

    /// Checks a changed message that the client holds.
    fn read_change(&self, of: &ChannelId, message: &Message, rev: Rev) {
        let is_held = self.copies.get(of).is_some_and(|copy| copy.log.message(message.seq.get()).is_some());
        if is_held {
            Derived::read(&self.world, message, rev);
        }
    }
}

/// Returns a page of the history as a client parses it.
fn page_of(page: &HistoryPage) -> Page {
    let page = json!({
        "messages": page.messages, "has_more": page.next.is_some(), "rev": page.rev, "replying_to": page.replying_to,
    });
    serde_json::from_value(page).unwrap_or_else(|error| unreachable!("a page is as documented: {error}"))
}

/// Returns a page of changes as a client parses it.
fn changes_of(page: &ChangesPage) -> Changes {
    let change = |change: &chat::app::changes::MessageChange| json!({ "rev": change.rev, "message": change.message });
    let changes: Vec<serde_json::Value> = page.changes.iter().map(change).collect();
    let next = page.next.map(|after| json!({ "after": after }));
    let page = json!({ "changes": changes, "has_more": page.next.is_some(), "next": next, "rev": page.rev });
    serde_json::from_value(page).unwrap_or_else(|error| unreachable!("a page is as documented: {error}"))
}
