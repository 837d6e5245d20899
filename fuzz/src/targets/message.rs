//! A body of `POST …/messages`: a draft that is accepted is the same in the table, in the history and in a frame.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::{
    clock::Timestamp,
    limits::{CONTENT_BYTES, METADATA_BYTES},
    message::{Draft, Message, MessageEvent, Role, StoredMessage},
};
use http_api::Fields;
use std::collections::HashMap;

pub fn run(data: &[u8]) {
    let Ok(mut fields) = Fields::parse(data) else { return };
    let mut draft = Draft {
        content: fields.required("content", "a string"),
        content_type: fields.optional("content_type", "a type").unwrap_or_default(),
        metadata: fields.optional("metadata", "an object"),
        reply_to: fields.optional("reply_to", "a number"),
    };
    let agent = fields.object("agent");
    if let Some(agent) = agent {
        fields.absorb(agent);
    }
    let violations = fields.finish();
    assert!(violations.iter().all(|violation| violation.field.chars().count() <= 64 + "agent.".len()));
    if !draft.check().is_empty() {
        return;
    }
    let accepted = draft.clone();
    assert!(draft.check().is_empty() && draft == accepted, "what is accepted is not changed again");
    assert!((1..=CONTENT_BYTES).contains(&draft.content.len()));
    assert!(draft.metadata.as_ref().is_none_or(|data| serde_json::to_vec(data).unwrap().len() <= METADATA_BYTES + 64));
    let message = message(draft);
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(&message).expect("an item");
    let read: Message = serde_dynamo::from_item(item).expect("a message");
    assert_eq!(read, message, "as the table gives it back");
    let json = serde_json::to_string(&message).expect("JSON");
    assert_eq!(serde_json::from_str::<Message>(&json).expect("a message"), message, "as a client reads it");
}

/// A message of a draft's.
pub fn message(draft: Draft) -> Message {
    Message {
        channel_id: "general".parse().expect("an id"),
        seq: 7,
        message_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned().try_into().expect("an id"),
        sender_id: "alice".parse().expect("an id"),
        role: Role::User,
        content: draft.content,
        content_type: draft.content_type,
        created_at: Timestamp::from_secs(1_796_000_000),
        metadata: draft.metadata,
        reply_to: draft.reply_to,
        edited_at: None,
        reactions: chat::reaction::Reactions::new(),
        deleted_at: None,
    }
}

/// The event of a message's.
pub fn event(change: chat::message::Change, message: Message, traceparent: Option<String>) -> MessageEvent {
    let trace = traceparent.map(|traceparent| chat::trace::TraceContext { traceparent, tracestate: None });
    MessageEvent { change, stored: StoredMessage { message, trace, expires_at: None } }
}
