//! Reads of single items, and of a range of messages.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use chat::{
    model::{
        channel::ChannelHead, error::StoreError, id::ChannelId, incarnation::ChannelKey, message::Message, rev::Rev,
        seq::Seq, time::Timestamp, trace::TraceContext,
    },
    ports::message_store::{Excerpt, Range, SELECTION_READS},
};

use super::DynamoMessages;
use serde::{Deserializer, de::DeserializeSeed};

use crate::{
    dynamodb::{
        attributes::ItemOf,
        instructions::read_channel,
        item::{Item, n, number, read, s, text},
        keys::Keys,
        last_change,
        page::{self, ItemReader},
    },
    sdk::sdk_error,
};

/// Maximum number of messages that one filtered query covers. A page ends at 1 MB in any case.
const MOST_AT_ONCE: usize = 1_000;

/// Reads messages, and leaves out those that have expired.
#[derive(Debug)]
struct LiveMessages {
    keys: Keys,
    now: Timestamp,
}

impl ItemReader for LiveMessages {
    type Value = Message;

    fn read<'de, D: Deserializer<'de>>(&self, item: D) -> Result<Option<Message>, D::Error> {
        let (message, expires_at) = ItemOf::<Message>::new(&self.keys).deserialize(item)?;
        // TTL deletes late ("Using time to live (TTL) in DynamoDB").
        Ok(Some(message).filter(|_| expires_at.is_none_or(|secs| secs > self.now.as_secs())))
    }
}

impl DynamoMessages {
    pub(super) async fn get(&self, table: &str, key: Item) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(|error| sdk_error("GetItem", error))?.item)
    }

    /// Returns the trace context of the request that sent a message or last changed it.
    pub async fn trace_of(&self, channel: &ChannelKey, seq: Seq) -> Result<Option<TraceContext>, StoreError> {
        let Some(item) = self.get(&self.events, self.keys.message(channel, seq)).await? else { return Ok(None) };
        let part = |name| text(&item, name).map(str::to_owned);
        Ok(part("traceparent").map(|traceparent| TraceContext { traceparent, tracestate: part("tracestate") }))
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
        Ok(Some(ChannelHead::from(&read_channel(operation, &self.keys, meta)?)))
    }

    /// Returns the head of the channel that currently has an id, and the number of its last change.
    pub(super) async fn read_head(&self, channel: &ChannelId) -> Result<Option<(ChannelHead, Rev)>, StoreError> {
        let found = last_change::channel_with_rev(&self.client, &self.channels, &self.keys, channel).await?;
        Ok(found.map(|(channel, rev)| (ChannelHead::from(&channel), rev)))
    }

    /// Returns up to `limit` messages of a range that have not expired by `now`, in the range's order.
    pub(super) async fn read_range(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let mut messages = Vec::new();
        let mut start = None;
        // A query page ends at 1 MB ("Paginating table query results"), which 32 messages can fill.
        loop {
            let wanted = usize::from(limit) - messages.len();
            let query = self.range(channel, range, wanted).set_exclusive_start_key(start.take());
            let page = page::read(query, self.live(now)).await?;
            messages.extend(page.values);
            start = page.last_key;
            if start.is_none() || messages.len() >= usize::from(limit) {
                return Ok(messages);
            }
        }
    }

    /// Returns up to `limit` messages of a range that are in no thread and have not expired by `now`, in the range's
    /// order. Each read covers four times as many messages as the one before it, up to [`MOST_AT_ONCE`].
    pub(super) async fn read_outside_threads(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Excerpt, StoreError> {
        let limit = usize::from(limit);
        let (mut messages, mut start, mut at_once) = (Vec::new(), None, limit + 1);
        for _ in 0..SELECTION_READS {
            let query = self.range(channel, range, at_once).set_exclusive_start_key(start.take());
            let query = query.filter_expression("attribute_not_exists(thread_seq)");
            let page = page::read(query, self.live(now)).await?;
            messages.extend(page.values);
            start = page.last_key;
            if start.is_none() || messages.len() > limit {
                break;
            }
            at_once = (at_once * 4).min(MOST_AT_ONCE);
        }
        if messages.len() > limit {
            messages.truncate(limit);
            let rest = messages.last().map(|last| last.seq);
            return Ok(Excerpt { messages, rest });
        }
        let rest = start.and_then(|key| u64::try_from(number(&key, "seq")?).ok()).map(Seq::new);
        Ok(Excerpt { messages, rest })
    }

    /// Returns the reader of the messages that have not expired by `now`.
    fn live(&self, now: Timestamp) -> LiveMessages {
        LiveMessages { keys: self.keys.clone(), now }
    }

    /// Returns the query of up to `limit` messages of a range.
    fn range(&self, channel: &ChannelKey, range: Range, limit: usize) -> QueryFluentBuilder {
        let (condition, bound, oldest_first) = match range {
            Range::Newest => ("channel_id = :channel", None, false),
            Range::Before(seq) => ("channel_id = :channel AND seq < :seq", Some(seq), false),
            Range::After(seq) => ("channel_id = :channel AND seq > :seq", Some(seq), true),
        };
        let mut values = Item::from([(":channel".to_owned(), s(self.keys.channel(channel)))]);
        values.extend(bound.map(|seq| (":seq".to_owned(), n(seq))));
        self.client
            .query()
            .table_name(&self.events)
            .key_condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .scan_index_forward(oldest_first)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
    }
}

/// Returns whether a message has not expired. TTL deletes late ("Using time to live (TTL) in DynamoDB").
pub(super) fn is_live(item: &Item, now: Timestamp) -> bool {
    number(item, "expires_at").is_none_or(|secs| secs > now.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(seq: u64, more: &Value) -> Value {
        let mut item = json!({
            "channel_id": { "S": "t~c@01JDYZ3N6RZZZZZZZZZZZZZZZZ" }, "seq": { "N": seq.to_string() },
            "message_id": { "S": "01JDYZ3N6RZZZZZZZZZZZZZZZZ" }, "version": { "N": "1" },
            "sender_id": { "S": "bob" }, "role": { "S": "user" }, "content": { "S": "hi" },
            "content_type": { "S": "text/plain" }, "created_at": { "S": "2026-11-30T02:51:06.123Z" },
            "reactions": { "M": {} }, "thread": { "M": {} },
        });
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    }

    #[test]
    fn a_page_has_the_live_messages_of_the_channel() {
        let reader =
            LiveMessages { keys: Keys::for_tenant(Some(&"t".parse().unwrap())), now: Timestamp::from_secs(100) };
        let body = json!({ "Items": [
            item(4, &json!({})),
            item(3, &json!({ "expires_at": { "N": "100" } })),
            item(2, &json!({ "expires_at": { "N": "101" } })),
            item(1, &json!({ "no_agent": { "S": "1" }, "rev": { "N": "7" } })),
        ] });
        let messages = page::parse(body.to_string().as_bytes(), &reader).unwrap().values;
        let found: Vec<(&str, u64)> =
            messages.iter().map(|message| (message.channel_id.as_str(), message.seq.get())).collect();
        assert_eq!(found, [("c", 4), ("c", 2), ("c", 1)]);
        let bad = json!({ "Items": [item(1, &json!({ "seq": { "S": "1" } }))] });
        assert!(page::parse(bad.to_string().as_bytes(), &reader).is_err());
    }
}
