//! Tables of the template.

use std::collections::BTreeMap;

use dynoxide::Database;
use dynoxide::actions::{
    describe_table::DescribeTableRequest,
    update_time_to_live::{TimeToLiveSpecification, UpdateTimeToLiveRequest},
};
use serde_json::{Value, json};

use super::{Error, Location};
use crate::stack;

/// Creates the table with its TTL if it is missing. Fails if an existing table differs from the template.
pub(super) fn ensure(database: &Database, location: &Location, table: &stack::Table) -> Result<(), Error> {
    let refused = |reason: String| Error::Table { table: table.name.clone(), reason };
    let stored = database.get_table_metadata(&table.name).map_err(|error| Error::Engine(error.to_string()))?;
    if let Some(metadata) = &stored {
        let description = database
            .describe_table(DescribeTableRequest { table_name: table.name.clone() })
            .map_err(|error| Error::Engine(error.to_string()))?;
        let description = serde_json::to_value(description.table).map_err(|error| Error::Engine(error.to_string()))?;
        let differences = differences(&description, &table.create_request);
        if !differences.is_empty() {
            return Err(Error::SchemaDiffers {
                table: table.name.clone(),
                path: location.database(),
                differences: differences.join("; "),
            });
        }
        if metadata.ttl_enabled
            && metadata.ttl_attribute != table.ttl_attribute
            && let Some(attribute) = &metadata.ttl_attribute
        {
            set_ttl(database, &table.name, attribute, false).map_err(refused)?;
        }
    } else {
        let request = serde_json::from_value(table.create_request.clone())
            .map_err(|error| refused(error.to_string().trim_start_matches("VALIDATION:").to_owned()))?;
        database.create_table(request).map_err(|error| refused(error.to_string()))?;
    }
    match &table.ttl_attribute {
        Some(attribute) => set_ttl(database, &table.name, attribute, true).map_err(refused),
        None => Ok(()),
    }
}

fn set_ttl(database: &Database, table: &str, attribute: &str, enabled: bool) -> Result<(), String> {
    let request = UpdateTimeToLiveRequest {
        table_name: table.to_owned(),
        time_to_live_specification: TimeToLiveSpecification { attribute_name: attribute.to_owned(), enabled },
    };
    database.update_time_to_live(request).map(drop).map_err(|error| error.to_string())
}

/// Returns the differences between the stored and the wanted table, in properties that affect its content.
fn differences(stored: &Value, wanted: &Value) -> Vec<String> {
    let (stored, wanted) = (comparable(stored), comparable(wanted));
    stored
        .iter()
        .zip(&wanted)
        .filter(|(stored, wanted)| stored != wanted)
        .map(|((property, stored), (_, wanted))| format!("{property} is {stored}, the template says {wanted}"))
        .collect()
}

/// Returns the properties that `CreateTable` and `DescribeTable` share, without order, defaults and state.
fn comparable(table: &Value) -> BTreeMap<&'static str, Value> {
    let stream = &table["StreamSpecification"];
    let stream = if stream["StreamEnabled"] == true { stream["StreamViewType"].clone() } else { Value::Null };
    BTreeMap::from([
        ("KeySchema", table["KeySchema"].clone()),
        ("AttributeDefinitions", sorted_by(&table["AttributeDefinitions"], "AttributeName")),
        ("GlobalSecondaryIndexes", indexes(&table["GlobalSecondaryIndexes"])),
        ("LocalSecondaryIndexes", indexes(&table["LocalSecondaryIndexes"])),
        ("StreamSpecification", stream),
    ])
}

fn indexes(indexes: &Value) -> Value {
    let indexes = indexes.as_array().into_iter().flatten();
    let indexes: Vec<Value> = indexes
        .map(|index| {
            let projection = &index["Projection"];
            let mut attributes = projection["NonKeyAttributes"].as_array().cloned().unwrap_or_default();
            attributes.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            json!({
                "IndexName": index["IndexName"],
                "KeySchema": index["KeySchema"],
                "ProjectionType": projection["ProjectionType"],
                "NonKeyAttributes": attributes,
            })
        })
        .collect();
    sorted_by(&Value::Array(indexes), "IndexName")
}

fn sorted_by(list: &Value, key: &str) -> Value {
    let mut list = list.as_array().cloned().unwrap_or_default();
    list.sort_by(|a, b| a[key].as_str().cmp(&b[key].as_str()));
    Value::Array(list)
}
