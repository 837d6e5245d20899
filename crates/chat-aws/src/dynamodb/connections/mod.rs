//! Connections, subscriptions, presence and tickets, in `chat_connections`: see [`crate::dynamodb::keys`].
//!
//! | file | content |
//! | --- | --- |
//! | `mod.rs` | the store, and its calls of the table |
//! | `connection_store.rs`, `expiry_store.rs`, `presence_store.rs`, `ticket_store.rs` | the port of that name |
//! | `connection_items.rs` | a connection's items |
//! | `subscriptions.rs`, `places.rs` | a channel's subscriptions, and the parts that they are divided into |
//!
//! A user's connections are found by items and not by an index, because an index is only eventually consistent. A user
//! who is removed from a channel right after connecting would continue to receive events.
//!
//! `expires_at` of a connection and of its items is later than its end: see [`crate::dynamodb::expiry`].

pub(crate) mod connection_items;
mod connection_store;
mod expiry_store;
mod places;
pub(crate) mod presence_store;
mod subscriptions;
mod ticket_store;

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        delete_item::{DeleteItemError, DeleteItemOutput, builders::DeleteItemFluentBuilder},
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::ReturnValue,
};
use chat::model::{
    error::StoreError,
    id::{ConnectionId, TenantId},
    time::Timestamp,
};

use self::places::KnownParts;
use crate::{
    dynamodb::{
        expiry::kept_until,
        item::{Item, n, s, text},
        keys::{self, Keys},
    },
    sdk::{decode_error, sdk_error},
};

/// Maximum number of concurrent writes of one operation.
const WRITES_AT_ONCE: usize = 16;

/// The condition that an item belongs to this connection and not to another one with the same id.
const AS_CONNECTED: &str = "connected_at = :connected_at";

/// Connections in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoConnections {
    client: Client,
    table: String,
    tenant: Option<TenantId>,
    keys: Keys,
    known: Arc<KnownParts>,
}

impl DynamoConnections {
    /// Creates a store for connections in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), tenant: None, keys: Keys::default(), known: Arc::default() }
    }

    /// Sets the maximum age of the list of divided channels by which subscriptions are written, instead of ten seconds.
    #[must_use]
    pub fn with_parts_known_for(self, duration: Duration) -> Self {
        Self { known: Arc::new(KnownParts::for_at_most(duration)), ..self }
    }

    /// Returns the connections of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { tenant: tenant.cloned(), keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(|error| sdk_error("GetItem", error))?.item)
    }

    async fn put(&self, item: Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|error| sdk_error("PutItem", error))?;
        Ok(())
    }

    fn update(&self, key: Item) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key))
    }

    /// Returns a query of a partition.
    fn partition(&self, pk: impl Into<String>) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(pk))
            .consistent_read(true)
    }

    /// Returns all items of a query, over all of its pages, in their order.
    async fn all(&self, query: impl Fn() -> QueryFluentBuilder) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = query().set_exclusive_start_key(start.take()).send().await;
            let page = page.map_err(|error| sdk_error("Query", error))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    /// Deletes an item if its `connected_at` is the given one. Returns the deleted item.
    async fn delete(&self, key: Item, connected_at: Timestamp) -> Result<Option<Item>, StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .condition_expression(AS_CONNECTED)
            .expression_attribute_values(":connected_at", s(connected_at.to_string()))
            .return_values(ReturnValue::AllOld);
        Ok(deleted(delete).await?.map(|deleted| deleted.attributes.unwrap_or_default()))
    }
}

/// Runs an update. Returns `None` if its condition did not hold.
pub(crate) async fn updated(update: UpdateItemFluentBuilder) -> Result<Option<UpdateItemOutput>, StoreError> {
    match update.send().await {
        Ok(updated) => Ok(Some(updated)),
        Err(SdkError::ServiceError(context))
            if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
        {
            Ok(None)
        }
        Err(error) => Err(sdk_error("UpdateItem", error)),
    }
}

/// Runs a deletion. Returns `None` if its condition did not hold.
async fn deleted(delete: DeleteItemFluentBuilder) -> Result<Option<DeleteItemOutput>, StoreError> {
    match delete.send().await {
        Ok(deleted) => Ok(Some(deleted)),
        Err(SdkError::ServiceError(context))
            if matches!(context.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
        {
            Ok(None)
        }
        Err(error) => Err(sdk_error("DeleteItem", error)),
    }
}

/// Excludes items that ended before `now` from a query.
fn living(query: QueryFluentBuilder, now: Timestamp) -> QueryFluentBuilder {
    query.filter_expression("expires_at > :over").expression_attribute_values(":over", n(kept_until(now)))
}

/// Reads the connection id in the sort key of an item.
fn connection_id(item: &Item) -> Result<ConnectionId, StoreError> {
    keys::connection_of(text(item, "sk").unwrap_or_default()).map_err(|error| decode_error("Query", error))
}
