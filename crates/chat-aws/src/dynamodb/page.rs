//! Pages of a query, read from the JSON of a response.
//!
//! The response of a `Query` is read into values of the domain in place of the SDK's items: see
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
use chat::model::error::StoreError;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    dynamodb::item::Item,
    sdk::{decode_error, sdk_error},
};

const OPERATION: &str = "Query";

/// Reader of the items of a query.
pub(super) trait ItemReader: fmt::Debug + Send + Sync + 'static {
    /// Value of an item.
    type Value: fmt::Debug + Send + 'static;

    /// Reads an item. Returns `None` if the page leaves it out.
    ///
    /// # Errors
    /// Fails if the item has another form.
    fn read<'de, D: Deserializer<'de>>(&self, item: D) -> Result<Option<Self::Value>, D::Error>;
}

/// A page of a query.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// Values of the items, without those that were left out.
    pub(super) values: Vec<T>,
    /// The key after which the query goes on, if it does.
    pub(super) last_key: Option<Item>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { values: Vec::new(), last_key: None }
    }
}

/// Runs a query, and reads its items.
pub(super) async fn read<R: ItemReader>(query: QueryFluentBuilder, reader: R) -> Result<Page<R::Value>, StoreError> {
    let reader = Arc::new(PageReader { reader, page: Mutex::default() });
    let reading = Reading(Arc::clone(&reader));
    query.customize().interceptor(reading).send().await.map_err(|error| sdk_error(OPERATION, error))?;
    let page = reader.page.lock().unwrap_or_else(PoisonError::into_inner).take();
    page.unwrap_or_else(|| Ok(Page::default())).map_err(|error| decode_error(OPERATION, error))
}

/// Reader of items, with the page that it has read.
#[derive(Debug)]
struct PageReader<R: ItemReader> {
    reader: R,
    page: Mutex<Option<serde_json::Result<Page<R::Value>>>>,
}

/// Takes the place of the SDK's reader of a successful response.
#[derive(Debug)]
struct Reading<R: ItemReader>(Arc<PageReader<R>>);

impl<R: ItemReader> Intercept for Reading<R> {
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
            cfg.interceptor_state().store_put(SharedResponseDeserializer::new(Self(Arc::clone(&self.0))));
        }
        Ok(())
    }
}

impl<R: ItemReader> DeserializeResponse for Reading<R> {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<OperationError>> {
        let Self(reader) = self;
        let body = response.body().bytes().ok_or_else(|| OrchestratorError::other("the response was not read"))?;
        let page = parse(body, &reader.reader);
        *reader.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
        Ok(Output::erase(QueryOutput::builder().build()))
    }
}

/// Reads the body of a response.
pub(super) fn parse<R: ItemReader>(body: &[u8], reader: &R) -> serde_json::Result<Page<R::Value>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let page = PageOf(reader).deserialize(&mut json)?;
    json.end()?;
    Ok(page)
}

/// Reads the body of a response ("Query" in the DynamoDB API reference, response syntax).
struct PageOf<'a, R>(&'a R);

/// Member of a response.
#[derive(Deserialize)]
#[serde(field_identifier)]
enum Member {
    Items,
    LastEvaluatedKey,
    #[serde(other)]
    Other,
}

/// Attribute of a key.
#[derive(Deserialize)]
enum KeyAttribute {
    S(String),
    N(String),
}

impl<'de, R: ItemReader> DeserializeSeed<'de> for PageOf<'_, R> {
    type Value = Page<R::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, R: ItemReader> Visitor<'de> for PageOf<'_, R> {
    type Value = Page<R::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut page = Page::default();
        while let Some(member) = map.next_key()? {
            match member {
                Member::Items => page.values = map.next_value_seed(Values(self.0))?,
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

/// Reads the items that the reader does not leave out.
struct Values<'a, R>(&'a R);

impl<'de, R: ItemReader> DeserializeSeed<'de> for Values<'_, R> {
    type Value = Vec<R::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, R: ItemReader> Visitor<'de> for Values<'_, R> {
    type Value = Vec<R::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(One(self.0))? {
            values.extend(value);
        }
        Ok(values)
    }
}

/// Reads one item.
struct One<'a, R>(&'a R);

impl<'de, R: ItemReader> DeserializeSeed<'de> for One<'_, R> {
    type Value = Option<R::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.read(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dynamodb::item::{n, s};

    /// Reads texts, and leaves out the empty ones.
    #[derive(Debug)]
    struct Texts;

    impl ItemReader for Texts {
        type Value = String;

        fn read<'de, D: Deserializer<'de>>(&self, item: D) -> Result<Option<String>, D::Error> {
            Ok(Some(String::deserialize(item)?).filter(|text| !text.is_empty()))
        }
    }

    #[test]
    fn a_page_has_the_values_in_their_order_and_the_key_after_them() {
        let body = json!({
            "Count": 3,
            "Items": ["b", "", "a"],
            "LastEvaluatedKey": { "pk": { "S": "t~c@x" }, "seq": { "N": "1" } },
            "ScannedCount": 3,
        });
        let Page { values, last_key } = parse(body.to_string().as_bytes(), &Texts).unwrap();
        assert_eq!(values, ["b", "a"]);
        assert_eq!(last_key, Some(Item::from([("pk".to_owned(), s("t~c@x")), ("seq".to_owned(), n(1))])));
    }

    #[test]
    fn a_page_may_be_empty_and_is_whole() {
        for body in [json!({}), json!({ "Items": [], "Count": 0 }), json!({ "LastEvaluatedKey": null, "Items": [] })] {
            let read = parse(body.to_string().as_bytes(), &Texts).unwrap();
            assert!(read.values.is_empty() && read.last_key.is_none(), "{body}");
        }
        for bad in [&br#"{"Items":["#[..], br#"{"Items":[]} x"#, br#"{"Items":[7]}"#, b""] {
            assert!(parse(bad, &Texts).is_err());
        }
    }
}
