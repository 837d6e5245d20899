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
        connection::Connection,
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
use crate::{
    dynamodb::{connections::connection_items, keys},
    trace,
};

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
        let MessageEvent { change, stored, .. } = &self.event;
        let written_at = if *change == Change::Created { stored.message.created_at } else { self.written_at };
        written_at.until(now)
    }

    /// Creates a span for the processing of this change, in the trace of its record.
    #[must_use]
    pub fn span(&self, in_batch: usize) -> Span {
        let MessageEvent { change, stored: StoredMessage { message, trace, .. }, .. } = &self.event;
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

/// A change of a connection of which its client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionChange {
    /// The connection's tenant.
    pub tenant: Option<TenantId>,
    /// The connection as changed.
    pub connection: Connection,
    /// `true` if the connection was opened. Otherwise its number of left-out channels of its user changed.
    pub is_new: bool,
    /// The id of the record in a batch item failure.
    pub sequence_number: String,
}

/// Reads the connections that were opened, and those whose number of left-out channels changed. The changes of each
/// connection are in their order.
#[must_use]
pub fn connection_changes(event: &Event) -> Vec<Vec<ConnectionChange>> {
    let mut connections: Vec<Vec<ConnectionChange>> = Vec::new();
    for change in event.records.iter().filter_map(connection_change) {
        let id = &change.connection.key.id;
        match connections.iter_mut().find(|known| known.iter().any(|one| one.connection.key.id == *id)) {
            Some(known) => known.push(change),
            None => connections.push(vec![change]),
        }
    }
    connections
}

fn connection_change(record: &EventRecord) -> Option<ConnectionChange> {
    let change = &record.change;
    let id = keys::of_connection(text(&change.keys, "pk")?)?;
    let connected_at = text(&change.new_image, "connected_at")?;
    // No client has the socket of a pending connection.
    if connection_items::is_pending(&change.new_image) {
        return None;
    }
    // An id that was used before may still have the item of its earlier connection.
    let is_other = text(&change.old_image, "connected_at") != Some(connected_at);
    let is_new = is_other || connection_items::is_pending(&change.old_image);
    let before = match change.old_image.get("left_out") {
        Some(serde_dynamo::AttributeValue::N(count)) => count.parse().unwrap_or_default(),
        _ => 0,
    };
    let (tenant, connection) = match connection_items::of_image(id, change.new_image.clone()) {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(event_id = record.event_id, %error, "a stream record is no connection");
            return None;
        }
    };
    let is_told = is_new || (connection.left_out > 0 && connection.left_out != before);
    let sequence_number = change.sequence_number.clone().unwrap_or_default();
    is_told.then_some(ConnectionChange { tenant, connection, is_new, sequence_number })
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
mod tests;
