//! Threads: the summaries of their roots, the items that list them, and the reads by these items.

use std::collections::BTreeMap;

use chat::{
    model::{error::StoreError, incarnation::ChannelKey, message::Message, seq::Seq, time::Timestamp},
    ports::message_store::{Append, Excerpt, Range, SELECTION_READS},
};

use super::{DynamoMessages, reads::is_live};
use crate::{
    dynamodb::{
        item::{n, s, text},
        keys::{self, SortRange},
        range_query::range_query,
        transaction::{Part, Transaction, Write},
    },
    sdk::sdk_error,
};

/// Condition that a message has not expired at `:now`, and is in no thread. It may be deleted.
const ROOT: &str = "attribute_exists(seq) AND attribute_not_exists(thread_seq) \
                    AND (attribute_not_exists(expires_at) OR expires_at > :now)";

/// Update of a root. Its summary is an empty map before the first reply.
const COUNT: &str = "SET #thread.reply_count = if_not_exists(#thread.reply_count, :none) + :one, \
                     #thread.last_reply_seq = :seq, #thread.last_reply_at = :at";

/// List of messages in `chat_channels`.
#[derive(Debug, Clone, Copy)]
pub(super) enum List {
    /// Messages in the thread of a root.
    Thread(Seq),
    /// Roots of threads.
    Roots,
}

impl DynamoMessages {
    /// Adds the items of a message in a thread. A thread and the roots are read by these items without a scan and with
    /// strong consistency, which an index does not offer.
    pub(super) fn add_to_thread(
        &self,
        transaction: &mut Transaction,
        append: &Append<'_>,
        root: Seq,
    ) -> Result<(), StoreError> {
        let (key, message) = (append.head.key(), &append.message.message);
        let count = Write::update(&self.events, self.keys.message(&key, root), COUNT)
            .when(ROOT)
            .name("thread", "thread")
            .value("none", n(0))
            .value("one", n(1))
            .value("seq", n(message.seq))
            .value("at", s(message.created_at.to_string()))
            .value("now", n(append.now.as_secs()))
            .showing_old();
        transaction.add(Part::Root, count)?;
        for mut item in [self.keys.in_thread(&key, root, message.seq), self.keys.root(&key, root)] {
            // A root is listed until its last reply expires. Usually that is after the root itself.
            if let Some(expires_at) = append.message.expires_at {
                item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
            }
            transaction.add(Part::Other, Write::put(&self.channels, item))?;
        }
        Ok(())
    }

    /// Returns up to `limit` messages of a list that have not expired by `now`, in the range's order.
    pub(super) async fn read_listed(
        &self,
        channel: &ChannelKey,
        list: List,
        mut range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Excerpt, StoreError> {
        let limit = usize::from(limit);
        let mut excerpt = Excerpt::default();
        // More than one read is needed only if items have expired.
        for _ in 0..SELECTION_READS {
            let of_list = match list {
                List::Thread(root) => self.keys.thread(channel, root, range),
                List::Roots => self.keys.roots(channel, range),
            };
            let wanted = limit - excerpt.messages.len();
            let is_oldest_first = matches!(range, Range::After(_));
            let mut listed = self.listed(of_list, is_oldest_first, wanted + 1, now).await?;
            let is_more = listed.len() > wanted;
            listed.truncate(wanted);
            excerpt.rest = listed.last().map(|(seq, _)| *seq).filter(|_| is_more);
            let live: Vec<Seq> = listed.into_iter().filter_map(|(seq, is_live)| is_live.then_some(seq)).collect();
            excerpt.messages.extend(self.read_all(channel, &live, now).await?);
            let Some(rest) = excerpt.rest.filter(|_| excerpt.messages.len() < limit) else { break };
            range = if is_oldest_first { Range::After(rest) } else { Range::Before(rest) };
        }
        Ok(excerpt)
    }

    /// Returns the `seq` of each of up to `limit` items of a list, and whether the item has not expired.
    async fn listed(
        &self,
        range: SortRange,
        is_oldest_first: bool,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(Seq, bool)>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let query = range_query(&self.client, &self.channels, &range)
            .scan_index_forward(is_oldest_first)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let page = query.send().await.map_err(|error| sdk_error("Query", error))?;
        let items = page.items.unwrap_or_default();
        Ok(items.iter().filter_map(|item| Some((keys::seq_of(text(item, "sk")?)?, is_live(item, now)))).collect())
    }

    /// Returns those of up to 100 messages that have not expired by `now`, in the order of `seqs`.
    async fn read_all(&self, channel: &ChannelKey, seqs: &[Seq], now: Timestamp) -> Result<Vec<Message>, StoreError> {
        let read = self.read_among(channel, seqs, now).await?;
        let mut found: BTreeMap<Seq, Message> = read.into_iter().map(|(_, message)| (message.seq, message)).collect();
        Ok(seqs.iter().filter_map(|seq| found.remove(seq)).collect())
    }
}
