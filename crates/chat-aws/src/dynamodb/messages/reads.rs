//! Reads of single items, and of a range of messages.

use chat::{
    model::{
        channel::{Channel, ChannelHead},
        error::StoreError,
        incarnation::ChannelKey,
        message::Message,
        time::Timestamp,
    },
    ports::message_store::Range,
};

use super::DynamoMessages;
use crate::{
    dynamodb::item::{Item, n, number, read, s},
    sdk::sdk_error,
};

impl DynamoMessages {
    pub(super) async fn get(&self, table: &str, key: Item) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(|error| sdk_error("GetItem", error))?.item)
    }

    pub(super) fn read_message(&self, operation: &'static str, item: Item) -> Result<Message, StoreError> {
        read(operation, self.keys.plain(item))
    }

    /// Returns the channel head in the `meta` item of a channel.
    pub(super) fn head_of(
        &self,
        operation: &'static str,
        meta: Option<Item>,
    ) -> Result<Option<ChannelHead>, StoreError> {
        let Some(meta) = meta else { return Ok(None) };
        Ok(Some(ChannelHead::from(&read::<Channel>(operation, self.keys.plain(meta))?)))
    }

    /// Returns up to `limit` messages of a range that have not expired by `now`, in the range's order.
    pub(super) async fn read_range(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let (condition, bound, oldest_first) = match range {
            Range::Newest => ("channel_id = :channel", None, false),
            Range::Before(seq) => ("channel_id = :channel AND seq < :seq", Some(seq), false),
            Range::After(seq) => ("channel_id = :channel AND seq > :seq", Some(seq), true),
        };
        let mut values = Item::from([(":channel".to_owned(), s(self.keys.channel(channel)))]);
        values.extend(bound.map(|seq| (":seq".to_owned(), n(seq))));
        let mut messages = Vec::new();
        let mut start = None;
        // A query page ends at 1 MB ("Paginating table query results"), which 32 messages can fill.
        loop {
            let wanted = usize::from(limit) - messages.len();
            let page = self
                .client
                .query()
                .table_name(&self.events)
                .key_condition_expression(condition)
                .set_expression_attribute_values(Some(values.clone()))
                .scan_index_forward(oldest_first)
                .consistent_read(true)
                .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| sdk_error("Query", error))?;
            for item in page.items.unwrap_or_default().into_iter().filter(|item| is_live(item, now)) {
                messages.push(self.read_message("Query", item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() || messages.len() >= usize::from(limit) {
                return Ok(messages);
            }
        }
    }
}

/// Returns whether a message has not expired. TTL deletes late ("Using time to live (TTL) in DynamoDB").
pub(super) fn is_live(item: &Item, now: Timestamp) -> bool {
    number(item, "expires_at").is_none_or(|secs| secs > now.as_secs())
}
