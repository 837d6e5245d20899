//! Names of the partition keys of tables and of their indexes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dynoxide::{Database, actions::describe_table::DescribeTableRequest};
use serde_json::Value;

/// Names of the partition keys of the tables that were used.
#[derive(Default)]
pub(super) struct PartitionKeys(Mutex<HashMap<String, Arc<Keys>>>);

/// Names of the partition keys of a table and of its indexes.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) table: String,
    pub(super) indexes: HashMap<String, String>,
}

impl PartitionKeys {
    /// Returns the names of a table, or `None` if there is no such table.
    pub(super) fn of(&self, database: &Database, table: &str) -> Option<Arc<Keys>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = known.get(table) {
            return Some(Arc::clone(keys));
        }
        let described = database.describe_table(DescribeTableRequest { table_name: table.to_owned() }).ok()?;
        let keys = Arc::new(Keys::of(&serde_json::to_value(described.table).ok()?)?);
        known.insert(table.to_owned(), Arc::clone(&keys));
        Some(keys)
    }
}

impl Keys {
    fn of(description: &Value) -> Option<Self> {
        let indexes = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"].map(|kind| description[kind].as_array());
        let indexes = indexes.into_iter().flatten().flatten();
        let named = |index: &Value| Some((index["IndexName"].as_str()?.to_owned(), partition_key(index)?));
        Some(Self { table: partition_key(description)?, indexes: indexes.filter_map(named).collect() })
    }
}

/// Returns the name of the partition key of a described table or index.
fn partition_key(described: &Value) -> Option<String> {
    let key = described["KeySchema"].as_array()?.iter().find(|key| key["KeyType"] == "HASH")?;
    key["AttributeName"].as_str().map(str::to_owned)
}
