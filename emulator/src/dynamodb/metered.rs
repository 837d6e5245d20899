//! Requests within the units of their partitions.
//!
//! A request is admitted if its partitions have units left. An estimate is taken before the engine works, and corrected
//! by `ConsumedCapacity` afterwards. The engine is asked for it, and the caller gets it only if the caller asked too. Of
//! a batch and of a transaction, the engine tells one number for a table, which is divided by the estimates. A failed
//! condition costs its estimate. A `Scan` and `PartiQL` are not counted, and neither are writes to indexes.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::{Options, item_size, key_condition, partition_keys::Keys, throttled};
use crate::quotas::{Kind, Partition, Quotas};

/// Bytes of an item that one write unit covers ("DynamoDB on-demand capacity mode").
const WRITE_UNIT_BYTES: usize = 1024;

/// Factor of the units of a transaction (the same page).
const TRANSACTION: f64 = 2.0;

/// Member of requests and answers.
const CONSUMED: &str = "ConsumedCapacity";

/// The engine's answer: members by name.
type Answer = BTreeMap<String, Box<RawValue>>;

/// Form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One item or one query.
    Single,
    BatchGet,
    BatchWrite,
    Transaction,
}

/// An item of a request, or its query.
#[derive(Debug)]
struct Item {
    partition: Partition,
    kind: Kind,
    /// Units that were taken.
    units: f64,
}

/// A request with the partitions of its items.
pub(super) struct Metered {
    shape: Shape,
    request: Value,
    /// `ReturnConsumedCapacity` of the caller.
    asked: Option<String>,
    items: Vec<Item>,
    /// Items of a batch that are left out, by table, in the form of the request.
    unprocessed: Map<String, Value>,
}

impl Metered {
    /// Returns `None` for requests without a partition, and for those that the engine must refuse.
    pub(super) fn new(operation: &str, body: &[u8], keys: impl Fn(&str) -> Option<Arc<Keys>>) -> Option<Self> {
        let mut request: Value = serde_json::from_slice(body).ok()?;
        let asked = match &request["ReturnConsumedCapacity"] {
            Value::Null => None,
            Value::String(level) if ["NONE", "TOTAL", "INDEXES"].contains(&level.as_str()) => Some(level.clone()),
            _ => return None,
        };
        let (shape, items) = match operation {
            "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem" | "Query" => {
                (Shape::Single, vec![single(operation, &request, &keys)?])
            }
            "BatchGetItem" => (Shape::BatchGet, batch_get(&request, &keys)?),
            "BatchWriteItem" => (Shape::BatchWrite, batch_write(&request, &keys)?),
            "TransactGetItems" | "TransactWriteItems" => (Shape::Transaction, transaction(&request, &keys)?),
            _ => return None,
        };
        request.as_object_mut()?.insert("ReturnConsumedCapacity".to_owned(), "INDEXES".into());
        Some(Self { shape, request, asked, items, unprocessed: Map::new() })
    }

    /// Takes the estimated units. Returns the error of a request that is refused. Items of a batch whose partition has no
    /// units left are left out.
    pub(super) fn admit(&mut self, options: &Options) -> Option<String> {
        let quotas = &options.quotas;
        let take = |item: &Item| !quotas.takes_units(&item.partition, item.kind, item.units);
        let refused: Vec<bool> = self.items.iter().map(take).collect();
        let (first, _) = self.items.iter().zip(&refused).find(|(_, refused)| **refused)?;
        if self.shape == Shape::Transaction {
            for (item, _) in self.items.iter().zip(&refused).filter(|(_, refused)| !**refused) {
                quotas.corrects_units(&item.partition, item.kind, -item.units);
            }
            return Some(throttled::transaction(&refused));
        }
        if !refused.contains(&false) {
            return Some(throttled::request(&first.partition, first.kind, options));
        }
        self.leave_out(&refused);
        None
    }

    /// Removes the refused items of a batch. `refused` has the order of the items.
    fn leave_out(&mut self, refused: &[bool]) {
        let shape = self.shape;
        let mut refused_items = refused.iter();
        let Some(tables) = self.request["RequestItems"].as_object_mut() else { return };
        for (table, wanted) in tables.iter_mut() {
            let all = std::mem::take(list(shape, wanted));
            let (left_out, kept): (Vec<Value>, Vec<Value>) =
                all.into_iter().partition(|_| refused_items.next().is_some_and(|refused| *refused));
            if !left_out.is_empty() {
                let mut unprocessed = wanted.clone();
                *list(shape, &mut unprocessed) = left_out;
                self.unprocessed.insert(table.clone(), unprocessed);
            }
            *list(shape, wanted) = kept;
        }
        tables.retain(|_, wanted| !list(shape, wanted).is_empty());
        let mut refused_items = refused.iter();
        self.items.retain(|_| refused_items.next().is_some_and(|refused| !*refused));
    }

    /// Returns the request for the engine.
    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.request).unwrap_or_default()
    }

    /// Corrects the units by the engine's answer. Returns the answer for the caller. Its items are not parsed: all
    /// requests wait for the engine's thread.
    pub(super) fn settle(self, quotas: &Quotas, text: String) -> String {
        let Ok(mut answer) = serde_json::from_str::<Answer>(&text) else { return text };
        if let Some(mut consumed) = parsed(answer.remove(CONSUMED)) {
            for capacity in capacities(&mut consumed) {
                self.correct(quotas, capacity);
                if self.asked.as_deref() == Some("TOTAL") {
                    without_indexes(capacity);
                }
            }
            if self.asked.as_deref().is_some_and(|level| level != "NONE") {
                insert(&mut answer, CONSUMED, &consumed);
            }
        }
        self.tell_unprocessed(&mut answer);
        serde_json::to_string(&answer).unwrap_or(text)
    }

    fn correct(&self, quotas: &Quotas, capacity: &Value) {
        let table = table_name(&capacity["TableName"]);
        let items = self.items.iter().filter(|item| item.partition.table == table);
        let taken: f64 = items.clone().map(|item| item.units).sum();
        for item in items.filter(|_| taken > 0.0) {
            let of_table = &capacity["Table"]["CapacityUnits"];
            let consumed = match (&item.partition.index, of_table.as_f64()) {
                (None, Some(units)) => units,
                _ => capacity["CapacityUnits"].as_f64().unwrap_or(taken),
            };
            quotas.corrects_units(&item.partition, item.kind, item.units * (consumed / taken - 1.0));
        }
    }

    /// Adds the items that were left out to those that the engine did not process.
    fn tell_unprocessed(self, answer: &mut Answer) {
        let name = if self.shape == Shape::BatchGet { "UnprocessedKeys" } else { "UnprocessedItems" };
        if self.unprocessed.is_empty() {
            return;
        }
        let mut told = parsed(answer.remove(name)).unwrap_or_else(|| Value::Object(Map::new()));
        let Some(tables) = told.as_object_mut() else { return };
        for (table, mut wanted) in self.unprocessed {
            if let Some(known) = tables.get_mut(&table) {
                list(self.shape, known).append(list(self.shape, &mut wanted));
            } else {
                tables.insert(table, wanted);
            }
        }
        insert(answer, name, &told);
    }
}

/// Returns a member of an answer.
fn parsed(member: Option<Box<RawValue>>) -> Option<Value> {
    serde_json::from_str(member?.get()).ok()
}

fn insert(answer: &mut Answer, name: &str, value: &Value) {
    if let Ok(value) = to_raw_value(value) {
        answer.insert(name.to_owned(), value);
    }
}

/// Returns the list of a table's items in a batch. Makes it an empty list if it is none.
fn list(shape: Shape, wanted: &mut Value) -> &mut Vec<Value> {
    let place = if shape == Shape::BatchGet { &mut wanted["Keys"] } else { wanted };
    if !place.is_array() {
        *place = Value::Array(Vec::new());
    }
    match place {
        Value::Array(list) => list,
        _ => unreachable!("it has been made a list"),
    }
}

/// Returns the capacity of each table in an answer's [`CONSUMED`].
fn capacities(consumed: &mut Value) -> impl Iterator<Item = &mut Value> {
    let (one, several) = match consumed {
        Value::Array(several) => (None, Some(several)),
        one => (Some(one), None),
    };
    one.into_iter().chain(several.into_iter().flatten())
}

/// Reduces the level `INDEXES` to `TOTAL`.
fn without_indexes(capacity: &mut Value) {
    let Some(capacity) = capacity.as_object_mut() else { return };
    for name in ["Table", "GlobalSecondaryIndexes", "LocalSecondaryIndexes", "VectorIndexes"] {
        capacity.remove(name);
    }
}

type KeysOf<'a> = &'a dyn Fn(&str) -> Option<Arc<Keys>>;

fn single(operation: &str, request: &Value, keys: KeysOf<'_>) -> Option<Item> {
    let table = table_name(&request["TableName"]);
    match operation {
        "GetItem" => of_key(table, keys, &request["Key"], Kind::Read, read_units(request)),
        "PutItem" => of_key(table, keys, &request["Item"], Kind::Write, write_units(&request["Item"])),
        "Query" => {
            let index = request["IndexName"].as_str();
            let keys = keys(table)?;
            let name = index.map_or(Some(&keys.table), |index| keys.indexes.get(index))?;
            let key = text(key_condition::partition_key(request, name)?)?;
            let partition = Partition::new(table, index.map(str::to_owned), key);
            Some(Item { partition, kind: Kind::Read, units: read_units(request) })
        }
        _ => of_key(table, keys, &request["Key"], Kind::Write, 1.0),
    }
}

fn batch_get(request: &Value, keys: KeysOf<'_>) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    for (table, wanted) in request["RequestItems"].as_object()? {
        for key in wanted["Keys"].as_array()? {
            items.push(of_key(name_of(table), keys, key, Kind::Read, read_units(wanted))?);
        }
    }
    Some(items)
}

fn batch_write(request: &Value, keys: KeysOf<'_>) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    for (table, wanted) in request["RequestItems"].as_object()? {
        for write in wanted.as_array()? {
            let put = &write["PutRequest"]["Item"];
            let (attributes, units) =
                if put.is_object() { (put, write_units(put)) } else { (&write["DeleteRequest"]["Key"], 1.0) };
            items.push(of_key(name_of(table), keys, attributes, Kind::Write, units)?);
        }
    }
    Some(items)
}

fn transaction(request: &Value, keys: KeysOf<'_>) -> Option<Vec<Item>> {
    let items = request["TransactItems"].as_array()?.iter();
    let items = items.map(|item| {
        let (action, item) = item.as_object()?.iter().next()?;
        let table = table_name(&item["TableName"]);
        let (attributes, kind, units) = match action.as_str() {
            "Get" => (&item["Key"], Kind::Read, 1.0),
            "Put" => (&item["Item"], Kind::Write, write_units(&item["Item"])),
            _ => (&item["Key"], Kind::Write, 1.0),
        };
        of_key(table, keys, attributes, kind, units * TRANSACTION)
    });
    items.collect()
}

/// Returns an item of a table by attributes that have its partition key.
fn of_key(table: &str, keys: KeysOf<'_>, attributes: &Value, kind: Kind, units: f64) -> Option<Item> {
    let key = text(attributes.get(&keys(table)?.table)?)?;
    Some(Item { partition: Partition::new(table, None, key), kind, units })
}

/// Returns the text of a string, a number or bytes with its type.
fn text(value: &Value) -> Option<&str> {
    value.as_object()?.values().next()?.as_str()
}

/// Returns the fewest units of a read ("DynamoDB read and write operations").
fn read_units(request: &Value) -> f64 {
    if request["ConsistentRead"] == true { 1.0 } else { 0.5 }
}

fn write_units(item: &Value) -> f64 {
    let units = item_size::of_item(item).div_ceil(WRITE_UNIT_BYTES).max(1);
    u32::try_from(units).map_or(f64::from(u32::MAX), f64::from)
}

/// Returns the name of a table that is named by its name or its ARN.
fn table_name(named: &Value) -> &str {
    name_of(named.as_str().unwrap_or_default())
}

fn name_of(named: &str) -> &str {
    named.rsplit('/').next().unwrap_or(named)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, num::NonZeroU32};

    use serde_json::json;

    use super::*;
    use crate::quotas::Limits;

    /// Returns options whose partitions have `units` of both kinds. Their time does not pass.
    fn options(units: u32) -> Options {
        let limit = NonZeroU32::new(units);
        let limits = Limits { partition_reads: limit, partition_writes: limit, ..Limits::default() };
        let quotas = Quotas::with_clock(limits, Arc::new(|| std::time::Duration::ZERO));
        Options { quotas, ..Options::default() }
    }

    fn metered(operation: &str, request: &Value) -> Option<Metered> {
        let keys = |table: &str| {
            let indexes = HashMap::from([("by_sk".to_owned(), "sk".to_owned())]);
            (table == "t").then(|| Arc::new(Keys { table: "pk".to_owned(), indexes }))
        };
        Metered::new(operation, request.to_string().as_bytes(), keys)
    }

    fn put(key: &str, size: usize) -> Value {
        json!({ "pk": { "S": key }, "sk": { "N": "1" }, "text": { "S": "x".repeat(size) } })
    }

    fn get(key: &str) -> Value {
        json!({ "TableName": "t", "Key": { "pk": { "S": key }, "sk": { "N": "1" } } })
    }

    #[test]
    fn items_have_their_partition_and_the_fewest_units() {
        let query = json!({
            "TableName": "arn:aws:dynamodb:us-east-1:000000000000:table/t",
            "IndexName": "by_sk",
            "KeyConditionExpression": "sk = :sk",
            "ExpressionAttributeValues": { ":sk": { "N": "7" } },
        });
        let writes = json!({ "TransactItems": [
            { "Put": { "TableName": "t", "Item": put("a", 1_500) } },
            { "ConditionCheck": get("b") },
        ] });
        let by_index = Partition::new("t", Some("by_sk".into()), "7");
        let of = |key: &str| Partition::new("t", None, key);
        for (operation, request, expected) in [
            ("GetItem", get("a"), vec![(of("a"), Kind::Read, 0.5)]),
            ("UpdateItem", get("a"), vec![(of("a"), Kind::Write, 1.0)]),
            ("Query", query, vec![(by_index, Kind::Read, 0.5)]),
            ("TransactWriteItems", writes, vec![(of("a"), Kind::Write, 4.0), (of("b"), Kind::Write, 2.0)]),
        ] {
            let items = metered(operation, &request).unwrap().items;
            let found: Vec<_> = items.into_iter().map(|item| (item.partition, item.kind, item.units)).collect();
            assert_eq!(found, expected, "{operation}");
        }
        for (operation, request) in [
            ("Scan", json!({ "TableName": "t" })),
            ("GetItem", json!({ "TableName": "unknown", "Key": { "pk": { "S": "a" } } })),
            ("GetItem", json!({ "TableName": "t", "Key": {} })),
            ("GetItem", json!([])),
        ] {
            assert!(metered(operation, &request).is_none(), "{operation} {request}");
        }
    }

    #[test]
    fn the_caller_gets_the_capacity_that_it_asked_for() {
        let answer = r#"{"ConsumedCapacity":{"TableName":"t","CapacityUnits":3.0,"Table":{"CapacityUnits":3.0}}}"#;
        for (asked, expected) in [
            (Value::Null, json!({})),
            ("NONE".into(), json!({})),
            ("TOTAL".into(), json!({ "ConsumedCapacity": { "TableName": "t", "CapacityUnits": 3.0 } })),
            ("INDEXES".into(), serde_json::from_str(answer).unwrap()),
        ] {
            let options = options(10);
            let mut request = get("a");
            request["ReturnConsumedCapacity"] = asked;
            let mut metered = metered("GetItem", &request).unwrap();
            assert!(metered.admit(&options).is_none());
            let engines: Value = serde_json::from_slice(&metered.body()).unwrap();
            assert_eq!(engines["ReturnConsumedCapacity"], "INDEXES");
            let told: Value = serde_json::from_str(&metered.settle(&options.quotas, answer.to_owned())).unwrap();
            assert_eq!(told, expected);
            assert!((options.quotas.report().reads.consumed - 3.0).abs() < 1e-9);
        }
        let mut wrong = get("a");
        wrong["ReturnConsumedCapacity"] = "ALL".into();
        assert!(metered("GetItem", &wrong).is_none(), "the engine refuses it");
    }

    #[test]
    fn a_partition_without_units_is_throttled_as_an_on_demand_table() {
        let options = options(4);
        let request = json!({ "TableName": "t", "Item": put("a", 4_500) });
        assert!(metered("PutItem", &request).unwrap().admit(&options).is_none());
        let refusal = metered("PutItem", &request).unwrap().admit(&options).unwrap();
        let refusal: Value = serde_json::from_str(&refusal).unwrap();
        assert!(refusal["__type"].as_str().unwrap().ends_with("#ThrottlingException"), "{refusal}");
        assert_eq!(
            refusal["throttlingReasons"],
            json!([{
                "reason": "TableWriteKeyRangeThroughputExceeded",
                "resource": "arn:aws:dynamodb:us-east-1:000000000000:table/t",
            }])
        );
        assert!(metered("GetItem", &get("a")).unwrap().admit(&options).is_none(), "reads have their own units");
    }

    #[test]
    fn a_transaction_is_cancelled_whole_and_its_units_are_given_back() {
        let options = options(4);
        let hot = json!({ "TableName": "t", "Item": put("hot", 4_500) });
        assert!(metered("PutItem", &hot).unwrap().admit(&options).is_none());
        let writes = json!({ "TransactItems": [{ "Delete": get("cold") }, { "Delete": get("hot") }] });
        let refusal = metered("TransactWriteItems", &writes).unwrap().admit(&options).unwrap();
        let refusal: Value = serde_json::from_str(&refusal).unwrap();
        let codes: Vec<&Value> =
            refusal["CancellationReasons"].as_array().unwrap().iter().map(|one| &one["Code"]).collect();
        assert_eq!(codes, ["None", "ThrottlingError"]);
        assert!(refusal["Message"].as_str().unwrap().ends_with("[None, ThrottlingError]"), "{refusal}");
        assert!((options.quotas.report().writes.consumed - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_batch_leaves_out_the_items_of_a_partition_without_units() {
        let options = options(4);
        let write = |key: &str| json!({ "PutRequest": { "Item": put(key, 4_500) } });
        let all = json!({ "RequestItems": { "t": [write("a"), write("b"), write("a")] } });
        let mut first = metered("BatchWriteItem", &all).unwrap();
        assert!(first.admit(&options).is_none());
        let engines: Value = serde_json::from_slice(&first.body()).unwrap();
        assert_eq!(engines["RequestItems"]["t"], json!([write("a"), write("b")]));
        let told = first.settle(&options.quotas, r#"{"UnprocessedItems":{}}"#.to_owned());
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told, json!({ "UnprocessedItems": { "t": [write("a")] } }));
        let refusal = metered("BatchWriteItem", &all).unwrap().admit(&options).unwrap();
        assert!(refusal.contains("ThrottlingException"), "no item can be processed: {refusal}");
    }

    #[test]
    fn unprocessed_keys_keep_the_settings_of_their_table() {
        let options = options(1);
        let key = |key: &str| json!({ "pk": { "S": key }, "sk": { "N": "1" } });
        let tables = json!({ "t": { "Keys": [key("a"), key("a"), key("b")], "ConsistentRead": true } });
        let mut batch = metered("BatchGetItem", &json!({ "RequestItems": tables })).unwrap();
        assert!(batch.admit(&options).is_none());
        let answer = json!({ "Responses": { "t": [] }, "UnprocessedKeys": { "t": { "Keys": [key("b")] } } });
        let told: Value = serde_json::from_str(&batch.settle(&options.quotas, answer.to_string())).unwrap();
        assert_eq!(told["UnprocessedKeys"]["t"]["Keys"], json!([key("b"), key("a")]));
        let mut alone = metered("BatchGetItem", &json!({ "RequestItems": tables })).unwrap();
        let refusal = alone.admit(&options).unwrap();
        assert!(refusal.contains("TableReadKeyRangeThroughputExceeded"), "{refusal}");
    }
}
