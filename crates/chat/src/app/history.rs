//! Reading the history of a channel.
//!
//! The permission is read before the messages, and again after them. A former member does not get messages that were
//! stored after the end of the membership.

use std::collections::BTreeSet;

use futures::future::try_join;

use crate::{
    app::{
        access::{authorize_read, authorize_read_with_rev, require_still_readable},
        channel_messages::ChannelMessages,
        page_size::fitting,
    },
    model::{
        channel::{AgentMode, Channel},
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        limits::{PAGE_BYTES, QUESTION_DURATION, REPLIES_IN_PROGRESS},
        message::{Message, Role},
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{Excerpt, MessageStore, Range, Selection},
        reply_leases::ReplyLeases,
    },
};

/// Messages that a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All messages of the channel.
    All,
    /// A part of them.
    Part(Selection),
}

/// Place of a page among the messages that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One end of the page is given.
    From(Range),
    /// The page has messages up to and including this `seq`, and messages after it, oldest first.
    Around(Seq),
}

/// Page that a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Messages that the page shows.
    pub shown: Shown,
    /// Place of the page.
    pub place: Place,
    /// Maximum number of messages.
    pub limit: u16,
}

impl PageRequest {
    /// Returns the request for messages of the whole history.
    #[must_use]
    pub fn of_history(range: Range, limit: u16) -> Self {
        Self { shown: Shown::All, place: Place::From(range), limit }
    }
}

/// Page of messages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryPage {
    /// Messages, in the order of the page's place.
    pub messages: Vec<Message>,
    /// Range of the next page, if there are more messages.
    pub next: Option<Range>,
    /// Range of the older messages, if there are any and the page is around a `seq`.
    pub previous: Option<Range>,
    /// Questions of the page whose reply is being written, oldest first. Only a page up to the newest message has them.
    pub replying_to: Vec<Seq>,
    /// Number of the channel's last change before the messages were read. They show all changes up to it, and maybe
    /// later ones.
    pub rev: Rev,
}

impl HistoryPage {
    /// Whether the page reveals nothing of the channel.
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.next.is_none() && self.previous.is_none()
    }
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Returns one message of a channel that `user` may read.
    ///
    /// # Errors
    /// Those of [`authorize_read`], [`ChatError::MessageNotFound`].
    pub async fn one_message(&self, channel: &ChannelId, user: &UserId, seq: Seq) -> Result<Message> {
        let key = authorize_read(self.channels, channel, user).await?.key();
        let message = self.messages.message(&key, seq, self.clock.now()).await?.ok_or(ChatError::MessageNotFound)?;
        require_still_readable(self.channels, &key, user).await?;
        Ok(message)
    }

    /// Reads a page on one side of a `seq`, and the position beyond which the range goes on.
    async fn read(&self, channel: &Channel, shown: Shown, range: Range, limit: u16) -> Result<Excerpt> {
        if matches!(range, Range::After(seq) if seq >= channel.last_seq) {
            return Ok(Excerpt::default());
        }
        let (key, now) = (channel.key(), self.clock.now());
        let Shown::Part(selection) = shown else {
            // One message more than requested shows whether there are more.
            let mut messages = self.messages.messages(&key, range, limit + 1, now).await?;
            let is_more = messages.len() > usize::from(limit);
            messages.truncate(usize::from(limit));
            let rest = messages.last().filter(|_| is_more).map(|last| last.seq);
            return Ok(Excerpt { messages, rest });
        };
        Ok(self.messages.selected(&key, selection, range, limit, now).await?)
    }

    /// Reads the messages on both sides of a `seq`.
    async fn around(&self, channel: &Channel, shown: Shown, seq: Seq, limit: u16) -> Result<HistoryPage> {
        let newer_limit = limit / 2;
        let (older, newer) = try_join(
            self.read(channel, shown, Range::Before(seq.next()), limit - newer_limit),
            // One message shows whether there are newer ones.
            self.read(channel, shown, Range::After(seq), newer_limit.max(1)),
        )
        .await?;
        let older = cut(older, limit - newer_limit, PAGE_BYTES / 2);
        let newer = cut(newer, newer_limit, PAGE_BYTES / 2);
        let messages = older.messages.into_iter().rev().chain(newer.messages).collect();
        let next = newer.rest.map(|rest| Range::After(rest.max(seq)));
        Ok(HistoryPage { messages, next, previous: older.rest.map(Range::Before), ..HistoryPage::default() })
    }
}

impl<Channels, Messages, Time> ChannelMessages<'_, Channels, Messages, Time>
where
    Channels: ChannelStore + ReplyLeases,
    Messages: MessageStore,
    Time: Clock,
{
    /// Returns a page of messages of a channel that `user` may read.
    ///
    /// # Errors
    /// Those of [`authorize_read`], and [`ChatError::MessageNotFound`] for the thread of a message that was never sent.
    pub async fn page(&self, channel: &ChannelId, user: &UserId, request: PageRequest) -> Result<HistoryPage> {
        let (access, rev) = authorize_read_with_rev(self.channels, channel, user).await?;
        let found = access.channel;
        let PageRequest { shown, place, limit } = request;
        // A thread outlives its root, which may be deleted or expired.
        if matches!(shown, Shown::Part(Selection::Thread(root)) if root > found.last_seq) {
            return Err(ChatError::MessageNotFound);
        }
        let mut page = match place {
            Place::Around(seq) => self.around(&found, shown, seq, limit).await?,
            Place::From(range) => {
                let Excerpt { messages, rest } = cut(self.read(&found, shown, range, limit).await?, limit, PAGE_BYTES);
                let next = rest.map(|rest| match range {
                    Range::After(_) => Range::After(rest),
                    Range::Newest | Range::Before(_) => Range::Before(rest),
                });
                HistoryPage { messages, next, ..HistoryPage::default() }
            }
        };
        page.rev = rev;
        let reaches_newest = match place {
            Place::From(Range::Newest) => true,
            Place::From(Range::Before(seq)) => seq > found.last_seq,
            Place::From(Range::After(_)) | Place::Around(_) => page.next.is_none(),
        };
        if reaches_newest && shown != Shown::Part(Selection::Roots) {
            page.replying_to = self.replying_to(&found, &page.messages).await?;
        }
        // An empty page reveals nothing, so it needs no second read of the permission.
        if !page.is_empty() {
            require_still_readable(self.channels, &found.key(), user).await?;
        }
        Ok(page)
    }

    /// Returns the questions among `messages` whose reply is being written. Reads the leases of the last few that may
    /// have one.
    async fn replying_to(&self, channel: &Channel, messages: &[Message]) -> Result<Vec<Seq>> {
        let now = self.clock.now();
        if channel.agent.mode == AgentMode::Off || channel.archived_at.is_some() {
            return Ok(Vec::new());
        }
        let questions = open_questions(messages, now);
        if questions.is_empty() {
            return Ok(questions);
        }
        Ok(self.channels.held(&channel.key(), &questions, now).await?)
    }
}

/// Returns the newest messages of users that no message of the agent quotes, up to [`REPLIES_IN_PROGRESS`].
fn open_questions(messages: &[Message], now: Timestamp) -> Vec<Seq> {
    let of_agent = messages.iter().filter(|message| message.role != Role::User);
    let answered: BTreeSet<Seq> = of_agent.filter_map(|message| message.reply_to).collect();
    let is_open = |message: &&Message| {
        message.role == Role::User
            && message.deleted_at.is_none()
            && message.created_at.until(now) < QUESTION_DURATION
            && !answered.contains(&message.seq)
    };
    let open: BTreeSet<Seq> = messages.iter().filter(is_open).map(|message| message.seq).collect();
    open.into_iter().rev().take(REPLIES_IN_PROGRESS).collect()
}

/// Returns the messages of an excerpt that fit `limit` and `most` bytes. They are at least one, unless `limit` is 0.
fn cut(excerpt: Excerpt, limit: u16, most: usize) -> Excerpt {
    let Excerpt { mut messages, rest } = excerpt;
    let fits = fitting(messages.iter().take(usize::from(limit)), most);
    if fits == messages.len() {
        return Excerpt { messages, rest };
    }
    messages.truncate(fits);
    let rest = Some(messages.last().map_or(Seq::ZERO, |last| last.seq));
    Excerpt { messages, rest }
}

#[cfg(test)]
mod tests;
