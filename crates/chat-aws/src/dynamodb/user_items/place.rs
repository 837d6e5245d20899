//! Texts of places and positions: the table and the key of an item, as JSON.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{
    error::StoreError,
    user_item::{ItemPlace, ScanPosition},
};
use serde::{Deserialize, Serialize};

use crate::{dynamodb::item::Item, sdk::decode_error};

/// Table, in the order in which a scan reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Table {
    Connections,
    Channels,
    Events,
}

impl Table {
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Connections => Some(Self::Channels),
            Self::Channels => Some(Self::Events),
            Self::Events => None,
        }
    }

    /// Returns the names of the attributes of the key.
    fn key_names(self) -> [&'static str; 2] {
        match self {
            Self::Connections => ["pk", "sk"],
            Self::Channels => ["channel_id", "sk"],
            Self::Events => ["channel_id", "seq"],
        }
    }
}

/// Part of a key.
#[derive(Serialize, Deserialize)]
enum KeyPart {
    S(String),
    N(String),
}

#[derive(Serialize, Deserialize)]
struct Written {
    table: Table,
    /// Empty: the beginning of the table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    key: BTreeMap<String, KeyPart>,
}

fn write(table: Table, item: Option<&Item>) -> Result<String, StoreError> {
    let parts = item.into_iter().flat_map(|item| {
        table.key_names().into_iter().filter_map(|name| match item.get(name)? {
            AttributeValue::S(text) => Some((name.to_owned(), KeyPart::S(text.clone()))),
            AttributeValue::N(number) => Some((name.to_owned(), KeyPart::N(number.clone()))),
            _ => None,
        })
    });
    let written = Written { table, key: parts.collect() };
    serde_json::to_string(&written).map_err(|error| decode_error("Scan", error))
}

fn read(text: &str) -> Result<(Table, Option<Item>), StoreError> {
    let Written { table, key } = serde_json::from_str(text).map_err(|error| decode_error("Scan", error))?;
    let key: Item = key
        .into_iter()
        .map(|(name, part)| {
            let value = match part {
                KeyPart::S(text) => AttributeValue::S(text),
                KeyPart::N(number) => AttributeValue::N(number),
            };
            (name, value)
        })
        .collect();
    Ok((table, (!key.is_empty()).then_some(key)))
}

/// Returns the place of an item.
pub(super) fn place(table: Table, item: &Item) -> Result<ItemPlace, StoreError> {
    write(table, Some(item)).map(ItemPlace)
}

/// Returns the table and the key of an item.
pub(super) fn key_of(place: &ItemPlace) -> Result<(Table, Item), StoreError> {
    let (table, key) = read(&place.0)?;
    Ok((table, key.ok_or_else(|| decode_error("Scan", "a place without a key"))?))
}

/// Returns the position after an item, or at the beginning of a table.
pub(super) fn position(table: Table, after: Option<&Item>) -> Result<ScanPosition, StoreError> {
    write(table, after).map(ScanPosition)
}

/// Returns the table of a position, and the key of the item before it.
pub(super) fn start_of(position: &ScanPosition) -> Result<(Table, Option<Item>), StoreError> {
    read(&position.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::item::{n, s};

    #[test]
    fn a_place_and_a_position_are_read_as_they_were_written() {
        let message = Item::from([
            ("channel_id".to_owned(), s("general@01arz3ndektsv4rrffq69g5fav")),
            ("seq".to_owned(), n(7)),
            ("content".to_owned(), s("hi")),
        ]);
        let written = place(Table::Events, &message).unwrap();
        assert!(!written.0.contains("hi"), "{written:?}");
        let (table, key) = key_of(&written).unwrap();
        assert_eq!((table, key.len(), &key["seq"]), (Table::Events, 2, &message["seq"]));
        let after = position(Table::Events, Some(&message)).unwrap();
        assert_eq!(start_of(&after).unwrap(), (Table::Events, Some(key)));
        let beginning = position(Table::Channels, None).unwrap();
        assert_eq!(start_of(&beginning).unwrap(), (Table::Channels, None));
        assert!(key_of(&ItemPlace(beginning.0)).is_err() && read("nonsense").is_err());
        assert_eq!(
            [Table::Connections, Table::Channels, Table::Events].map(Table::next),
            [Some(Table::Channels), Some(Table::Events), None]
        );
    }
}
