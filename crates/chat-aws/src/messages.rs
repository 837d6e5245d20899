//! Messages: `chat_events`, and what an append touches in `chat_channels`.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeSerializationInterceptorContextMut},
    error::{BoxError, SdkError},
    operation::{
        transact_write_items::{TransactWriteItemsError, TransactWriteItemsInput},
        update_item::UpdateItemError,
    },
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
use chat::{
    channel::Channel,
    clock::Timestamp,
    error::StoreError,
    id::{ChannelId, IdempotencyKey, MessageId, TenantId, UserId},
    limits::{LARGEST_SEQ, REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
    message::{Append, Appended, Head, IdempotencyRecord, Message, MessageStore, Range, StoredMessage, Token},
    rate::Action,
    reaction::Reacted,
    revision::Revision,
    trace::TraceContext,
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use telemetry::metrics;

use crate::{
    channels::{is_deleted, member_key, meta_key},
    item::{ABSENT_OR_EXPIRED, Item, attribute, key, n, read, s, write},
    rate::{bucket_key, full_at, kept_until},
    sdk::{failed, unreadable},
    tenant::Names,
};

const APPEND: &str = "TransactWriteItems";

/// Messages of a thread that are read at once.
const READS_AT_ONCE: usize = 16;

/// Messages in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoMessages {
    client: Client,
    events: String,
    channels: String,
    names: Names,
}

/// `idem#<sender_id>#<key>` in `chat_channels`.
#[derive(Serialize, Deserialize)]
struct IdempotencyItem {
    channel_id: String,
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
        Self { client, events: events.into(), channels: channels.into(), names: Names::default() }
    }

    /// The messages of a tenant.
    #[must_use]
    pub fn of(&self, tenant: Option<&TenantId>) -> Self {
        Self { names: Names::of(tenant), ..self.clone() }
    }

    fn message_key(&self, channel: &ChannelId, seq: u64) -> Item {
        key(("channel_id", s(self.names.key(channel))), ("seq", n(seq)))
    }

    fn read_message(&self, operation: &'static str, item: Item) -> Result<Message, StoreError> {
        read(operation, self.names.plain(item))
    }

    fn advance_head(&self, append: &Append<'_>) -> Result<TransactWriteItem, StoreError> {
        let Append { head, message, .. } = append;
        let update = Update::builder()
            .table_name(&self.channels)
            .set_key(Some(meta_key(&self.names, &head.channel_id)))
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

    fn put_message(&self, append: &Append<'_>) -> Result<TransactWriteItem, StoreError> {
        let stored = append.message;
        let mut item: Item = write(APPEND, &stored.message)?;
        item.extend(self.message_key(&stored.message.channel_id, stored.message.seq));
        // Reactions are added below a map that is there.
        item.insert("reactions".to_owned(), AttributeValue::M(HashMap::new()));
        if let Some(TraceContext { traceparent, tracestate }) = &stored.trace {
            item.insert("traceparent".to_owned(), s(traceparent));
            item.extend(tracestate.as_ref().map(|tracestate| ("tracestate".to_owned(), s(tracestate))));
        }
        if let Some(expires_at) = stored.expires_at {
            item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
        }
        // The agent's event source mapping leaves these out.
        if !append.for_agent {
            item.insert("agent".to_owned(), s("off"));
        }
        // Without a record, what is there tells whether it is this very message.
        let shows = append.record.is_none().then_some(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = Put::builder()
            .table_name(&self.events)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(seq)")
            .set_return_values_on_condition_check_failure(shows)
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn put_record(
        &self,
        channel: &ChannelId,
        record: &IdempotencyRecord,
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let item = IdempotencyItem {
            channel_id: self.names.key(channel),
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
            .expression_attribute_values(":now", n(now.as_secs()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A bucket that is believed to be full may have been filled up to any time in the past; another one has to be as
    /// believed.
    fn take_token(&self, sender: &UserId, token: Token, now: Timestamp) -> Result<TransactWriteItem, StoreError> {
        let (condition, bound) = match token.full_at {
            None => ("attribute_not_exists(full_at) OR full_at <= :bound", now),
            Some(full_at) => ("full_at = :bound", full_at),
        };
        let update = Update::builder()
            .table_name(&self.channels)
            .set_key(Some(bucket_key(&self.names, sender, &Action::Send)))
            .update_expression("SET full_at = :next, expires_at = :expires_at")
            .condition_expression(condition)
            .expression_attribute_values(":next", n(token.next.as_millis()))
            .expression_attribute_values(":bound", n(bound.as_millis()))
            .expression_attribute_values(":expires_at", n(kept_until(token.next)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn check_member(&self, channel: &ChannelId, user: &UserId) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.channels)
            .set_key(Some(member_key(&self.names, channel, user)))
            .condition_expression("attribute_exists(sk)")
            .build()
            .map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// `reply#<seq of the message>#<seq of the answer>` in `chat_channels`: a thread is read without a scan, and
    /// strongly consistent, which an index is not.
    fn put_reply(&self, stored: &StoredMessage, reply_to: u64) -> Result<TransactWriteItem, StoreError> {
        let Message { channel_id, seq, .. } = &stored.message;
        let mut item = key(("channel_id", s(self.names.key(channel_id))), ("sk", s(reply_sk(reply_to, *seq))));
        if let Some(expires_at) = stored.expires_at {
            item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
        }
        let put = Put::builder().table_name(&self.channels).set_item(Some(item)).build();
        let put = put.map_err(|error| unreadable(APPEND, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Numbers of the answers to a message, after `after`.
    async fn reply_seqs(
        &self,
        channel: &ChannelId,
        reply_to: u64,
        after: u64,
        limit: u16,
    ) -> Result<Vec<u64>, StoreError> {
        let page = self
            .client
            .query()
            .table_name(&self.channels)
            .key_condition_expression("channel_id = :channel AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":channel", s(self.names.key(channel)))
            .expression_attribute_values(":first", s(reply_sk(reply_to, after.saturating_add(1))))
            .expression_attribute_values(":last", s(reply_sk(reply_to, LARGEST_SEQ)))
            .consistent_read(true)
            .limit(i32::from(limit))
            .send()
            .await
            .map_err(|error| failed("Query", error))?;
        let seqs = page.items.unwrap_or_default().into_iter().filter_map(|item| {
            let (_, seq) = item.get("sk")?.as_s().ok()?.rsplit_once('#')?;
            seq.parse().ok()
        });
        Ok(seqs.collect())
    }
}

/// Numbers with leading zeros sort as text.
fn reply_sk(reply_to: u64, seq: u64) -> String {
    format!("reply#{reply_to:016}#{seq:016}")
}

/// Leaves out the `ClientRequestToken` that the SDK makes up for each transaction. A request that is repeated after a lost
/// answer meets its own message, or the record of its key, and for longer than the ten minutes of a token, which would
/// have to be remembered for every message.
#[derive(Debug)]
struct WithoutToken;

impl Intercept for WithoutToken {
    fn name(&self) -> &'static str {
        "WithoutToken"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(input) = context.input_mut().downcast_mut::<TransactWriteItemsInput>() {
            input.client_request_token = None;
        }
        Ok(())
    }
}

impl MessageStore for DynamoMessages {
    async fn head(&self, channel: &ChannelId) -> Result<Option<Head>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.channels)
            .set_key(Some(meta_key(&self.names, channel)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        self.head_of("GetItem", found.item)
    }

    async fn is_member(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.channels)
            .set_key(Some(member_key(&self.names, channel, user)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        Ok(found.item.is_some())
    }

    async fn append(&self, append: Append<'_>) -> Result<Appended, StoreError> {
        let mut parts = vec![(Part::Head, self.advance_head(&append)?), (Part::Message, self.put_message(&append)?)];
        if let Some(record) = append.record {
            parts.push((Part::Record, self.put_record(&append.head.channel_id, record, append.now)?));
        }
        if let Some(user) = append.member {
            parts.push((Part::Member, self.check_member(&append.head.channel_id, user)?));
        }
        if let Some(token) = append.token {
            parts.push((Part::Token, self.take_token(&append.message.message.sender_id, token, append.now)?));
        }
        if let Some(reply_to) = append.message.message.reply_to {
            parts.push((Part::Reply, self.put_reply(append.message, reply_to)?));
        }
        let (parts, items): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let call = self.client.transact_write_items().set_transact_items(Some(items));
        let Err(error) = call.customize().interceptor(WithoutToken).send().await else {
            metrics::count(&metrics::MESSAGES_APPENDED, 1);
            return Ok(Appended::Stored);
        };
        if let SdkError::ServiceError(context) = &error
            && let TransactWriteItemsError::TransactionCanceledException(cancelled) = context.err()
        {
            let refused = self.refused(&append, &parts, cancelled.cancellation_reasons())?;
            let is_lost_race = matches!(refused, Appended::HeadMoved(_) | Appended::BothMoved(..) | Appended::Conflict);
            metrics::count(&metrics::APPEND_CONFLICTS, usize::from(is_lost_race));
            metrics::count(&metrics::MESSAGES_APPENDED, usize::from(refused == Appended::Stored));
            return Ok(refused);
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
            .set_key(Some(key(("channel_id", s(self.names.key(channel))), ("sk", s(sk)))))
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
            .set_key(Some(self.message_key(channel, seq)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        found.item.filter(|item| lives(item, now)).map(|item| self.read_message("GetItem", item)).transpose()
    }

    async fn revise(&self, revised: &StoredMessage) -> Result<bool, StoreError> {
        const OPERATION: &str = "UpdateItem";
        let StoredMessage { message, trace, .. } = revised;
        let trace = trace.as_ref();
        let attributes = [
            ("content", Some(s(&message.content))),
            ("content_type", Some(attribute(OPERATION, message.content_type)?)),
            ("metadata", message.metadata.as_ref().map(|metadata| attribute(OPERATION, metadata)).transpose()?),
            ("edited_at", message.edited_at.map(|at| s(at.to_string()))),
            ("deleted_at", message.deleted_at.map(|at| s(at.to_string()))),
            ("traceparent", trace.map(|trace| s(&trace.traceparent))),
            ("tracestate", trace.and_then(|trace| Some(s(trace.tracestate.as_ref()?)))),
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
        if message.deleted_at.is_some() {
            remove.push("reactions".to_owned());
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let updated = self
            .client
            .update_item()
            .table_name(&self.events)
            .set_key(Some(self.message_key(&message.channel_id, message.seq)))
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

    async fn react(&self, revision: &Revision, emoji: &str, add: bool, now: Timestamp) -> Result<Reacted, StoreError> {
        let there = "attribute_exists(seq) AND attribute_not_exists(deleted_at) \
                     AND (attribute_not_exists(expires_at) OR expires_at > :now)";
        // What is as asked for already is left alone: a change that changes nothing would be an event.
        let (update, condition) = if add {
            let room = "((attribute_exists(reactions.#emoji) AND NOT contains(reactions.#emoji, :user) \
                        AND size(reactions.#emoji) < :users) \
                        OR (attribute_not_exists(reactions.#emoji) AND size(reactions) < :kinds))";
            ("ADD reactions.#emoji :set", format!("{there} AND {room}"))
        } else {
            // The last one takes the set with it: there is no empty one.
            ("DELETE reactions.#emoji :set", format!("{there} AND contains(reactions.#emoji, :user)"))
        };
        let set = AttributeValue::Ss(vec![revision.caller.to_string()]);
        let trace = revision.trace.as_ref();
        let update = match trace {
            Some(TraceContext { tracestate: Some(_), .. }) => {
                format!("SET traceparent = :traceparent, tracestate = :tracestate {update}")
            }
            Some(_) => format!("SET traceparent = :traceparent REMOVE tracestate {update}"),
            None => update.to_owned(),
        };
        let mut call = self
            .client
            .update_item()
            .table_name(&self.events)
            .set_key(Some(self.message_key(&revision.channel_id, revision.seq)))
            .update_expression(update)
            .condition_expression(condition)
            .expression_attribute_names("#emoji", emoji)
            .expression_attribute_values(":set", set)
            .expression_attribute_values(":user", s(revision.caller.as_str()))
            .expression_attribute_values(":now", n(now.as_secs()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(TraceContext { traceparent, tracestate }) = trace {
            call = call.expression_attribute_values(":traceparent", s(traceparent));
            if let Some(tracestate) = tracestate {
                call = call.expression_attribute_values(":tracestate", s(tracestate));
            }
        }
        if add {
            call = call
                .expression_attribute_values(":users", n(USERS_PER_REACTION))
                .expression_attribute_values(":kinds", n(REACTIONS_PER_MESSAGE));
        }
        match call.send().await {
            Ok(_) => Ok(Reacted::Done),
            Err(SdkError::ServiceError(context)) => match context.err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => {
                    let Some(item) = refused.item().filter(|item| lives(item, now) && !is_deleted(item)) else {
                        return Ok(Reacted::MessageNotFound);
                    };
                    Ok(match (item.is_empty(), reacts(item, emoji, &revision.caller)) {
                        (true, _) => Reacted::MessageNotFound,
                        (false, reacts) if reacts == add => Reacted::Done,
                        _ => Reacted::Full,
                    })
                }
                _ => Err(failed("UpdateItem", SdkError::ServiceError(context))),
            },
            Err(error) => Err(failed("UpdateItem", error)),
        }
    }

    async fn replies(
        &self,
        channel: &ChannelId,
        seq: u64,
        after: u64,
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
                .buffered(READS_AT_ONCE)
                .try_collect::<Vec<_>>()
                .await?;
            replies.extend(found.into_iter().flatten());
            if replies.len() >= usize::from(limit) {
                replies.truncate(usize::from(limit));
                return Ok(replies);
            }
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
        let mut values = Item::from([(":channel".to_owned(), s(self.names.key(channel)))]);
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
                messages.push(self.read_message("Query", item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() || messages.len() >= usize::from(limit) {
                return Ok(messages);
            }
        }
    }
}

/// What an item of an append's transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Message,
    Record,
    Member,
    Token,
    Reply,
}

/// Whether a user reacts to a message in a way.
fn reacts(message: &Item, emoji: &str, user: &UserId) -> bool {
    let users = message.get("reactions").and_then(|value| value.as_m().ok()?.get(emoji)?.as_ss().ok());
    users.is_some_and(|users| users.iter().any(|one| one == user.as_str()))
}

/// Whether a message has not expired. TTL deletes late ("Using time to live (TTL) in DynamoDB").
fn lives(item: &Item, now: Timestamp) -> bool {
    let expires_at = item.get("expires_at").and_then(|value| value.as_n().ok()).and_then(|secs| secs.parse().ok());
    expires_at.is_none_or(|secs: i64| secs > now.as_secs())
}

impl DynamoMessages {
    /// The head in a channel's own item, unless the channel has been deleted.
    fn head_of(&self, operation: &'static str, meta: Option<Item>) -> Result<Option<Head>, StoreError> {
        let Some(meta) = meta.filter(|meta| !is_deleted(meta)) else { return Ok(None) };
        Ok(Some(Head::from(&read::<Channel>(operation, self.names.plain(meta))?)))
    }

    /// Reads a cancelled transaction: one reason per item, in the order of the items ("`CancellationReason`" in the
    /// DynamoDB API reference). A used key, and a message that is there already, decide first: that is the answer and no
    /// failure.
    fn refused(
        &self,
        append: &Append<'_>,
        parts: &[Part],
        reasons: &[CancellationReason],
    ) -> Result<Appended, StoreError> {
        let failed_condition = |part: Part| {
            let index = parts.iter().position(|one| *one == part)?;
            reasons.get(index).filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
        };
        if let Some(record) = append.record
            && let Some(item) = failed_condition(Part::Record).and_then(|reason| reason.item.clone())
        {
            let item: IdempotencyItem = read(APPEND, item)?;
            return Ok(Appended::KeyTaken(item.record(&record.sender_id, &record.key)));
        }
        let there = failed_condition(Part::Message).and_then(|reason| reason.item.as_ref()?.get("message_id"));
        if there.and_then(|id| id.as_s().ok()).is_some_and(|id| *id == append.message.message.message_id.to_string()) {
            return Ok(Appended::Stored);
        }
        // Without its time, the bucket has gone, and so is full.
        let bucket =
            failed_condition(Part::Token).map(|reason| reason.item.as_ref().and_then(full_at).unwrap_or(append.now));
        if let Some(reason) = failed_condition(Part::Head) {
            // Without its item, the channel does not exist.
            let current = reason.item.clone().filter(|item| !item.is_empty());
            return Ok(match (self.head_of(APPEND, current)?, bucket) {
                (Some(head), Some(full_at)) => Appended::BothMoved(head, full_at),
                (head, _) => Appended::HeadMoved(head),
            });
        }
        if failed_condition(Part::Member).is_some() {
            return Ok(Appended::NotAMember);
        }
        if let Some(full_at) = bucket {
            return Ok(Appended::BucketMoved(full_at));
        }
        let codes: Vec<_> =
            reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != "None").collect();
        if codes.contains(&"ValidationError") {
            let messages: Vec<_> = reasons.iter().filter_map(CancellationReason::message).collect();
            return Err(unreadable(APPEND, messages.join("; ")));
        }
        // TransactionConflict, ThrottlingError, ProvisionedThroughputExceeded, or a message under that number.
        Ok(Appended::Conflict)
    }
}
