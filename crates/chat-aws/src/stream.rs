//! Records of the stream of `chat_events`.

use aws_lambda_events::event::dynamodb::EventRecord;
use chat::message::{Message, StoredMessage};

/// A message that was appended, as its stream record tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct AppendedMessage {
    /// What a batch item failure names.
    pub sequence_number: String,
    /// The message.
    pub stored: StoredMessage,
}

/// Reads a record. `None`: it tells of no new message (an expiry, for example).
///
/// # Errors
/// When the item is not a message: the record can never be worked on.
pub fn appended_message(record: EventRecord) -> Result<Option<AppendedMessage>, serde_dynamo::Error> {
    if record.event_name != "INSERT" {
        return Ok(None);
    }
    let change = record.change;
    let traceparent = match change.new_image.get("traceparent") {
        Some(serde_dynamo::AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    };
    let message: Message = serde_dynamo::from_item(change.new_image)?;
    let sequence_number = change.sequence_number.unwrap_or_default();
    Ok(Some(AppendedMessage { sequence_number, stored: StoredMessage { message, traceparent } }))
}
