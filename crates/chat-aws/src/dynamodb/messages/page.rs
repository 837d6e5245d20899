//! Pages of messages, read from the JSON of a response.
//!
//! The response of a `Query` is read into messages in place of the SDK's items: see
//! [`attributes`](crate::dynamodb::attributes). Requests, retries and errors remain the SDK's.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, http::HttpResponse,
        interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::BoxError,
    operation::query::{QueryOutput, builders::QueryFluentBuilder},
    types::AttributeValue,
};
use aws_smithy_runtime_api::client::{
    interceptors::context::{Error as OperationError, Output},
    orchestrator::OrchestratorError,
    ser_de::{DeserializeResponse, SharedResponseDeserializer},
};
use chat::model::{error::StoreError, message::Message, time::Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    dynamodb::{attributes::ItemOf, item::Item, keys::Keys},
    sdk::{decode_error, sdk_error},
};

const OPERATION: &str = "Query";

/// A page of a query.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The messages that have not expired.
    pub(super) messages: Vec<Message>,
    /// The key after which the query goes on, if it does.
    pub(super) last_key: Option<Item>,
}

/// Runs a query for messages under `keys`. Leaves out those that have expired by `now`.
pub(super) async fn read(query: QueryFluentBuilder, keys: &Keys, now: Timestamp) -> Result<Page, StoreError> {
    let reader = PageReader { keys: keys.clone(), now, page: Arc::default() };
    let page = Arc::clone(&reader.page);
    query.customize().interceptor(reader).send().await.map_err(|error| sdk_error(OPERATION, error))?;
    let page = page.lock().unwrap_or_else(PoisonError::into_inner).take();
    page.unwrap_or_else(|| Ok(Page::default())).map_err(|error| decode_error(OPERATION, error))
}

/// Takes the place of the SDK's reader of a successful response, and keeps the page.
#[derive(Debug, Clone)]
struct PageReader {
    keys: Keys,
    now: Timestamp,
    page: Arc<Mutex<Option<serde_json::Result<Page>>>>,
}

impl Intercept for PageReader {
    fn name(&self) -> &'static str {
        "PageReader"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The SDK reads the responses with errors, for its retries.
        if context.response().status().is_success() {
            cfg.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl DeserializeResponse for PageReader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<OperationError>> {
        let body = response.body().bytes().ok_or_else(|| OrchestratorError::other("the response was not read"))?;
        let page = parse(body, &self.keys, self.now);
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
        Ok(Output::erase(QueryOutput::builder().build()))
    }
}

fn parse(body: &[u8], keys: &Keys, now: Timestamp) -> serde_json::Result<Page> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let page = PageOf { keys, now }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(page)
}

/// Reads the body of a response ("Query" in the DynamoDB API reference, response syntax).
struct PageOf<'a> {
    keys: &'a Keys,
    now: Timestamp,
}

/// Member of a response.
#[derive(Deserialize)]
#[serde(field_identifier)]
enum Member {
    Items,
    LastEvaluatedKey,
    #[serde(other)]
    Other,
}

/// Attribute of a key of `chat_events`.
#[derive(Deserialize)]
enum KeyAttribute {
    S(String),
    N(String),
}

impl<'de> DeserializeSeed<'de> for PageOf<'_> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageOf<'_> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let mut page = Page::default();
        while let Some(member) = map.next_key()? {
            match member {
                Member::Items => page.messages = map.next_value_seed(Live { keys: self.keys, now: self.now })?,
                Member::LastEvaluatedKey => page.last_key = map.next_value::<Option<_>>()?.map(key),
                Member::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(page)
    }
}

fn key(attributes: HashMap<String, KeyAttribute>) -> Item {
    let value = |attribute| match attribute {
        KeyAttribute::S(text) => AttributeValue::S(text),
        KeyAttribute::N(digits) => AttributeValue::N(digits),
    };
    attributes.into_iter().map(|(name, attribute)| (name, value(attribute))).collect()
}

/// Reads the messages that have not expired.
struct Live<'a> {
    keys: &'a Keys,
    now: Timestamp,
}

impl<'de> DeserializeSeed<'de> for Live<'_> {
    type Value = Vec<Message>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Message>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Live<'_> {
    type Value = Vec<Message>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Message>, A::Error> {
        let mut messages = Vec::new();
        while let Some((message, expires_at)) = items.next_element_seed(ItemOf::<Message>::new(self.keys))? {
            // TTL deletes late ("Using time to live (TTL) in DynamoDB").
            if expires_at.is_none_or(|secs| secs > self.now.as_secs()) {
                messages.push(message);
            }
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dynamodb::item::{n, s};

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

    fn page(body: &Value) -> serde_json::Result<Page> {
        let keys = Keys::for_tenant(Some(&"t".parse().unwrap()));
        parse(body.to_string().as_bytes(), &keys, Timestamp::from_secs(100))
    }

    #[test]
    fn a_page_has_live_messages_of_the_channel_and_the_key_after_them() {
        let read = page(&json!({
            "Count": 4,
            "Items": [
                item(4, &json!({})),
                item(3, &json!({ "expires_at": { "N": "100" } })),
                item(2, &json!({ "expires_at": { "N": "101" } })),
                item(1, &json!({ "no_agent": { "S": "1" }, "rev": { "N": "7" } })),
            ],
            "LastEvaluatedKey": { "channel_id": { "S": "t~c@x" }, "seq": { "N": "1" } },
            "ScannedCount": 4,
        }));
        let Page { messages, last_key } = read.unwrap();
        let found: Vec<(&str, u64)> =
            messages.iter().map(|message| (message.channel_id.as_str(), message.seq.get())).collect();
        assert_eq!(found, [("c", 4), ("c", 2), ("c", 1)]);
        let key = Item::from([("channel_id".to_owned(), s("t~c@x")), ("seq".to_owned(), n(1))]);
        assert_eq!(last_key, Some(key));
    }

    #[test]
    fn a_page_may_be_empty_and_is_whole() {
        for body in [json!({}), json!({ "Items": [], "Count": 0 }), json!({ "LastEvaluatedKey": null, "Items": [] })] {
            let read = page(&body).unwrap();
            assert!(read.messages.is_empty() && read.last_key.is_none(), "{body}");
        }
        assert!(page(&json!({ "Items": [item(1, &json!({ "seq": { "S": "1" } }))] })).is_err());
        for cut in [&br#"{"Items":["#[..], br#"{"Items":[]} x"#, b""] {
            assert!(parse(cut, &Keys::default(), Timestamp::from_secs(100)).is_err());
        }
    }
}
