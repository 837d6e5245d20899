//! Batches of the stream of `chat_events`, and what a worker answers to one.

use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use chat::{
    clock::Timestamp,
    id::ChannelId,
    message::{Change, Message, MessageEvent, StoredMessage},
};

/// A change of a message, as its stream record tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamedMessage {
    /// What a batch item failure names.
    pub sequence_number: String,
    /// What happened to which message.
    pub event: MessageEvent,
}

/// The changed messages of one channel, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelBatch {
    /// The channel.
    pub channel_id: ChannelId,
    /// At least one.
    pub messages: Vec<StreamedMessage>,
}

/// A batch, sorted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// By channel.
    pub channels: Vec<ChannelBatch>,
    /// Sequence numbers of records that are no messages. They are reported as failed: no repetition mends them, but
    /// the mapping's retries are finite and end in its on-failure queue, where somebody can look at them.
    pub unreadable: Vec<String>,
}

/// Sorts a batch by channel. A record that tells of no message (an expiry, for example) is left out.
#[must_use]
pub fn sort(event: Event) -> Batch {
    let mut batch = Batch::default();
    for record in event.records {
        let (event_id, sequence_number) = (record.event_id.clone(), record.change.sequence_number.clone());
        let message = match streamed_message(record) {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(event_id, %error, "a stream record is no message");
                batch.unreadable.extend(sequence_number);
                continue;
            }
        };
        let channel_id = &message.event.stored.message.channel_id;
        match batch.channels.iter_mut().find(|of_channel| of_channel.channel_id == *channel_id) {
            Some(of_channel) => of_channel.messages.push(message),
            None => {
                batch.channels.push(ChannelBatch { channel_id: channel_id.clone(), messages: vec![message] });
            }
        }
    }
    batch
}

/// The partial batch response: the records of these sequence numbers, and all after the lowest, come again
/// ("Configuring partial batch response with DynamoDB and Lambda").
#[must_use]
pub fn failures(sequence_numbers: Vec<String>) -> DynamoDbEventResponse {
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

fn streamed_message(record: EventRecord) -> Result<Option<StreamedMessage>, serde_dynamo::Error> {
    let inserted = match record.event_name.as_str() {
        "INSERT" => true,
        "MODIFY" => false,
        _ => return Ok(None),
    };
    let change = record.change;
    let traceparent = match change.new_image.get("traceparent") {
        Some(serde_dynamo::AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    };
    let expires_at = match change.new_image.get("expires_at") {
        Some(serde_dynamo::AttributeValue::N(secs)) => secs.parse().ok().map(Timestamp::from_secs),
        _ => None,
    };
    let message: Message = serde_dynamo::from_item(change.new_image)?;
    let sequence_number = change.sequence_number.unwrap_or_default();
    let change = match message.deleted_at {
        _ if inserted => Change::Created,
        Some(_) => Change::Deleted,
        None => Change::Updated,
    };
    let stored = StoredMessage { message, traceparent, expires_at };
    Ok(Some(StreamedMessage { sequence_number, event: MessageEvent { change, stored } }))
}
