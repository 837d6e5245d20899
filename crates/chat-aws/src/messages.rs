//! Messages: `chat_events`, and what an append touches in `chat_channels`.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{CancellationReason, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use chat::{
    channel::Channel,
    clock::Timestamp,
    error::StoreError,
    id::{ChannelId, IdempotencyKey, MessageId, UserId},
    message::{Append, Appended, Head, IdempotencyRecord, Message, MessageStore, Range, StoredMessage},
};
use serde::{Deserialize, Serialize};

use crate::{
    channels::{member_key, meta_key},
    item::{ABSENT_OR_EXPIRED, Item, attribute, key, n, read, s, write},
    sdk::{failed, unreadable},
};

const APPEND: &str = "TransactWriteItems";

/// Messages in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoMessages {
    client: Client,
    events: String,
    channels: String,
}

/// `idem#<sender_id>#<key>` in `chat_channels`.
#[derive(Serialize, Deserialize)]
struct IdempotencyItem {
    channel_id: ChannelId,
    sk: String,
    fingerprint: String,
    message_id: MessageId,
    seq: u64,
    /// TTL: seconds since the Unix epoch.
    expires_at: i64,
}

impl IdempotencyItem {
    fn sk(sender: &UserId, key: &IdempotencyKey) -> String {
        format!("idem#{sender}#{key}")
    }

    fn record(self, sender_id: &UserId, key: &IdempotencyKey) -> IdempotencyRecord {
        IdempotencyRecord {
            sender_id: sender_id.clone(),
            key: key.clone(),
            fingerprint: self.fingerprint,
            message_id: self.message_id,
            seq: self.seq,
            expires_at: Timestamp::from_secs(self.expires_at),
        }
    }
}

impl DynamoMessages {
    /// Messages in the table `events`, whose channels are in the table `channels`.
    #[must_use]
    pub fn new(client: Client, events: impl Into<String>, channels: impl Into<String>) -> Self {
        Self { client, events: events.into(), channels: channels.into() }
    }

    fn advance_head(&self, append: &Append<'_>) -> Result<TransactWriteItem, StoreError> {
        let Append { head, message, .. } = append;
        let update = Update::builder()
            .table_name(&self.channels)
            .set_key(Some(meta_key(&head.channel_id)))
            .update_expression("SET last_seq = :next, last_message_at = :at")
            .condition_expression("last_seq = :last AND version = :version")
            .expression_attribute_values(":next", n(message.message.seq))
            .expression_attribute_values(":last", n(head.last_seq))
            .expression_attribute_values(":at", s(message.message.created_at.to_string()))
            .expression_attribute_values(":version", n(head.version))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn put_message(&self, stored: &StoredMessage) -> Result<TransactWriteItem, StoreError> {
        let mut item: Item = write(APPEND, &stored.message)?;
        if let Some(traceparent) = &stored.traceparent {
            item.insert("traceparent".to_owned(), s(traceparent));
        }
        if let Some(expires_at) = stored.expires_at {
            item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
        }
        let put = Put::builder()
            .table_name(&self.events)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(seq)")
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn put_record(&self, append: &Append<'_>) -> Result<TransactWriteItem, StoreError> {
        let record = append.record;
        let item = IdempotencyItem {
            channel_id: append.head.channel_id.clone(),
            sk: IdempotencyItem::sk(&record.sender_id, &record.key),
            fingerprint: record.fingerprint.clone(),
            message_id: record.message_id,
            seq: record.seq,
            expires_at: record.expires_at.as_secs(),
        };
        let put = Put::builder()
            .table_name(&self.channels)
            .set_item(Some(write(APPEND, item)?))
            .condition_expression(ABSENT_OR_EXPIRED)
            .expression_attribute_values(":now", n(append.now.as_secs()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn check_member(&self, channel: &ChannelId, user: &UserId) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.channels)
            .set_key(Some(member_key(channel, user)))
            .condition_expression("attribute_exists(sk)")
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

impl MessageStore for DynamoMessages {
    async fn head(&self, channel: &ChannelId) -> Result<Option<Head>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.channels)
            .set_key(Some(meta_key(channel)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        found.item.map(|item| head("GetItem", item)).transpose()
    }

    async fn is_member(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.channels)
            .set_key(Some(member_key(channel, user)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        Ok(found.item.is_some())
    }

    async fn append(&self, append: Append<'_>) -> Result<Appended, StoreError> {
        let mut call = self
            .client
            .transact_write_items()
            .transact_items(self.advance_head(&append)?)
            .transact_items(self.put_message(append.message)?)
            .transact_items(self.put_record(&append)?);
        if let Some(user) = append.member {
            call = call.transact_items(self.check_member(&append.head.channel_id, user)?);
        }
        let Err(error) = call.send().await else { return Ok(Appended::Stored) };
        if let SdkError::ServiceError(context) = &error
            && let TransactWriteItemsError::TransactionCanceledException(cancelled) = context.err()
        {
            return refused(&append, cancelled.cancellation_reasons());
        }
        Err(failed(APPEND, error))
    }

    async fn idempotency_record(
        &self,
        channel: &ChannelId,
        sender: &UserId,
        idempotency_key: &IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let sk = IdempotencyItem::sk(sender, idempotency_key);
        let found = self
            .client
            .get_item()
            .table_name(&self.channels)
            .set_key(Some(key(("channel_id", s(channel.as_str())), ("sk", s(sk)))))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        let Some(item) = found.item else { return Ok(None) };
        Ok(Some(read::<IdempotencyItem>("GetItem", item)?.record(sender, idempotency_key)))
    }

    async fn message(&self, channel: &ChannelId, seq: u64, now: Timestamp) -> Result<Option<Message>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.events)
            .set_key(Some(key(("channel_id", s(channel.as_str())), ("seq", n(seq)))))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        found.item.filter(|item| lives(item, now)).map(|item| read("GetItem", item)).transpose()
    }

    async fn revise(&self, revised: &StoredMessage) -> Result<bool, StoreError> {
        const OPERATION: &str = "UpdateItem";
        let StoredMessage { message, traceparent, .. } = revised;
        let attributes = [
            ("content", Some(s(&message.content))),
            ("content_type", Some(attribute(OPERATION, message.content_type)?)),
            ("metadata", message.metadata.as_ref().map(|metadata| attribute(OPERATION, metadata)).transpose()?),
            ("edited_at", message.edited_at.map(|at| s(at.to_string()))),
            ("deleted_at", message.deleted_at.map(|at| s(at.to_string()))),
            ("traceparent", traceparent.as_deref().map(s)),
        ];
        let (mut set, mut remove, mut names, mut values) = (Vec::new(), Vec::new(), HashMap::new(), Item::new());
        for (name, value) in attributes {
            names.insert(format!("#{name}"), name.to_owned());
            match value {
                Some(value) => {
                    set.push(format!("#{name} = :{name}"));
                    values.insert(format!(":{name}"), value);
                }
                None => remove.push(format!("#{name}")),
            }
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let updated = self
            .client
            .update_item()
            .table_name(&self.events)
            .set_key(Some(key(("channel_id", s(message.channel_id.as_str())), ("seq", n(message.seq)))))
            .update_expression(expression)
            .condition_expression("attribute_exists(seq) AND attribute_not_exists(#deleted_at)")
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        match updated {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(OPERATION, error)),
        }
    }

    async fn messages(
        &self,
        channel: &ChannelId,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let (condition, bound, oldest_first) = match range {
            Range::Newest => ("channel_id = :channel", None, false),
            Range::Before(seq) => ("channel_id = :channel AND seq < :seq", Some(seq), false),
            Range::After(seq) => ("channel_id = :channel AND seq > :seq", Some(seq), true),
        };
        let mut values = Item::from([(":channel".to_owned(), s(channel.as_str()))]);
        values.extend(bound.map(|seq| (":seq".to_owned(), n(seq))));
        let mut messages = Vec::new();
        let mut start = None;
        // A page of a query ends at 1 MB ("Paginating table query results"), which 32 messages can fill.
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
                .map_err(|error| failed("Query", error))?;
            for item in page.items.unwrap_or_default().into_iter().filter(|item| lives(item, now)) {
                messages.push(read("Query", item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() || messages.len() >= usize::from(limit) {
                return Ok(messages);
            }
        }
    }
}

fn head(operation: &'static str, item: Item) -> Result<Head, StoreError> {
    Ok(Head::from(&read::<Channel>(operation, item)?))
}

/// Whether a message has not expired. TTL deletes late ("Using time to live (TTL) in DynamoDB").
fn lives(item: &Item, now: Timestamp) -> bool {
    let expires_at = item.get("expires_at").and_then(|value| value.as_n().ok()).and_then(|secs| secs.parse().ok());
    expires_at.is_none_or(|secs: i64| secs > now.as_secs())
}

/// Reads a cancelled transaction: one reason per item, in the order of the items ("`CancellationReason`" in the
/// DynamoDB API reference). A used key decides first, for it is the answer and no failure.
fn refused(append: &Append<'_>, reasons: &[CancellationReason]) -> Result<Appended, StoreError> {
    let failed_condition =
        |index: usize| reasons.get(index).filter(|reason| reason.code() == Some("ConditionalCheckFailed"));
    if let Some(item) = failed_condition(2).and_then(|reason| reason.item.clone()) {
        let item: IdempotencyItem = read(APPEND, item)?;
        return Ok(Appended::KeyTaken(item.record(&append.record.sender_id, &append.record.key)));
    }
    if let Some(reason) = failed_condition(0) {
        // Without its item, the channel does not exist.
        let current = reason.item.clone().filter(|item| !item.is_empty());
        return Ok(Appended::HeadMoved(current.map(|item| head(APPEND, item)).transpose()?));
    }
    if failed_condition(3).is_some() {
        return Ok(Appended::NotAMember);
    }
    let codes: Vec<_> = reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != "None").collect();
    if codes.contains(&"ValidationError") {
        let messages: Vec<_> = reasons.iter().filter_map(CancellationReason::message).collect();
        return Err(unreadable(APPEND, messages.join("; ")));
    }
    // TransactionConflict, ThrottlingError, ProvisionedThroughputExceeded, or a message under that number.
    Ok(Appended::Conflict)
}
