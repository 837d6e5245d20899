//! Connections and subscriptions: `chat_connections`.

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::delete_item::DeleteItemError,
    types::{PutRequest, WriteRequest},
};
use chat::{
    clock::{Backoff, Clock, SystemClock, Timestamp},
    connection::{Connection, ConnectionStore, Subscription},
    error::StoreError,
    id::{ChannelId, ConnectionId, UserId},
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::{
    item::{Item, key, n, read, s, write},
    sdk::{failed, unreadable},
};

const META: &str = "meta";

/// Items of one `BatchWriteItem` (its page in the DynamoDB API reference).
const BATCH_WRITE_ITEMS: usize = 25;
const BATCH_WRITE_ATTEMPTS: u32 = 8;
const BATCH_WRITE_BACKOFF: Backoff =
    Backoff { first: std::time::Duration::from_millis(20), most: std::time::Duration::from_millis(500) };
const DELETES_AT_ONCE: usize = 16;

/// Connections in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoConnections {
    client: Client,
    table: String,
}

/// `conn#<connection_id>` / `meta`.
#[derive(Serialize, Deserialize)]
struct ConnectionItem {
    pk: String,
    sk: String,
    user_id: UserId,
    /// Hash key of the index `by_user`; only connections have it, so subscriptions stay out of the index.
    connection_user_id: UserId,
    channels: Vec<ChannelId>,
    connected_at: Timestamp,
    token_expires_at: Timestamp,
    /// TTL: seconds since the Unix epoch.
    expires_at: i64,
}

/// `chan#<channel_id>` / `conn#<connection_id>`.
#[derive(Serialize, Deserialize)]
struct SubscriptionItem {
    pk: String,
    sk: String,
    user_id: UserId,
    connected_at: Timestamp,
    /// TTL: seconds since the Unix epoch.
    expires_at: i64,
}

fn connection_name(id: &ConnectionId) -> String {
    format!("conn#{id}")
}

fn channel_name(channel: &ChannelId) -> String {
    format!("chan#{channel}")
}

fn connection_key(id: &ConnectionId) -> Item {
    key(("pk", s(connection_name(id))), ("sk", s(META)))
}

fn subscription_key(channel: &ChannelId, id: &ConnectionId) -> Item {
    key(("pk", s(channel_name(channel))), ("sk", s(connection_name(id))))
}

impl DynamoConnections {
    /// Connections in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn write_all(&self, items: Vec<Item>) -> Result<(), StoreError> {
        const OPERATION: &str = "BatchWriteItem";
        for chunk in items.chunks(BATCH_WRITE_ITEMS) {
            let mut waiting = chunk
                .iter()
                .map(|item| {
                    let put = PutRequest::builder().set_item(Some(item.clone())).build();
                    put.map(|put| WriteRequest::builder().put_request(put).build())
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| unreadable(OPERATION, error))?;
            for attempt in 0..BATCH_WRITE_ATTEMPTS {
                if attempt > 0 {
                    SystemClock.sleep(BATCH_WRITE_BACKOFF.delay(&SystemClock, attempt - 1)).await;
                }
                let written = self
                    .client
                    .batch_write_item()
                    .request_items(&self.table, waiting)
                    .send()
                    .await
                    .map_err(|error| failed(OPERATION, error))?;
                waiting = written.unprocessed_items.unwrap_or_default().remove(&self.table).unwrap_or_default();
                if waiting.is_empty() {
                    break;
                }
            }
            if !waiting.is_empty() {
                let source = "the table is too busy to write all subscriptions".into();
                return Err(StoreError { operation: OPERATION, retryable: true, source });
            }
        }
        Ok(())
    }

    /// Deletes an item if it is still of `connected_at`; whether it was.
    async fn delete(&self, key: Item, connected_at: Timestamp) -> Result<bool, StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .condition_expression("connected_at = :connected_at")
            .expression_attribute_values(":connected_at", s(connected_at.to_string()))
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("DeleteItem", error)),
        }
    }
}

impl ConnectionStore for DynamoConnections {
    async fn open(&self, connection: &Connection) -> Result<(), StoreError> {
        let expires_at = connection.expires_at.as_secs();
        let item = ConnectionItem {
            pk: connection_name(&connection.connection_id),
            sk: META.to_owned(),
            user_id: connection.user_id.clone(),
            connection_user_id: connection.user_id.clone(),
            channels: connection.channels.clone(),
            connected_at: connection.connected_at,
            token_expires_at: connection.token_expires_at,
            expires_at,
        };
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(write("PutItem", item)?))
            .send()
            .await
            .map_err(|error| failed("PutItem", error))?;
        let subscriptions = connection.channels.iter().map(|channel| {
            let item = SubscriptionItem {
                pk: channel_name(channel),
                sk: connection_name(&connection.connection_id),
                user_id: connection.user_id.clone(),
                connected_at: connection.connected_at,
                expires_at,
            };
            write("BatchWriteItem", item)
        });
        self.write_all(subscriptions.collect::<Result<_, _>>()?).await
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(connection_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        let Some(item) = found.item else { return Ok(None) };
        let item: ConnectionItem = read("GetItem", item)?;
        Ok(Some(Connection {
            connection_id: id.clone(),
            user_id: item.user_id,
            channels: item.channels,
            connected_at: item.connected_at,
            token_expires_at: item.token_expires_at,
            expires_at: Timestamp::from_secs(item.expires_at),
        }))
    }

    async fn close(&self, id: &ConnectionId, connected_at: Timestamp) -> Result<bool, StoreError> {
        let Some(connection) = self.connection(id).await? else { return Ok(false) };
        if connection.connected_at != connected_at {
            return Ok(false);
        }
        let keys: Vec<Item> = connection.channels.iter().map(|channel| subscription_key(channel, id)).collect();
        futures::stream::iter(keys)
            .map(|key| self.delete(key, connected_at))
            .buffer_unordered(DELETES_AT_ONCE)
            .try_collect::<Vec<bool>>()
            .await?;
        self.delete(connection_key(id), connected_at).await
    }

    async fn subscriptions(&self, channel: &ChannelId, now: Timestamp) -> Result<Vec<Subscription>, StoreError> {
        let mut subscriptions = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :channel")
                .filter_expression("expires_at > :now")
                .expression_attribute_values(":channel", s(channel_name(channel)))
                .expression_attribute_values(":now", n(now.as_secs()))
                .consistent_read(true)
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| failed("Query", error))?;
            for item in page.items.unwrap_or_default() {
                subscriptions.push(subscription(read("Query", item)?)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(subscriptions);
            }
        }
    }

    async fn unsubscribe(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.delete(subscription_key(channel, id), connected_at).await?;
        Ok(())
    }
}

fn subscription(item: SubscriptionItem) -> Result<Subscription, StoreError> {
    let id = item.sk.strip_prefix("conn#").unwrap_or_default();
    Ok(Subscription {
        connection_id: id.parse().map_err(|error| unreadable("Query", error))?,
        user_id: item.user_id,
        connected_at: item.connected_at,
        expires_at: Timestamp::from_secs(item.expires_at),
    })
}
