//! Table items and their attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{error::StoreError, time::Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use crate::sdk::decode_error;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn n(number: impl std::fmt::Display + Copy) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Returns the text in an attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// Returns the whole number in an attribute.
pub(crate) fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns whether an attribute exists and is true.
pub(crate) fn flag(item: &Item, name: &str) -> bool {
    item.get(name) == Some(&AttributeValue::Bool(true))
}

/// Returns whether an item of a kind that always expires has not expired by `now`.
pub(crate) fn is_unexpired(item: &Item, now: Timestamp) -> bool {
    number(item, "expires_at").is_some_and(|secs| secs > now.as_secs())
}

pub(crate) fn read<T: DeserializeOwned>(operation: &'static str, item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| decode_error(operation, error))
}

pub(crate) fn write(operation: &'static str, value: impl Serialize) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|error| decode_error(operation, error))
}

pub(crate) fn attribute(operation: &'static str, value: impl Serialize) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value).map_err(|error| decode_error(operation, error))
}

/// The condition that an item is absent or expired. TTL deletes expired items late, sometimes by days ("Using time to
/// live (TTL) in DynamoDB"), so an expired item counts as absent. Needs `:now` in seconds.
pub(crate) const ABSENT_OR_EXPIRED: &str = "attribute_not_exists(sk) OR expires_at <= :now";
