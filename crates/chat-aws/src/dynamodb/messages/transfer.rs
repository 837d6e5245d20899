//! Exports and imports of messages: see [`crate::dynamodb::transfer`].

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chat::{
    model::{error::StoreError, incarnation::ChannelKey, message::StoredMessage, seq::Seq, time::Timestamp},
    ports::clock::SystemClock,
};

use super::{DynamoMessages, reads::is_live};
use crate::{
    dynamodb::{
        batch,
        item::{Item, n, number, s},
        last_change,
        pace::Pace,
    },
    sdk::sdk_error,
};

impl DynamoMessages {
    pub(crate) async fn exported(
        &self,
        channel: &ChannelKey,
        (after, last): (Seq, Seq),
        limit: u16,
        now: Timestamp,
        pace: &Pace,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let (mut messages, mut start) = (Vec::new(), None::<Item>);
        // DynamoDB refuses a range whose end precedes its beginning.
        if after >= last {
            return Ok(messages);
        }
        // A query page ends at 1 MB.
        loop {
            pace.reads.wait(&SystemClock).await;
            let rest = usize::from(limit) - messages.len();
            let page = self
                .client
                .query()
                .table_name(&self.events)
                .key_condition_expression("channel_id = :channel AND seq BETWEEN :first AND :last")
                .expression_attribute_values(":channel", s(self.keys.channel(channel)))
                .expression_attribute_values(":first", n(after.next()))
                .expression_attribute_values(":last", n(last))
                .consistent_read(true)
                .limit(i32::try_from(rest).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| sdk_error("Query", error))?;
            let units = page.consumed_capacity.as_ref().and_then(|capacity| capacity.capacity_units);
            pace.reads.take(&SystemClock, units.unwrap_or(0.0));
            for item in page.items.unwrap_or_default().into_iter().filter(|item| is_live(item, now)) {
                messages.push(self.read_stored(channel, item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() || messages.len() >= usize::from(limit) {
                return Ok(messages);
            }
        }
    }

    fn read_stored(&self, channel: &ChannelKey, item: Item) -> Result<StoredMessage, StoreError> {
        let expires_at = number(&item, "expires_at").map(Timestamp::from_secs);
        let rev = last_change::rev(&item);
        let message = self.read_message("Query", item)?;
        Ok(StoredMessage { message, incarnation: channel.incarnation, rev, trace: None, expires_at })
    }

    /// Stores messages, and the items that list them in their threads.
    pub(crate) async fn import(
        &self,
        channel: &ChannelKey,
        messages: &[StoredMessage],
        pace: &Pace,
    ) -> Result<(), StoreError> {
        let mut puts = Vec::new();
        // A batch cannot name an item twice. A root is listed until its last reply expires.
        let mut roots = BTreeMap::new();
        let mut listed = Vec::new();
        for stored in messages {
            let mut item = self.message_item(channel, stored)?;
            item.insert("no_agent".to_owned(), s("1"));
            puts.push(batch::put(item)?);
            let Some(root) = stored.message.thread_seq else { continue };
            let expires_at = stored.expires_at.map(|at| ("expires_at".to_owned(), n(at.as_secs())));
            let mut in_thread = self.keys.in_thread(channel, root, stored.message.seq);
            in_thread.extend(expires_at.clone());
            listed.push(batch::put(in_thread)?);
            let mut of_root = self.keys.root(channel, root);
            of_root.extend(expires_at);
            roots.insert(root, of_root);
        }
        for root in roots.into_values() {
            listed.push(batch::put(root)?);
        }
        batch::write_within(&self.client, &self.events, puts, &pace.writes).await?;
        batch::write_within(&self.client, &self.channels, listed, &pace.writes).await
    }
}
