//! Connections and subscriptions: `chat_connections`.
//!
//! | key | item |
//! | --- | --- |
//! | `conn#<connection_id>` / `meta` | the connection, and its `channels` as a set |
//! | `user#<user_id>` / `conn#<connection_id>` | the same connection among those of its user |
//! | `chan#<channel_id>` / `conn#<connection_id>` | a subscription |
//!
//! What finds a user's connections are items and not an index, because an index is only eventually consistent: who
//! is removed from a channel the moment after connecting would go on receiving.

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{delete_item::DeleteItemError, update_item::UpdateItemError},
    types::{AttributeValue, PutRequest, WriteRequest},
};
use chat::{
    clock::{Backoff, Clock, SystemClock, Timestamp},
    connection::{Connection, ConnectionStore, Subscription, UserConnection},
    error::StoreError,
    id::{ChannelId, ConnectionId, UserId},
    limits::CHANNELS_PER_CONNECTION,
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
    /// A string set, written by itself: there is no empty one.
    #[serde(default, skip_serializing)]
    channels: Vec<ChannelId>,
    #[serde(default)]
    follows: bool,
    connected_at: Timestamp,
    token_expires_at: Timestamp,
    /// TTL: seconds since the Unix epoch.
    expires_at: i64,
}

/// `user#<user_id>` / `conn#<connection_id>`.
#[derive(Serialize, Deserialize)]
struct UserConnectionItem {
    pk: String,
    sk: String,
    follows: bool,
    connected_at: Timestamp,
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

fn user_name(user: &UserId) -> String {
    format!("user#{user}")
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

fn user_connection_key(user: &UserId, id: &ConnectionId) -> Item {
    key(("pk", s(user_name(user))), ("sk", s(connection_name(id))))
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

    async fn put(&self, item: Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|error| failed("PutItem", error))?;
        Ok(())
    }

    /// All items of a partition that live at `now`.
    async fn partition(&self, pk: String, now: Timestamp) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .filter_expression("expires_at > :now")
                .expression_attribute_values(":pk", s(pk.as_str()))
                .expression_attribute_values(":now", n(now.as_secs()))
                .consistent_read(true)
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| failed("Query", error))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    /// Adds a channel to the set of a connection, or takes it out. `false`: there is no such connection, or it has
    /// all that it may.
    async fn change_channels(
        &self,
        id: &ConnectionId,
        connected_at: Timestamp,
        channel: &ChannelId,
        add: bool,
    ) -> Result<bool, StoreError> {
        let (update, condition) = if add {
            let room = "(attribute_not_exists(channels) OR size(channels) < :most OR contains(channels, :channel))";
            ("ADD channels :channels", format!("connected_at = :connected_at AND {room}"))
        } else {
            ("DELETE channels :channels", "connected_at = :connected_at".to_owned())
        };
        let mut call = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(connection_key(id)))
            .update_expression(update)
            .condition_expression(condition)
            .expression_attribute_values(":connected_at", s(connected_at.to_string()))
            .expression_attribute_values(":channels", AttributeValue::Ss(vec![channel.to_string()]));
        if add {
            call = call
                .expression_attribute_values(":most", n(CHANNELS_PER_CONNECTION))
                .expression_attribute_values(":channel", s(channel.as_str()));
        }
        match call.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("UpdateItem", error)),
        }
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
    async fn announce(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let item = UserConnectionItem {
            pk: user_name(user),
            sk: connection_name(&connection.connection_id),
            follows: connection.follows,
            connected_at: connection.connected_at,
            expires_at: connection.expires_at.as_secs(),
        };
        self.put(write("PutItem", item)?).await
    }

    async fn withdraw(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        self.delete(user_connection_key(user, &connection.connection_id), connection.connected_at).await?;
        Ok(())
    }

    async fn open(&self, connection: &Connection) -> Result<(), StoreError> {
        let Connection { connection_id: id, user_id, connected_at, .. } = connection;
        let expires_at = connection.expires_at.as_secs();
        let mut item = write(
            "PutItem",
            ConnectionItem {
                pk: connection_name(id),
                sk: META.to_owned(),
                user_id: user_id.clone(),
                channels: Vec::new(),
                follows: connection.follows,
                connected_at: *connected_at,
                token_expires_at: connection.token_expires_at,
                expires_at,
            },
        )?;
        if !connection.channels.is_empty() {
            let channels = connection.channels.iter().map(ToString::to_string).collect();
            item.insert("channels".to_owned(), AttributeValue::Ss(channels));
        }
        self.put(item).await?;
        let subscriptions = connection
            .channels
            .iter()
            .map(|channel| subscription_item(channel, id, user_id, *connected_at, expires_at));
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
            follows: item.follows,
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
        self.delete(user_connection_key(&connection.user_id, id), connected_at).await?;
        self.delete(connection_key(id), connected_at).await
    }

    async fn connections_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        let items = self.partition(user_name(user), now).await?;
        let connections = items.into_iter().map(|item| {
            let item: UserConnectionItem = read("Query", item)?;
            Ok(UserConnection {
                connection_id: connection_id(&item.sk)?,
                connected_at: item.connected_at,
                follows: item.follows,
                expires_at: Timestamp::from_secs(item.expires_at),
            })
        });
        connections.collect()
    }

    async fn subscriptions(&self, channel: &ChannelId, now: Timestamp) -> Result<Vec<Subscription>, StoreError> {
        let items = self.partition(channel_name(channel), now).await?;
        let subscriptions = items.into_iter().map(|item| {
            let item: SubscriptionItem = read("Query", item)?;
            Ok(Subscription {
                connection_id: connection_id(&item.sk)?,
                user_id: item.user_id,
                connected_at: item.connected_at,
                expires_at: Timestamp::from_secs(item.expires_at),
            })
        });
        subscriptions.collect()
    }

    async fn subscribe(
        &self,
        channel: &ChannelId,
        user: &UserId,
        connection: &UserConnection,
    ) -> Result<bool, StoreError> {
        let UserConnection { connection_id: id, connected_at, .. } = connection;
        // The name first, so that the connection's end finds the subscription.
        if !self.change_channels(id, *connected_at, channel, true).await? {
            return Ok(false);
        }
        self.put(subscription_item(channel, id, user, *connected_at, connection.expires_at.as_secs())?).await?;
        Ok(true)
    }

    async fn unsubscribe(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let was_there = self.delete(subscription_key(channel, id), connected_at).await?;
        if was_there {
            self.change_channels(id, connected_at, channel, false).await?;
        }
        Ok(was_there)
    }
}

fn subscription_item(
    channel: &ChannelId,
    id: &ConnectionId,
    user_id: &UserId,
    connected_at: Timestamp,
    expires_at: i64,
) -> Result<Item, StoreError> {
    let item = SubscriptionItem {
        pk: channel_name(channel),
        sk: connection_name(id),
        user_id: user_id.clone(),
        connected_at,
        expires_at,
    };
    write("BatchWriteItem", item)
}

fn connection_id(sk: &str) -> Result<ConnectionId, StoreError> {
    sk.strip_prefix("conn#").unwrap_or_default().parse().map_err(|error| unreadable("Query", error))
}
