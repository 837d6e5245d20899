//! A body of `POST …/messages`. An ambiguous body is refused. An accepted message is the same in the table, in the
//! history and in a frame.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{
    limits::{CONTENT_BYTES, METADATA_BYTES},
    message::{Message, MessageEvent, NewMessage, Role, StoredMessage},
    seq::Seq,
    time::Timestamp,
};
use http_api::Fields;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::{collections::HashMap, fmt};

pub fn run(data: &[u8]) {
    let parsed = Fields::parse(data);
    let pairs = serde_json::from_slice::<Pairs>(data);
    match &parsed {
        // JSON from a reader that keeps every name and value: no object has a name twice.
        Ok(_) => assert!(!pairs.expect("JSON").is_ambiguous()),
        Err(problem) => {
            assert!(matches!(problem.status, 400 | 413));
            let is_told = problem.errors.iter().any(|error| error.code == "duplicate_field");
            assert!(!is_told || pairs.map_or(true, |pairs| pairs.is_ambiguous()), "{problem:?}");
            assert!(serde_json::to_vec(problem).expect("JSON").len() < 64 * 1024, "an answer has a limit");
        }
    }
    let Ok(mut fields) = parsed else { return };
    let mut draft = NewMessage {
        content: fields.required("content", "a string"),
        content_type: fields.optional("content_type", "a type").unwrap_or_default(),
        metadata: fields.optional("metadata", "an object"),
        reply_to: fields.optional("reply_to", "a number"),
        thread_seq: fields.optional("thread_seq", "a number"),
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
    assert_eq!(read, message, "as read from the table");
    let json = serde_json::to_string(&message).expect("JSON");
    assert_eq!(serde_json::from_str::<Message>(&json).expect("a message"), message, "as a client reads it");
}

/// JSON with each object as its pairs of names and values, in order.
enum Pairs {
    Scalar,
    Array(Vec<Pairs>),
    Object(Vec<(String, Pairs)>),
}

impl Pairs {
    fn is_ambiguous(&self) -> bool {
        match self {
            Self::Scalar => false,
            Self::Array(values) => values.iter().any(Self::is_ambiguous),
            Self::Object(pairs) => pairs.iter().enumerate().any(|(number, (name, value))| {
                value.is_ambiguous() || pairs[..number].iter().any(|(earlier, _)| earlier == name)
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Pairs, E> {
                Ok(Pairs::Scalar)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Pairs, E> {
                Ok(Pairs::Scalar)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Pairs, E> {
                Ok(Pairs::Scalar)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Pairs, E> {
                Ok(Pairs::Scalar)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Pairs, E> {
                Ok(Pairs::Scalar)
            }

            fn visit_unit<E: Error>(self) -> Result<Pairs, E> {
                Ok(Pairs::Scalar)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Pairs, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Ok(Pairs::Array(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pairs, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    all.push(entry);
                }
                Ok(Pairs::Object(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Returns a message with the content of a draft.
pub fn message(draft: NewMessage) -> Message {
    Message {
        channel_id: "general".parse().expect("an id"),
        seq: Seq::new(7),
        message_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned().try_into().expect("an id"),
        version: Message::FIRST_VERSION,
        sender_id: "alice".parse().expect("an id"),
        role: Role::User,
        content: draft.content,
        content_type: draft.content_type,
        created_at: Timestamp::from_secs(1_796_000_000),
        metadata: draft.metadata,
        reply_to: draft.reply_to,
        agent: None,
        thread_seq: draft.thread_seq,
        thread: None,
        edited_at: None,
        reactions: chat::model::reaction::Reactions::new(),
        deleted_at: None,
    }
}

/// Returns an event with a message.
pub fn event(change: chat::model::message::Change, message: Message, traceparent: Option<String>) -> MessageEvent {
    let trace = traceparent.map(|traceparent| chat::model::trace::TraceContext { traceparent, tracestate: None });
    let incarnation = "01arz3ndektsv4rrffq69g5fav".parse().expect("an incarnation");
    let rev = chat::model::rev::Rev::FIRST;
    MessageEvent::of(change, StoredMessage { message, incarnation, rev, trace, expires_at: None })
}
