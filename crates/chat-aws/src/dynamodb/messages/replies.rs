//! Replies: the condition on their questions, the items that list them in their threads, and the read of a thread.

use chat::{
    model::{error::StoreError, incarnation::ChannelKey, message::Message, seq::Seq, time::Timestamp},
    ports::message_store::{Append, MessageStore},
};
use futures::{StreamExt, TryStreamExt};

use super::{DynamoMessages, THERE};
use crate::{
    dynamodb::{
        item::{n, s, text},
        keys,
        transaction::Write,
    },
    sdk::sdk_error,
};

/// Number of messages of a thread that are read concurrently.
const READ_CONCURRENCY: usize = 16;

impl DynamoMessages {
    /// Requires the question of a reply.
    pub(super) fn check_question(&self, append: &Append<'_>, seq: Seq) -> Write {
        Write::check(&self.events, self.keys.message(&append.head.key(), seq))
            .when(THERE)
            .value("now", n(append.now.as_secs()))
    }

    /// Lists a reply in its thread. A thread is read by these items without a scan and with strong consistency, which
    /// an index does not offer.
    pub(super) fn put_reply(&self, append: &Append<'_>, reply_to: Seq) -> Write {
        let mut item = self.keys.reply(&append.head.key(), reply_to, append.message.message.seq);
        if let Some(expires_at) = append.message.expires_at {
            item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
        }
        Write::put(&self.channels, item)
    }

    /// Returns up to `limit` replies to a message that have not expired by `now`, after `after`.
    pub(super) async fn read_thread(
        &self,
        channel: &ChannelKey,
        seq: Seq,
        after: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let (mut replies, mut after) = (Vec::new(), after);
        loop {
            let seqs = self.reply_seqs(channel, seq, after, limit).await?;
            let Some(last) = seqs.last() else { return Ok(replies) };
            after = *last;
            let found = futures::stream::iter(seqs)
                .map(|seq| self.message(channel, seq, now))
                .buffered(READ_CONCURRENCY)
                .try_collect::<Vec<_>>()
                .await?;
            replies.extend(found.into_iter().flatten());
            if replies.len() >= usize::from(limit) {
                replies.truncate(usize::from(limit));
                return Ok(replies);
            }
        }
    }

    /// Returns the `seq` of each reply to a message, after `after`.
    async fn reply_seqs(
        &self,
        channel: &ChannelKey,
        reply_to: Seq,
        after: Seq,
        limit: u16,
    ) -> Result<Vec<Seq>, StoreError> {
        let range = self.keys.replies(channel, reply_to, after);
        let page = self
            .client
            .query()
            .table_name(&self.channels)
            .key_condition_expression("channel_id = :channel AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":channel", s(range.partition))
            .expression_attribute_values(":first", s(range.first))
            .expression_attribute_values(":last", s(range.last))
            .consistent_read(true)
            .limit(i32::from(limit))
            .send()
            .await
            .map_err(|error| sdk_error("Query", error))?;
        let items = page.items.unwrap_or_default();
        Ok(items.iter().filter_map(|item| keys::reply_of(text(item, "sk")?)).collect())
    }
}
