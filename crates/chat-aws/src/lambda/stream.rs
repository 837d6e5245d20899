//! Batches of the streams of `chat_events` and `chat_connections`, the responses of workers, and their spans.
//!
//! A batch has as many causes as records. Each record is processed in its own trace, in a span whose parent is the
//! trace in the record. The invocation has a trace of its own that links to all of them ("Semantic conventions for
//! messaging spans", batches). The records of one channel are delivered together. That work is under the first record's
//! span, to which the other spans link.

use std::{collections::BTreeSet, time::Duration};

use aws_lambda_events::{
    dynamodb::{Event, EventRecord, StreamRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use chat::{
    model::{
        connection::ConnectionKey,
        id::{TenantId, UserId},
        incarnation::ChannelKey,
        message::{Change, MessageEvent, StoredMessage},
        time::Timestamp,
        trace::integer,
    },
    ports::clock::{Clock, SystemClock},
};
use telemetry::{
    context::{self, ParentContext},
    invocation, metrics,
};
use tracing::Span;

use super::images::{Unreadable, message_event, text};
use crate::{dynamodb::keys, trace};

/// A change of a message, as read from its stream record.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamedMessage {
    /// The id of the record in a batch item failure.
    pub sequence_number: String,
    /// The change and its message.
    pub event: MessageEvent,
    /// Time of the write, in whole seconds ("Record" in the DynamoDB Streams API reference).
    pub written_at: Timestamp,
}

impl StreamedMessage {
    /// Returns the time since the write. A new message has a time in milliseconds: that of the attempt that wrote it.
    /// Other changes use the stream's time, which is up to a second early.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> Duration {
        let MessageEvent { change, stored } = &self.event;
        let written_at = if *change == Change::Created { stored.message.created_at } else { self.written_at };
        written_at.until(now)
    }

    /// Creates a span for the processing of this change, in the trace of its record.
    #[must_use]
    pub fn span(&self, in_batch: usize) -> Span {
        let MessageEvent { change, stored: StoredMessage { message, trace, .. } } = &self.event;
        let lag = self.lag(SystemClock.now());
        if *change == Change::Created {
            metrics::observe(&metrics::STREAM_LAG, lag.as_secs_f64() * 1000.0);
        }
        let span = tracing::info_span!(
            "process",
            otel.name = format_args!("process {TABLE}"),
            otel.kind = "consumer",
            messaging.system = SYSTEM,
            messaging.operation.type = "process",
            messaging.operation.name = "process",
            messaging.destination.name = TABLE,
            messaging.batch.message_count = integer(in_batch),
            messaging.message.id = %message.message_id,
            faas.document.operation = match change {
                Change::Created => "insert",
                Change::Updated | Change::Deleted | Change::Reacted(_) => "edit",
            },
            faas.document.time = %self.written_at,
            switchboard.channel_id = %message.channel_id,
            switchboard.seq = integer(message.seq.get()),
            switchboard.stream.lag_ms = integer(lag.as_millis()),
        );
        if let Some(remote) = trace::parent(trace.as_ref()) {
            remote.attach_to(&span);
        }
        span
    }
}

/// Creates the span of a worker's invocation, with links to the trace of each record of `batch`.
#[must_use]
pub fn invocation_span(batch: &Batch) -> Span {
    let messages = || batch.channels.iter().flat_map(|of_channel| &of_channel.messages);
    let span = tracing::info_span!(
        parent: None,
        "invocation",
        otel.name = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
        otel.kind = "consumer",
        faas.document.collection = TABLE,
        messaging.system = SYSTEM,
        messaging.operation.type = "process",
        messaging.operation.name = "process",
        messaging.destination.name = TABLE,
        messaging.batch.message_count = integer(messages().count()),
        switchboard.records.unreadable = integer(batch.unreadable.len()),
    );
    ParentContext::of_request(None, None, invocation::xray_trace_id().as_deref()).attach_to(&span);
    for message in messages() {
        if let Some(remote) = trace::parent(message.event.stored.trace.as_ref()) {
            remote.link(&span);
        }
    }
    invocation::mark(&span, "datasource");
    span
}

/// Creates the span of an invocation with changes of subscriptions. It has no links, since subscriptions carry no
/// trace.
#[must_use]
pub fn presence_span(changes: usize) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "invocation",
        otel.name = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
        otel.kind = "consumer",
        faas.document.collection = "chat_connections",
        messaging.system = SYSTEM,
        messaging.operation.type = "process",
        messaging.operation.name = "process",
        messaging.destination.name = "chat_connections",
        switchboard.presence.changes = integer(changes),
    );
    ParentContext::of_request(None, None, invocation::xray_trace_id().as_deref()).attach_to(&span);
    invocation::mark(&span, "datasource");
    span
}

/// The name of the messaging system. The conventions define none for DynamoDB Streams; the name follows their AWS
/// names.
const SYSTEM: &str = "aws.dynamodb_streams";

/// The logical name of the table, which is the same in every deployment.
const TABLE: &str = "chat_events";

/// The changed messages of one channel, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelBatch {
    /// The channel's tenant.
    pub tenant: Option<TenantId>,
    /// The channel.
    pub channel: ChannelKey,
    /// The messages, at least one.
    pub messages: Vec<StreamedMessage>,
}

impl ChannelBatch {
    /// Creates a span for each message, in its own trace. The others link to the first, which contains the work.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let spans: Vec<Span> = self.messages.iter().map(|message| message.span(self.messages.len())).collect();
        if let [first, others @ ..] = spans.as_slice() {
            for other in others {
                context::link(other, first);
            }
        }
        spans
    }
}

/// A batch, grouped by channel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The messages by channel.
    pub channels: Vec<ChannelBatch>,
    /// Sequence numbers of records that are not messages. They are reported as failed. A retry cannot succeed, but the
    /// mapping's attempts are limited and end in its on-failure queue, where an operator can inspect the record.
    pub unreadable: Vec<String>,
}

/// Groups a batch by channel. Skips records without an event: removals of items, for example by their expiry, and
/// changes that keep the message's version.
#[must_use]
pub fn group_by_channel(event: Event) -> Batch {
    let mut batch = Batch::default();
    for record in event.records {
        let (event_id, sequence_number) = (record.event_id.clone(), record.change.sequence_number.clone());
        let (tenant, message) = match streamed_message(record) {
            Ok(Some(streamed)) => streamed,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(event_id, %error, "a stream record is no message");
                batch.unreadable.extend(sequence_number);
                continue;
            }
        };
        let channel = message.event.stored.channel();
        let is_of = |batch: &&mut ChannelBatch| batch.tenant == tenant && batch.channel == channel;
        if let Some(of_channel) = batch.channels.iter_mut().find(is_of) {
            of_channel.messages.push(message);
        } else {
            batch.channels.push(ChannelBatch { tenant, channel, messages: vec![message] });
        }
    }
    batch
}

/// Returns the partial batch response. Lambda delivers the records from the lowest of these sequence numbers on again
/// ("Configuring partial batch response with DynamoDB and Lambda").
#[must_use]
pub fn partial_batch_response(sequence_numbers: Vec<String>) -> DynamoDbEventResponse {
    let batch_item_failures = sequence_numbers
        .into_iter()
        .map(|sequence_number| {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = Some(sequence_number);
            failure
        })
        .collect();
    let mut response = DynamoDbEventResponse::default();
    response.batch_item_failures = batch_item_failures;
    response
}

/// Users whose subscriptions to a channel were added or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    /// The channel's tenant.
    pub tenant: Option<TenantId>,
    /// The channel.
    pub channel: ChannelKey,
    /// The users.
    pub users: BTreeSet<UserId>,
    /// The id of the record in a batch item failure.
    pub sequence_number: String,
}

/// Returns whether a batch is from the stream of `chat_connections`, whose items have a different key.
#[must_use]
pub fn is_connections_stream(event: &Event) -> bool {
    event.records.first().is_some_and(|record| record.change.keys.contains_key("pk"))
}

/// A connection whose number of left-out channels of its user changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The connection.
    pub connection: ConnectionKey,
    /// Number of channels that it leaves out.
    pub count: usize,
    /// The id of the record in a batch item failure.
    pub sequence_number: String,
}

/// Reads the connections whose number of left-out channels changed.
#[must_use]
pub fn left_out(event: &Event) -> Vec<LeftOut> {
    let count = |image: &serde_dynamo::Item| match image.get("left_out") {
        Some(serde_dynamo::AttributeValue::N(count)) => count.parse::<usize>().unwrap_or_default(),
        _ => 0,
    };
    let of_record = |record: &EventRecord| {
        let change = &record.change;
        let id = keys::of_connection(text(&change.keys, "pk")?)?;
        let connected_at = text(&change.new_image, "connected_at")?.parse().ok()?;
        let (before, count) = (count(&change.old_image), count(&change.new_image));
        let sequence_number = change.sequence_number.clone().unwrap_or_default();
        let connection = ConnectionKey { id, connected_at };
        (count > 0 && count != before).then_some(LeftOut { connection, count, sequence_number })
    };
    event.records.iter().filter_map(of_record).collect()
}

/// Groups a batch of subscriptions by channel. Skips other items: gates and presence records.
#[must_use]
pub fn presence_changes(event: Event) -> Vec<PresenceChange> {
    let mut changes: Vec<PresenceChange> = Vec::new();
    for record in event.records {
        let change = record.change;
        let image = if change.new_image.is_empty() { &change.old_image } else { &change.new_image };
        let key = |name: &str| text(&change.keys, name).unwrap_or_default();
        let Some((tenant, channel)) = keys::subscribed(key("pk"), key("sk")) else { continue };
        let Some(user) = text(image, "user_id").and_then(|user| user.parse::<UserId>().ok()) else { continue };
        match changes.iter_mut().find(|change| change.tenant == tenant && change.channel == channel) {
            Some(change) => {
                change.users.insert(user);
            }
            None => changes.push(PresenceChange {
                tenant,
                channel,
                users: BTreeSet::from([user]),
                sequence_number: change.sequence_number.unwrap_or_default(),
            }),
        }
    }
    changes
}

fn streamed_message(record: EventRecord) -> Result<Option<(Option<TenantId>, StreamedMessage)>, Unreadable> {
    let is_insert = match record.event_name.as_str() {
        "INSERT" => true,
        "MODIFY" => false,
        _ => return Ok(None),
    };
    let StreamRecord { old_image, new_image, sequence_number, approximate_creation_date_time, .. } = record.change;
    let before = (!is_insert).then_some(old_image);
    Ok(message_event(before, new_image)?.map(|(tenant, event)| {
        let written_at = Timestamp::from_millis(approximate_creation_date_time.timestamp_millis());
        (tenant, StreamedMessage { sequence_number: sequence_number.unwrap_or_default(), event, written_at })
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "general@01arz3ndektsv4rrffq69g5fav";
    const OTHER: &str = "general@01arz3ndektsv4rrffq69g5fa0";

    fn event(records: &[Value]) -> Event {
        serde_json::from_value(json!({ "Records": records })).unwrap()
    }

    fn record(number: usize, keys: &Value, image: &Value) -> Value {
        json!({
            "eventID": number.to_string(), "eventName": "INSERT", "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_800_000_000, "SequenceNumber": number.to_string(),
                "Keys": keys, "NewImage": image, "SizeBytes": 1,
            },
        })
    }

    #[test]
    fn a_partial_batch_response_has_the_form_that_lambda_reads() {
        let response = serde_json::to_value(partial_batch_response(vec!["7".to_owned(), "9".to_owned()])).unwrap();
        assert_eq!(response, json!({"batchItemFailures": [{"itemIdentifier": "7"}, {"itemIdentifier": "9"}]}));
    }

    fn message(number: usize, channel: &str) -> Value {
        let image = json!({
            "channel_id": { "S": channel }, "seq": { "N": number.to_string() },
            "message_id": { "S": "01ARZ3NDEKTSV4RRFFQ69G5FAV" }, "version": { "N": "1" }, "sender_id": { "S": "alice" },
            "role": { "S": "user" }, "content": { "S": "hi" }, "content_type": { "S": "text/plain" },
            "created_at": { "S": "2027-01-15T08:00:00.000Z" },
        });
        record(number, &json!({ "channel_id": image["channel_id"], "seq": image["seq"] }), &image)
    }

    #[test]
    fn messages_of_each_life_of_a_channel_are_a_batch_of_their_own() {
        let tenants = format!("acme~{KEY}");
        let records: Vec<Value> =
            [KEY, OTHER, &tenants, KEY].iter().enumerate().map(|(number, key)| message(number, key)).collect();
        let batch = group_by_channel(event(&records));
        let found: Vec<_> = batch
            .channels
            .iter()
            .map(|one| {
                let seqs: Vec<u64> =
                    one.messages.iter().map(|message| message.event.stored.message.seq.get()).collect();
                assert!(one.messages.iter().all(|message| message.event.stored.channel() == one.channel));
                (one.tenant.as_ref().map(ToString::to_string), one.channel.to_string(), seqs)
            })
            .collect();
        let expected = [
            (None, KEY.to_owned(), vec![0, 3]),
            (None, OTHER.to_owned(), vec![1]),
            (Some("acme".to_owned()), KEY.to_owned(), vec![2]),
        ];
        assert_eq!(found, expected);
        assert!(batch.unreadable.is_empty());
    }

    #[test]
    fn a_message_without_the_key_of_a_channel_is_none() {
        let records = ["general", "general@x", "~", ""].map(|key| message(7, key));
        let batch = group_by_channel(event(&records));
        assert_eq!((batch.channels.len(), batch.unreadable.len()), (0, 4));
    }

    #[test]
    fn only_subscriptions_are_changes_of_presence() {
        let row = |number, pk: &str, sk: &str| {
            let keys = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
            record(
                number,
                &keys,
                &json!({ "pk": { "S": pk }, "sk": { "S": sk }, "user_id": { "S": format!("u{number}") } }),
            )
        };
        let (one, other) = (format!("chan#{KEY}"), format!("chan#acme~{OTHER}"));
        let records = [
            row(1, &one, "conn#a="),
            row(2, &one, "a-gate"),
            row(3, &one, "blocked#bob"),
            row(4, &format!("present#{KEY}"), "user#bob"),
            row(5, "chan#general", "conn#a="),
            row(6, "user#bob", "conn#a="),
            row(7, &other, "conn#b="),
            row(8, &one, "conn#c="),
        ];
        let changes = presence_changes(event(&records));
        let users = |numbers: &[usize]| numbers.iter().map(|number| format!("u{number}").parse().unwrap()).collect();
        let expected = [(None, KEY, users(&[1, 8]), "1"), (Some("acme"), OTHER, users(&[7]), "7")];
        let expected = expected.map(|(tenant, channel, users, number): (Option<&str>, _, _, _)| PresenceChange {
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            channel: channel.parse().unwrap(),
            users,
            sequence_number: number.to_owned(),
        });
        assert_eq!(changes, expected);
    }
}
