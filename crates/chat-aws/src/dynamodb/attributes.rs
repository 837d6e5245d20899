//! Reads values of the domain from the JSON of an item, in one pass.
//!
//! DynamoDB writes each value with its type: `{"S":"hello"}`, `{"N":"7"}` ("DynamoDB low-level API" in the DynamoDB
//! developer guide, data type descriptors). The SDK reads an item into a map of owned names and values, and
//! `serde_dynamo` reads that map. For a page of messages, both maps are most of its cost.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::dynamodb::keys::Keys;

/// Reads a value that is written with its type.
struct Typed<T>(T);

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Typed<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeSeed<'de>> Visitor<'de> for Typed<T> {
    type Value = T::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T::Value, A::Error> {
        let kind = map.next_key()?.ok_or_else(|| A::Error::custom("a value has no type"))?;
        self.0.deserialize(Value { kind, map })
    }
}

/// Type of a value. No item has values of the types `B`, `BS` and `NS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier)]
enum Kind {
    #[serde(rename = "S")]
    Text,
    #[serde(rename = "N")]
    Number,
    #[serde(rename = "BOOL")]
    Flag,
    #[serde(rename = "NULL")]
    Null,
    #[serde(rename = "M")]
    Map,
    #[serde(rename = "L")]
    List,
    #[serde(rename = "SS")]
    Texts,
}

/// A value whose type was read.
struct Value<A> {
    kind: Kind,
    map: A,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Value<A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, A::Error> {
        match self.kind {
            Kind::Text | Kind::Flag | Kind::Texts => self.map.next_value_seed(Plain(visitor)),
            Kind::Number => self.map.next_value_seed(Digits(visitor)),
            Kind::Map => self.map.next_value_seed(Entries(visitor)),
            Kind::List => self.map.next_value_seed(Elements(visitor)),
            Kind::Null => {
                self.map.next_value::<IgnoredAny>()?;
                visitor.visit_unit()
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, A::Error> {
        if self.kind == Kind::Null {
            self.map.next_value::<IgnoredAny>()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(Variant { name, variants, visitor })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, A::Error> {
        self.map.next_value::<IgnoredAny>()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// Reads a text, a flag or a set of texts, which have the form of JSON.
struct Plain<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Plain<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

/// Reads a text that names a variant.
struct Variant<V> {
    name: &'static str,
    variants: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Variant<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_enum(self.name, self.variants, self.visitor)
    }
}

/// Reads a number from its text. A whole number is an integer if it is one of 64 bits.
struct Digits<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Digits<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Digits<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        if let Ok(number) = text.parse() {
            return self.0.visit_i64(number);
        }
        if let Ok(number) = text.parse() {
            return self.0.visit_u64(number);
        }
        self.0.visit_f64(text.parse().map_err(E::custom)?)
    }
}

/// Reads a map whose values are written with their types.
struct Entries<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Entries<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Entries<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(TypedEntries(map))
    }
}

struct TypedEntries<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for TypedEntries<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Typed(seed))
    }
}

/// Reads a list whose values are written with their types.
struct Elements<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Elements<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Elements<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(TypedElements(list))
    }
}

struct TypedElements<A>(A);

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for TypedElements<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Typed(seed))
    }
}

/// Reads an item.
pub(super) fn item<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(Fields(PhantomData))
}

/// Reads a value of the domain from the attributes of an item.
struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(TypedEntries(map)))
    }
}

/// Reads an item with a `channel_id` and perhaps an `expires_at`.
///
/// The value gets the channel's id alone, and no `expires_at`. The item's own is returned beside the value.
pub(super) struct ItemOf<'a, T> {
    keys: &'a Keys,
    of: PhantomData<T>,
}

impl<'a, T> ItemOf<'a, T> {
    /// Returns the reader of an item under `keys`.
    pub(super) const fn new(keys: &'a Keys) -> Self {
        Self { keys, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for ItemOf<'_, T> {
    type Value = (T, Option<i64>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemOf<'_, T> {
    type Value = (T, Option<i64>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut expires_at = None;
        let attributes = Attributes { map, keys: self.keys, expires_at: &mut expires_at, is_channel: false };
        let value = T::deserialize(MapAccessDeserializer::new(attributes))?;
        Ok((value, expires_at))
    }
}

/// Attributes of an item.
struct Attributes<'a, A> {
    map: A,
    keys: &'a Keys,
    expires_at: &'a mut Option<i64>,
    /// Whether the next value is the `channel_id`.
    is_channel: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Attributes<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.map.next_key_seed(NameOf(seed))? {
                None => return Ok(None),
                Some(Name::ExpiresAt(unused)) => {
                    *self.expires_at = Some(self.map.next_value_seed(Typed(PhantomData::<i64>))?);
                    seed = unused;
                }
                Some(Name::Channel(name)) => {
                    self.is_channel = true;
                    return Ok(Some(name));
                }
                Some(Name::Other(name)) => return Ok(Some(name)),
            }
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        if std::mem::take(&mut self.is_channel) {
            let stored = self.map.next_value_seed(Typed(PhantomData::<String>))?;
            return seed.deserialize(StrDeserializer::<A::Error>::new(self.keys.plain_id(&stored)));
        }
        self.map.next_value_seed(Typed(seed))
    }
}

/// Reads the name of an attribute.
struct NameOf<K>(K);

/// Name of an attribute, or its reader if the value does not get the attribute.
enum Name<K, V> {
    ExpiresAt(K),
    Channel(V),
    Other(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for NameOf<K> {
    type Value = Name<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for NameOf<K> {
    type Value = Name<K, K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "expires_at" => Ok(Name::ExpiresAt(self.0)),
            "channel_id" => self.0.deserialize(StrDeserializer::<E>::new(text)).map(Name::Channel),
            _ => self.0.deserialize(StrDeserializer::<E>::new(text)).map(Name::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use chat::model::message::Message;
    use serde_json::{Map, json};

    use super::*;
    use crate::dynamodb::item::Item;

    /// Returns a value as the table sends it.
    fn sent(value: &AttributeValue) -> serde_json::Value {
        match value {
            AttributeValue::S(text) => json!({ "S": text }),
            AttributeValue::N(digits) => json!({ "N": digits }),
            AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
            AttributeValue::Null(_) => json!({ "NULL": true }),
            AttributeValue::M(entries) => json!({ "M": item_of(entries) }),
            AttributeValue::L(list) => json!({ "L": list.iter().map(sent).collect::<Vec<_>>() }),
            AttributeValue::Ss(texts) => json!({ "SS": texts }),
            other => panic!("{other:?}"),
        }
    }

    fn item_of(item: &Item) -> Map<String, serde_json::Value> {
        item.iter().map(|(name, value)| (name.clone(), sent(value))).collect()
    }

    fn read(item: &Item) -> serde_json::Result<(Message, Option<i64>)> {
        let text = serde_json::Value::Object(item_of(item)).to_string();
        ItemOf::new(&Keys::default()).deserialize(&mut serde_json::Deserializer::from_str(&text))
    }

    fn message(more: &serde_json::Value) -> serde_json::Value {
        let mut message = json!({
            "channel_id": "c", "seq": 7, "message_id": "01JDYZ3N6RZZZZZZZZZZZZZZZZ", "version": 3,
            "sender_id": "alice=40example.com", "role": "user", "content": "a \"b\"\n\u{1f44d} \\",
            "content_type": "text/markdown", "created_at": "2026-11-30T02:51:06.123Z",
        });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    }

    /// Compares both ways of reading an item, with the reactions as sets.
    fn check(more: &serde_json::Value) {
        let stored = message(more);
        let mut item: Item = serde_dynamo::to_item(&stored).unwrap();
        if let Some(AttributeValue::M(reactions)) = item.get_mut("reactions") {
            for users in reactions.values_mut() {
                let AttributeValue::L(list) = users else { panic!("{users:?}") };
                *users = AttributeValue::Ss(list.iter().map(|user| user.as_s().unwrap().clone()).collect());
            }
        }
        let expected: Message = serde_dynamo::from_item(item.clone()).unwrap();
        assert_eq!(expected, serde_json::from_value(stored).unwrap());
        // Attributes that no client sees.
        for (name, value) in [("no_agent", "1"), ("traceparent", "00-0")] {
            item.insert(name.to_owned(), AttributeValue::S(value.to_owned()));
        }
        item.insert("rev".to_owned(), AttributeValue::N("9".to_owned()));
        item.insert("channel_id".to_owned(), AttributeValue::S("c@01JDYZ".to_owned()));
        assert_eq!(read(&item).unwrap(), (expected.clone(), None));
        item.insert("expires_at".to_owned(), AttributeValue::N("1764471066".to_owned()));
        assert_eq!(read(&item).unwrap(), (expected, Some(1_764_471_066)));
    }

    #[test]
    fn a_message_reads_as_the_sdk_reads_it() {
        check(&json!({}));
        check(&json!({ "thread": {}, "reactions": {} }));
        check(&json!({
            "thread": { "reply_count": 2, "last_reply_seq": 9, "last_reply_at": "2026-11-30T02:51:07.000Z" },
            "reactions": { "👍": ["bob", "carol"], "🎉": ["bob"] },
            "edited_at": "2026-11-30T02:52:06.000Z", "reply_to": 5, "thread_seq": 4,
        }));
        check(&json!({ "content": "", "deleted_at": "2026-11-30T02:51:07.000Z", "metadata": null }));
        check(&json!({
            "role": "agent",
            "agent": { "status": "over_budget", "model": "m", "input_tokens": 1, "draft_id": "01JDYZ3N6RZZZZZZZZZZZZZZZZ" },
        }));
        check(&json!({ "metadata": {
            "expires_at": 1, "channel_id": "other@x", "null": null, "list": [1, -2, 2.5, "x", [true, {}], { "S": "y" }],
            "large": 18_446_744_073_709_551_615_u64, "small": -9_223_372_036_854_775_808_i64, "": "",
        } }));
    }

    #[test]
    fn another_form_is_an_error() {
        let good: Item = serde_dynamo::to_item(message(&json!({}))).unwrap();
        assert!(read(&good).is_ok());
        for (name, value) in [
            ("seq", AttributeValue::S("7".to_owned())),
            ("seq", AttributeValue::N("-7".to_owned())),
            ("seq", AttributeValue::N("seven".to_owned())),
            ("role", AttributeValue::S("owner".to_owned())),
            ("content", AttributeValue::N("7".to_owned())),
            ("sender_id", AttributeValue::S("a b".to_owned())),
            ("expires_at", AttributeValue::S("soon".to_owned())),
        ] {
            let mut item = good.clone();
            item.insert(name.to_owned(), value.clone());
            assert!(read(&item).is_err(), "{name}: {value:?}");
        }
        for missing in ["channel_id", "content", "role"] {
            let mut item = good.clone();
            item.remove(missing);
            assert!(read(&item).is_err(), "{missing}");
        }
    }
}
