//! Records of DynamoDB streams, recorded by `test_dynamodb` (`test_batch_write_items_streaming`,
//! `test_transact_write_items_streaming`, `test_dynamodb_stream_records_with_update_item`) and by
//! `test_lambda_integration_dynamodbstreams` (`test_dynamodb_event_source_mapping`). `SizeBytes` is held to its recorded
//! values in `dynamodb/item_size.rs`.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::{AttributeValue, Delete, Put, TransactWriteItem, Update},
};
use emulator::dynamodb::{Position, Storage};
use serde_json::{Value, json};

use crate::database::{Database, TABLE};

/// Returns all records of the stream, as functions receive them.
async fn records(database: &Database) -> Vec<Value> {
    let records = database.engine.stream(TABLE).unwrap().next(Position::TRIM_HORIZON, 100).await.unwrap();
    records.iter().map(|record| record.event.clone()).collect()
}

fn names(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["eventName"].as_str().unwrap()).collect()
}

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn put(seq: u64, role: &str) -> TransactWriteItem {
    let put = Put::builder().table_name(TABLE).item("channel", s("a")).item("seq", n(seq)).item("role", s(role));
    TransactWriteItem::builder().put(put.build().unwrap()).build()
}

#[tokio::test]
async fn a_record_has_exactly_the_recorded_fields() {
    let database = Database::open(Storage::InMemory).await;
    database.put_with("a", 1, &[("binary_key", AttributeValue::B(Blob::new("foobar")))]).await;
    let records = records(&database).await;
    let record = &records[0];
    let recorded = ["eventID", "eventName", "eventVersion", "eventSource", "awsRegion", "dynamodb", "eventSourceARN"];
    assert_eq!(fields(record), BTreeSet::from(recorded));
    assert_eq!((&record["eventVersion"], &record["eventSource"]), (&json!("1.1"), &json!("aws:dynamodb")));
    let recorded = ["ApproximateCreationDateTime", "Keys", "NewImage", "SequenceNumber", "SizeBytes", "StreamViewType"];
    assert_eq!(fields(&record["dynamodb"]), BTreeSet::from(recorded));
    // Bytes are base64.
    assert_eq!(record["dynamodb"]["NewImage"]["binary_key"], json!({ "B": "Zm9vYmFy" }));
    assert_eq!(record["dynamodb"]["Keys"], json!({ "channel": { "S": "a" }, "seq": { "N": "1" } }));
}

#[tokio::test]
async fn images_are_those_of_the_kind_of_change() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let update = database.client.update_item().table_name(TABLE).key("channel", s("a")).key("seq", n(1));
    let update = update.update_expression("SET #role = :role").expression_attribute_names("#role", "role");
    update.expression_attribute_values(":role", s("assistant")).send().await.unwrap();
    let delete = database.client.delete_item().table_name(TABLE).key("channel", s("a")).key("seq", n(1));
    delete.send().await.unwrap();
    let records = records(&database).await;
    assert_eq!(names(&records), ["INSERT", "MODIFY", "REMOVE"]);
    let images = |record: &Value| {
        let change = &record["dynamodb"];
        (change.get("NewImage").is_some(), change.get("OldImage").is_some())
    };
    assert_eq!(records.iter().map(images).collect::<Vec<_>>(), [(true, false), (true, true), (false, true)]);
    assert_eq!(records[1]["dynamodb"]["OldImage"]["role"], json!({ "S": "user" }));
    assert_eq!(records[1]["dynamodb"]["NewImage"]["role"], json!({ "S": "assistant" }));
    let numbers: Vec<&str> =
        records.iter().map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|number| (21..=40).contains(&number.len())), "{numbers:?}");
}

#[tokio::test]
async fn a_write_that_changes_nothing_has_no_record() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    database.put("a", 1, "user").await;
    database.put("a", 2, "user").await;
    assert_eq!(names(&records(&database).await), ["INSERT", "INSERT"]);
    // A reader passes many such writes.
    for _ in 0..5 {
        database.put("a", 2, "user").await;
    }
    database.put("a", 3, "user").await;
    let mut reader = database.engine.stream(TABLE).unwrap();
    let mut position = Position::TRIM_HORIZON;
    for seq in ["1", "2", "3"] {
        let records = reader.next(position, 1).await.unwrap();
        assert_eq!(records[0].event["dynamodb"]["Keys"]["seq"]["N"], seq);
        position = records[0].position;
    }
}

#[tokio::test]
async fn a_transaction_has_a_record_for_each_change() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let transact =
        |items: Vec<TransactWriteItem>| database.client.transact_write_items().set_transact_items(Some(items));
    // A new item beside one that stays as it is.
    transact(vec![put(2, "user"), put(1, "user")]).send().await.unwrap();
    // An update of an item that does not exist makes it.
    let update = Update::builder().table_name(TABLE).key("channel", s("a")).key("seq", n(3));
    let update = update.update_expression("SET attr1 = :value").expression_attribute_values(":value", s("value1"));
    transact(vec![TransactWriteItem::builder().update(update.build().unwrap()).build()]).send().await.unwrap();
    let delete = Delete::builder().table_name(TABLE).key("channel", s("a")).key("seq", n(2)).build().unwrap();
    let delete = TransactWriteItem::builder().delete(delete).build();
    transact(vec![delete, put(1, "assistant")]).send().await.unwrap();
    let records = records(&database).await;
    assert_eq!(names(&records), ["INSERT", "INSERT", "INSERT", "REMOVE", "MODIFY"]);
}
