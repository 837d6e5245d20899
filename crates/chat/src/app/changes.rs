//! Reading the changes of a channel's messages: edits, deletions and reactions, by their numbers.
//!
//! A client that was away has old states of messages. It reads the latest state of each message that was changed after
//! the last number that it knows. The permission is read before the messages, and again after them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    app::{
        access::{authorize_read_with_rev, require_still_readable},
        channel_messages::ChannelMessages,
        page_size::fitting,
    },
    model::{
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        limits::PAGE_BYTES,
        message::Message,
        rev::Rev,
        seq::Seq,
    },
    ports::{channel_store::ChannelStore, clock::Clock, message_store::MessageStore},
};

/// Latest state of a changed message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageChange {
    /// Number of the message's last change on the page.
    pub rev: Rev,
    /// The message. It shows this change, and maybe later ones.
    pub message: Message,
}

/// Page of changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangesPage {
    /// Changed messages, each once, in the order of their numbers.
    pub changes: Vec<MessageChange>,
    /// Number after which the next page begins, if there are more changes.
    pub next: Option<Rev>,
    /// Number of the channel's newest change.
    pub rev: Rev,
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Returns a page of the changes after `after` of messages of a channel that `user` may read. Looks at up to `limit`
    /// changes. Leaves out messages that have expired, and those whose last change is on a later page.
    ///
    /// # Errors
    /// Those of [`authorize_read_with_rev`], and [`ChatError::ChangesExpired`].
    pub async fn changes(&self, channel: &ChannelId, user: &UserId, after: Rev, limit: u16) -> Result<ChangesPage> {
        let (access, newest) = authorize_read_with_rev(self.channels, channel, user).await?;
        // A number beyond the newest one is of another channel that had the id.
        if after > newest {
            return Err(ChatError::ChangesExpired);
        }
        if after == newest {
            return Ok(ChangesPage { rev: newest, ..ChangesPage::default() });
        }
        let (key, now) = (access.key(), self.clock.now());
        let records = unbroken(self.messages.changes(&key, after, limit, now).await?, after);
        let Some((last, _)) = records.last().copied() else { return Err(ChatError::ChangesExpired) };
        let newest = newest.max(last);
        let seqs: BTreeSet<Seq> = records.iter().map(|(_, seq)| *seq).collect();
        let seqs: Vec<Seq> = seqs.into_iter().collect();
        let found = self.messages.messages_among(&key, &seqs, now).await?;
        let page = page(&records, found, newest);
        require_still_readable(self.channels, &key, user).await?;
        Ok(page)
    }
}

/// Returns the records up to the first missing number after `after`.
fn unbroken(mut records: Vec<(Rev, Seq)>, after: Rev) -> Vec<(Rev, Seq)> {
    let mut expected = after;
    let gap = records.iter().position(|(rev, _)| {
        expected = expected.next();
        *rev != expected
    });
    records.truncate(gap.unwrap_or(records.len()));
    records
}

/// Returns the page with the messages `found` of `records`. `newest` is the number of the channel's newest change.
fn page(records: &[(Rev, Seq)], found: Vec<(Rev, Message)>, newest: Rev) -> ChangesPage {
    let last_of: BTreeMap<Seq, Rev> = records.iter().map(|(rev, seq)| (*seq, *rev)).collect();
    let shown = found.into_iter().filter_map(|(last, message)| {
        let rev = *last_of.get(&message.seq)?;
        // A message that was changed again is on the page of its last change, up to the newest one.
        (last <= rev || last > newest).then_some(MessageChange { rev, message })
    });
    let mut changes: Vec<MessageChange> = shown.collect();
    changes.sort_unstable_by_key(|change| change.rev);
    let fits = fitting(changes.iter().map(|change| &change.message), PAGE_BYTES);
    let cut = changes.get(fits).map(|change| change.rev);
    changes.truncate(fits);
    let processed = records.iter().map(|(rev, _)| *rev).take_while(|rev| cut.is_none_or(|cut| *rev < cut)).last();
    ChangesPage { changes, next: processed.filter(|last| *last < newest), rev: newest }
}

#[cfg(test)]
mod tests;
