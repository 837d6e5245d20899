//! Batches of writes to one table, and of reads from one.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    types::{
        DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity, WriteRequest,
        builders::KeysAndAttributesBuilder,
    },
};
use chat::{
    model::error::StoreError,
    ports::clock::{Backoff, Clock, SystemClock},
};

use crate::{
    dynamodb::{item::Item, pace::Budget},
    sdk::{decode_error, sdk_error},
};

const OPERATION: &str = "BatchWriteItem";
pub(crate) const BATCH_GET: &str = "BatchGetItem";

/// Maximum number of items in one `BatchWriteItem` (its page in the DynamoDB API reference).
const ITEMS: usize = 25;
const ATTEMPTS: u32 = 8;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(500) };

/// Builds one write.
pub(crate) fn put(item: Item) -> Result<WriteRequest, StoreError> {
    let put = PutRequest::builder().set_item(Some(item)).build().map_err(|error| decode_error(OPERATION, error))?;
    Ok(WriteRequest::builder().put_request(put).build())
}

/// Builds one deletion.
pub(crate) fn delete(key: Item) -> Result<WriteRequest, StoreError> {
    let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(|error| decode_error(OPERATION, error))?;
    Ok(WriteRequest::builder().delete_request(delete).build())
}

/// Writes all items, in batches side by side. Retries unprocessed items, up to [`ATTEMPTS`] attempts per batch. Returns
/// after all batches, even if one of them fails.
pub(crate) async fn write(client: &Client, table: &str, requests: Vec<WriteRequest>) -> Result<(), StoreError> {
    write_within(client, table, requests, &Budget::default()).await
}

/// Writes like [`write`], within a bound of write units. Bounded batches follow one another.
pub(crate) async fn write_within(
    client: &Client,
    table: &str,
    requests: Vec<WriteRequest>,
    budget: &Budget,
) -> Result<(), StoreError> {
    let batches = requests.chunks(ITEMS).map(|chunk| write_batch(client, table, chunk.to_vec(), budget));
    if !budget.is_bounded() {
        return futures::future::join_all(batches).await.into_iter().collect();
    }
    for batch in batches {
        batch.await?;
    }
    Ok(())
}

async fn write_batch(
    client: &Client,
    table: &str,
    mut waiting: Vec<WriteRequest>,
    budget: &Budget,
) -> Result<(), StoreError> {
    let counted = budget.is_bounded().then_some(ReturnConsumedCapacity::Total);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            SystemClock.sleep(BACKOFF.delay(&SystemClock, attempt - 1)).await;
        }
        budget.wait(&SystemClock).await;
        let call = client.batch_write_item().request_items(table, waiting);
        let call = call.set_return_consumed_capacity(counted.clone());
        let written = call.send().await.map_err(|error| sdk_error(OPERATION, error))?;
        let units = written.consumed_capacity.iter().flatten().filter_map(|capacity| capacity.capacity_units);
        budget.take(&SystemClock, units.sum());
        waiting = written.unprocessed_items.unwrap_or_default().remove(table).unwrap_or_default();
        if waiting.is_empty() {
            return Ok(());
        }
    }
    let source = "the table is too busy to write all items".into();
    Err(StoreError { operation: OPERATION, retryable: true, source })
}

/// Returns up to 100 items by their keys, in any order ("`BatchGetItem`" in the DynamoDB API reference). Leaves out
/// missing items.
pub(crate) async fn get(client: &Client, table: &str, wanted: Vec<Item>) -> Result<Vec<Item>, StoreError> {
    get_attributes(client, table, wanted, KeysAndAttributes::builder()).await
}

/// Returns what [`get`] returns, with the projection of `attributes`. Repeats the read of unprocessed keys, up to
/// [`ATTEMPTS`] attempts.
pub(crate) async fn get_attributes(
    client: &Client,
    table: &str,
    mut wanted: Vec<Item>,
    attributes: KeysAndAttributesBuilder,
) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    for attempt in 0..ATTEMPTS {
        if wanted.is_empty() {
            break;
        }
        if attempt > 0 {
            SystemClock.sleep(BACKOFF.delay(&SystemClock, attempt - 1)).await;
        }
        let keys: KeysAndAttributes = attributes
            .clone()
            .set_keys(Some(std::mem::take(&mut wanted)))
            .consistent_read(true)
            .build()
            .map_err(|error| decode_error(BATCH_GET, error))?;
        let call = client.batch_get_item().request_items(table, keys);
        let found = call.send().await.map_err(|error| sdk_error(BATCH_GET, error))?;
        items.extend(found.responses.unwrap_or_default().remove(table).unwrap_or_default());
        let rest = found.unprocessed_keys.unwrap_or_default().remove(table);
        wanted = rest.map(|rest| rest.keys).unwrap_or_default();
    }
    if wanted.is_empty() {
        return Ok(items);
    }
    let source = "the table is too busy to read all items".into();
    Err(StoreError { operation: BATCH_GET, retryable: true, source })
}
