//! Connections and subscriptions: `chat_connections`.
//!
//! | key | item |
//! | --- | --- |
//! | `conn#<connection_id>` / `meta` | the connection, and its `channels` as a set |
//! | `user#<user_id>` / `conn#<connection_id>` | the same connection among those of its user |
//! | `chan#<channel_id>` / `conn#<connection_id>` | a subscription |
//! | `present#<channel_id>` / `user#<user_id>` | that the channel's subscribers know of the user's presence |
//! | `ends#<minute>` / `conn#<connection_id>` | a connection whose token ends in that minute since the Unix epoch |
//! | `ticket#<digest>` / `meta` | a ticket |
//!
//! Channel and user ids are preceded by the tenant's name where there is one; a connection's item names its tenant.
//!
//! What finds a user's connections are items and not an index, because an index is only eventually consistent: who
//! is removed from a channel the moment after connecting would go on receiving.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnValue},
};
use chat::{
    clock::Timestamp,
    connection::{Connection, ConnectionStore, Subscription, UserConnection},
    error::StoreError,
    id::{ChannelId, ConnectionId, TenantId, UserId},
    limits::CHANNELS_PER_CONNECTION,
    presence::PresenceStore,
    ticket::{Ticket, TicketStore},
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use telemetry::metrics;

use crate::{
    batch,
    item::{ABSENT_OR_EXPIRED, Item, attribute, key, n, read, s, write},
    sdk::{failed, unreadable},
    tenant::Names,
};

const META: &str = "meta";
const WRITES_AT_ONCE: usize = 16;

/// How long it is remembered what subscribers have been told of a user's presence: longer than any connection lasts.
const PRESENCE_KEPT: Duration = Duration::from_hours(24);

/// How long after its end a connection is still listed as one that has to be closed.
const ENDED_KEPT: Duration = Duration::from_hours(1);

/// Connections in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoConnections {
    client: Client,
    table: String,
    tenant: Option<TenantId>,
    names: Names,
}

/// `conn#<connection_id>` / `meta`.
#[derive(Serialize, Deserialize)]
struct ConnectionItem {
    pk: String,
    sk: String,
    user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
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

fn minute_name(time: Timestamp) -> String {
    format!("ends#{}", time.as_secs().div_euclid(60))
}

fn connection_key(id: &ConnectionId) -> Item {
    key(("pk", s(connection_name(id))), ("sk", s(META)))
}

impl DynamoConnections {
    /// Connections in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), tenant: None, names: Names::default() }
    }

    /// The connections of a tenant.
    #[must_use]
    pub fn of(&self, tenant: Option<&TenantId>) -> Self {
        Self { tenant: tenant.cloned(), names: Names::of(tenant), ..self.clone() }
    }

    /// A connection of any tenant, and the connections of that tenant.
    pub async fn find(&self, id: &ConnectionId) -> Result<Option<(Self, Connection)>, StoreError> {
        let Some(item) = self.connection_item(id).await? else { return Ok(None) };
        Ok(Some((self.of(item.tenant.as_ref()), item.connection(id.clone()))))
    }

    /// Connections whose token has ended in the minute of `time`, as far as they have not been closed since; some may
    /// have another token by now.
    pub async fn ended(&self, time: Timestamp) -> Result<Vec<ConnectionId>, StoreError> {
        let items = self.partition(minute_name(time), Timestamp::from_secs(0)).await?;
        let ids = items.iter().map(|item| match item.get("sk") {
            Some(AttributeValue::S(sk)) => connection_id(sk),
            _ => connection_id(""),
        });
        ids.collect()
    }

    /// Takes a connection from those that have ended in the minute of `time`.
    pub async fn forget_end(&self, time: Timestamp, id: &ConnectionId) -> Result<(), StoreError> {
        let key = key(("pk", s(minute_name(time))), ("sk", s(connection_name(id))));
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        delete.send().await.map_err(|error| failed("DeleteItem", error))?;
        Ok(())
    }

    fn user_name(&self, user: &UserId) -> String {
        format!("user#{}", self.names.key(user))
    }

    fn channel_name(&self, channel: &ChannelId) -> String {
        format!("chan#{}", self.names.key(channel))
    }

    fn subscription_key(&self, channel: &ChannelId, id: &ConnectionId) -> Item {
        key(("pk", s(self.channel_name(channel))), ("sk", s(connection_name(id))))
    }

    fn user_connection_key(&self, user: &UserId, id: &ConnectionId) -> Item {
        key(("pk", s(self.user_name(user))), ("sk", s(connection_name(id))))
    }

    fn presence_key(&self, channel: &ChannelId, user: &UserId) -> Item {
        key(("pk", s(format!("present#{}", self.names.key(channel)))), ("sk", s(format!("user#{user}"))))
    }

    async fn connection_item(&self, id: &ConnectionId) -> Result<Option<ConnectionItem>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(connection_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        found.item.map(|item| read("GetItem", item)).transpose()
    }

    /// Lists a connection among those whose token ends in some minute, unless API Gateway ends it before.
    async fn list_end(&self, connection: &Connection) -> Result<(), StoreError> {
        if connection.token_expires_at > connection.expires_at {
            return Ok(());
        }
        let name = minute_name(connection.expires_at);
        let mut item = key(("pk", s(name)), ("sk", s(connection_name(&connection.connection_id))));
        item.insert("expires_at".to_owned(), n(connection.expires_at.plus(ENDED_KEPT).as_secs()));
        self.put(item).await
    }

    fn subscription_item(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        user_id: &UserId,
        connected_at: Timestamp,
        expires_at: i64,
    ) -> Result<Item, StoreError> {
        let item = SubscriptionItem {
            pk: self.channel_name(channel),
            sk: connection_name(id),
            user_id: user_id.clone(),
            connected_at,
            expires_at,
        };
        write("PutItem", item)
    }

    /// Writes times and limit of a renewed connection to one item of it; the item, if it is still of that connection.
    async fn renew_item(&self, key: Item, connection: &Connection, is_own: bool) -> Result<Option<Item>, StoreError> {
        const OPERATION: &str = "UpdateItem";
        let mut update = "SET expires_at = :expires_at".to_owned();
        let mut values = Item::from([
            (":expires_at".to_owned(), n(connection.expires_at.as_secs())),
            (":connected_at".to_owned(), s(connection.connected_at.to_string())),
        ]);
        if is_own {
            update.push_str(", token_expires_at = :token_expires_at");
            values.insert(":token_expires_at".to_owned(), s(connection.token_expires_at.to_string()));
        }
        match &connection.limited_to {
            Some(limit) => {
                update.push_str(", limited_to = :limited_to");
                values.insert(":limited_to".to_owned(), attribute(OPERATION, limit)?);
            }
            None => update.push_str(" REMOVE limited_to"),
        }
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(update)
            .condition_expression("connected_at = :connected_at")
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match updated {
            Ok(updated) => Ok(updated.attributes),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(OPERATION, error)),
        }
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
            pk: self.user_name(user),
            sk: connection_name(&connection.connection_id),
            follows: connection.follows,
            limited_to: connection.limited_to.clone(),
            connected_at: connection.connected_at,
            expires_at: connection.expires_at.as_secs(),
        };
        self.put(write("PutItem", item)?).await
    }

    async fn withdraw(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        self.delete(self.user_connection_key(user, &connection.connection_id), connection.connected_at).await?;
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
                tenant: self.tenant.clone(),
                limited_to: connection.limited_to.clone(),
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
        self.list_end(connection).await?;
        let subscriptions = connection
            .channels
            .iter()
            .map(|channel| batch::put(self.subscription_item(channel, id, user_id, *connected_at, expires_at)?));
        batch::write(&self.client, &self.table, subscriptions.collect::<Result<_, _>>()?).await
    }

    async fn renew(&self, connection: &Connection) -> Result<bool, StoreError> {
        let Connection { connection_id: id, user_id, .. } = connection;
        self.list_end(connection).await?;
        let Some(item) = self.renew_item(connection_key(id), connection, true).await? else { return Ok(false) };
        self.renew_item(self.user_connection_key(user_id, id), connection, false).await?;
        // Those of now: some may have been added since the connection was read.
        let channels = read::<ConnectionItem>("UpdateItem", item)?.channels;
        futures::stream::iter(channels)
            .map(async |channel| self.renew_item(self.subscription_key(&channel, id), connection, false).await)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(true)
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let found = self.connection_item(id).await?.filter(|item| item.tenant == self.tenant);
        Ok(found.map(|item| item.connection(id.clone())))
    }

    async fn close(&self, id: &ConnectionId, connected_at: Timestamp) -> Result<bool, StoreError> {
        let Some(connection) = self.connection(id).await? else { return Ok(false) };
        if connection.connected_at != connected_at {
            return Ok(false);
        }
        let keys: Vec<Item> = connection.channels.iter().map(|channel| self.subscription_key(channel, id)).collect();
        futures::stream::iter(keys)
            .map(|key| self.delete(key, connected_at))
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<Vec<bool>>()
            .await?;
        self.delete(self.user_connection_key(&connection.user_id, id), connected_at).await?;
        let is_closed = self.delete(connection_key(id), connected_at).await?;
        // Whoever was first counts it: the handler of `$disconnect`, a push that met nobody, or the upkeep.
        metrics::count(&metrics::CONNECTIONS_CLOSED, usize::from(is_closed));
        Ok(is_closed)
    }

    async fn connections_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        let items = self.partition(self.user_name(user), now).await?;
        let connections = items.into_iter().map(|item| {
            let item: UserConnectionItem = read("Query", item)?;
            Ok(UserConnection {
                connection_id: connection_id(&item.sk)?,
                connected_at: item.connected_at,
                follows: item.follows,
                limited_to: item.limited_to,
                expires_at: Timestamp::from_secs(item.expires_at),
            })
        });
        connections.collect()
    }

    async fn subscriptions(&self, channel: &ChannelId, now: Timestamp) -> Result<Vec<Subscription>, StoreError> {
        let items = self.partition(self.channel_name(channel), now).await?;
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
        self.put(self.subscription_item(channel, id, user, *connected_at, connection.expires_at.as_secs())?).await?;
        Ok(true)
    }

    async fn unsubscribe(
        &self,
        channel: &ChannelId,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let was_there = self.delete(self.subscription_key(channel, id), connected_at).await?;
        if was_there {
            self.change_channels(id, connected_at, channel, false).await?;
        }
        Ok(was_there)
    }
}

impl ConnectionItem {
    fn connection(self, connection_id: ConnectionId) -> Connection {
        Connection {
            connection_id,
            user_id: self.user_id,
            channels: self.channels,
            follows: self.follows,
            limited_to: self.limited_to,
            connected_at: self.connected_at,
            token_expires_at: self.token_expires_at,
            expires_at: Timestamp::from_secs(self.expires_at),
        }
    }
}

impl PresenceStore for DynamoConnections {
    async fn note_joined(&self, channel: &ChannelId, user: &UserId, now: Timestamp) -> Result<bool, StoreError> {
        let mut item = self.presence_key(channel, user);
        item.insert("expires_at".to_owned(), n(now.plus(PRESENCE_KEPT).as_secs()));
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(ABSENT_OR_EXPIRED)
            .expression_attribute_values(":now", n(now.as_secs()))
            .send()
            .await;
        match put {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("PutItem", error)),
        }
    }

    async fn note_left(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).return_values(ReturnValue::AllOld);
        let deleted = delete.set_key(Some(self.presence_key(channel, user))).send().await;
        let deleted = deleted.map_err(|error| failed("DeleteItem", error))?;
        Ok(deleted.attributes.is_some_and(|item| !item.is_empty()))
    }
}

/// `ticket#<digest>` / `meta`.
#[derive(Serialize, Deserialize)]
struct TicketItem {
    pk: String,
    sk: String,
    user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<ChannelId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
    token_expires_at: Timestamp,
    /// TTL: seconds since the Unix epoch.
    expires_at: i64,
}

fn ticket_name(digest: &str) -> String {
    format!("ticket#{digest}")
}

impl TicketStore for DynamoConnections {
    async fn keep(&self, digest: &str, ticket: &Ticket) -> Result<(), StoreError> {
        let ticket = ticket.clone();
        let item = TicketItem {
            pk: ticket_name(digest),
            sk: META.to_owned(),
            user_id: ticket.user_id,
            tenant: ticket.tenant,
            channels: ticket.channels,
            limited_to: ticket.limited_to,
            token_expires_at: ticket.token_expires_at,
            expires_at: ticket.expires_at.as_secs(),
        };
        self.put(write("PutItem", item)?).await
    }

    async fn redeem(&self, digest: &str, now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(("pk", s(ticket_name(digest))), ("sk", s(META)))))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| failed("DeleteItem", error))?;
        let Some(item) = deleted.attributes.filter(|item| !item.is_empty()) else { return Ok(None) };
        let item: TicketItem = read("DeleteItem", item)?;
        let ticket = Ticket {
            user_id: item.user_id,
            tenant: item.tenant,
            channels: item.channels,
            limited_to: item.limited_to,
            token_expires_at: item.token_expires_at,
            expires_at: Timestamp::from_secs(item.expires_at),
        };
        Ok(Some(ticket).filter(|ticket| ticket.expires_at > now))
    }
}

fn connection_id(sk: &str) -> Result<ConnectionId, StoreError> {
    sk.strip_prefix("conn#").unwrap_or_default().parse().map_err(|error| unreadable("Query", error))
}
