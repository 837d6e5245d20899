//! Connections, subscriptions, presence and tickets, in `chat_connections`: see [`crate::dynamodb::keys`].
//!
//! A connection's item contains its tenant, and its `channels` as a set of channel keys.
//!
//! A user's connections are found by items and not by an index, because an index is only eventually consistent. A user
//! who is removed from a channel right after connecting would continue to receive events.
//!
//! `expires_at` of a connection and of its items is later than its end: see [`crate::dynamodb::expiry`].

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        delete_item::{DeleteItemError, DeleteItemOutput, builders::DeleteItemFluentBuilder},
        put_item::PutItemError,
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValue},
};
use chat::{
    model::{
        connection::{Audience, Connection, Gate, Subscription, UserConnection},
        error::StoreError,
        id::{ChannelId, ConnectionId, TenantId, UserId},
        incarnation::ChannelKey,
        limits::{CHANNELS_PER_CONNECTION, CONNECTION_DURATION, ENDED_SOCKETS_MINUTES},
        time::Timestamp,
    },
    ports::{
        connection_store::{ConnectionStore, SubscriptionPage},
        expiry_store::ExpiryStore,
        presence_store::PresenceStore,
        ticket_store::{Ticket, TicketStore},
    },
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use telemetry::metrics;

use crate::{
    dynamodb::{
        batch,
        expiry::{end_of, kept_until},
        gate,
        item::{ABSENT_OR_EXPIRED, Item, attribute, n, number, read, s, text, write},
        keys::{self, AudienceSort, Keys},
        transaction::{OPERATION, Part, Ran, Transaction, Write},
    },
    sdk::{decode_error, sdk_error},
};

const WRITES_AT_ONCE: usize = 16;

/// Maximum attempts to subscribe a connection whose token changes meanwhile.
const SUBSCRIBE_ATTEMPTS: usize = 4;

/// Time for which the announced presence of a user is stored: longer than a connection can last.
const PRESENCE_KEPT: Duration = Duration::from_hours(24);

/// Time after its end for which a connection is listed as one to be closed. API Gateway has closed its socket by then.
const ENDED_KEPT: Duration = CONNECTION_DURATION.saturating_add(Duration::from_hours(1));

/// Connections in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoConnections {
    client: Client,
    table: String,
    tenant: Option<TenantId>,
    keys: Keys,
}

#[derive(Serialize, Deserialize)]
struct ConnectionItem {
    user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
    /// A string set, which is written separately because DynamoDB has no empty sets.
    #[serde(default, skip_serializing)]
    channels: Vec<ChannelKey>,
    #[serde(default)]
    follows: bool,
    /// Present only if channels are left out, because the stream's filter selects records by it.
    #[serde(default, skip_serializing_if = "is_zero")]
    left_out: usize,
    connected_at: Timestamp,
    token_expires_at: Timestamp,
    expires_at: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize, Deserialize)]
struct UserConnectionItem {
    follows: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
    connected_at: Timestamp,
    expires_at: i64,
}

#[derive(Serialize, Deserialize)]
struct SubscriptionItem {
    user_id: UserId,
    connected_at: Timestamp,
    expires_at: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    member: bool,
}

impl DynamoConnections {
    /// Creates a store for connections in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), tenant: None, keys: Keys::default() }
    }

    /// Returns the connections of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { tenant: tenant.cloned(), keys: Keys::for_tenant(tenant), ..self.clone() }
    }
}

impl ExpiryStore for DynamoConnections {
    async fn find(&self, id: &ConnectionId) -> Result<Option<(Option<TenantId>, Connection)>, StoreError> {
        let Some(mut item) = self.connection_item(id).await? else { return Ok(None) };
        Ok(Some((item.tenant.take(), item.connection(id.clone()))))
    }

    async fn ended_minutes(&self, now: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        let cursor = self.get(keys::ends_cursor()).await?.and_then(|item| number(&item, "minute"));
        let last = now.minute();
        let kept = i64::try_from(ENDED_KEPT.as_secs() / 60).unwrap_or(i64::MAX);
        let oldest = last.saturating_sub(kept);
        let first =
            cursor.map_or(oldest, |minute| minute.min(last).saturating_sub(ENDED_SOCKETS_MINUTES - 1).max(oldest));
        Ok((first..=last).map(|minute| Timestamp::from_secs(minute * 60)).collect())
    }

    async fn worked_off(&self, time: Timestamp) -> Result<(), StoreError> {
        let update = self
            .update(keys::ends_cursor())
            .update_expression("SET #minute = :minute")
            .condition_expression("attribute_not_exists(#minute) OR #minute < :minute")
            .expression_attribute_names("#minute", "minute")
            .expression_attribute_values(":minute", n(time.minute()));
        updated(update).await?;
        Ok(())
    }

    async fn expired_in_minute(&self, time: Timestamp) -> Result<Vec<ConnectionId>, StoreError> {
        let items = self.all(|| self.partition(keys::ends(time))).await?;
        items.iter().map(connection_id).collect()
    }

    async fn remove_expiry_entry(&self, time: Timestamp, id: &ConnectionId) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(keys::end(time, id)));
        delete.send().await.map_err(|error| sdk_error("DeleteItem", error))?;
        Ok(())
    }
}

impl DynamoConnections {
    async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(|error| sdk_error("GetItem", error))?.item)
    }

    async fn connection_item(&self, id: &ConnectionId) -> Result<Option<ConnectionItem>, StoreError> {
        self.get(keys::connection(id)).await?.map(|item| read("GetItem", item)).transpose()
    }

    /// Lists a connection under the minute in which its token ends, unless API Gateway closes the socket earlier.
    async fn list_end(&self, connection: &Connection) -> Result<(), StoreError> {
        if connection.token_expires_at > connection.expires_at {
            return Ok(());
        }
        let mut item = keys::end(connection.expires_at, &connection.connection_id);
        item.insert("expires_at".to_owned(), n(connection.expires_at.plus(ENDED_KEPT).as_secs()));
        self.put(item).await
    }

    fn subscription_item(&self, channel: &ChannelKey, subscription: Subscription) -> Result<Item, StoreError> {
        let Subscription { connection_id, user_id, connected_at, expires_at, member } = subscription;
        let fields = SubscriptionItem { user_id, connected_at, expires_at: kept_until(expires_at), member };
        let mut item = write("PutItem", fields)?;
        item.extend(self.keys.subscription(channel, &connection_id));
        Ok(item)
    }

    /// Writes the times and allowed channels of a renewed connection to one of its items. Returns the item, if it still
    /// belongs to that connection.
    async fn renew_item(&self, key: Item, connection: &Connection, is_own: bool) -> Result<Option<Item>, StoreError> {
        let mut expression = "SET expires_at = :expires_at".to_owned();
        let mut values = Item::from([
            (":expires_at".to_owned(), n(kept_until(connection.expires_at))),
            (":connected_at".to_owned(), s(connection.connected_at.to_string())),
        ]);
        if is_own {
            expression.push_str(", token_expires_at = :token_expires_at");
            values.insert(":token_expires_at".to_owned(), s(connection.token_expires_at.to_string()));
        }
        match &connection.allowed_channels {
            Some(limit) => {
                expression.push_str(", limited_to = :limited_to");
                values.insert(":limited_to".to_owned(), attribute("UpdateItem", limit)?);
            }
            None => expression.push_str(" REMOVE limited_to"),
        }
        let update = self
            .update(key)
            .update_expression(expression)
            .condition_expression(AS_CONNECTED)
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew);
        Ok(updated(update).await?.and_then(|updated| updated.attributes))
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

    async fn delete_subscriptions(
        &self,
        channels: impl IntoIterator<Item = &ChannelKey>,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<(), StoreError> {
        let keys: Vec<Item> = channels.into_iter().map(|channel| self.keys.subscription(channel, id)).collect();
        futures::stream::iter(keys)
            .map(async |key| self.delete(key, connected_at).await.map(|_| ()))
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await
    }
}

/// The condition that an item belongs to this connection and not to another one with the same id.
const AS_CONNECTED: &str = "connected_at = :connected_at";

/// Excludes items that ended before `now` from a query.
fn living(query: QueryFluentBuilder, now: Timestamp) -> QueryFluentBuilder {
    query.filter_expression("expires_at > :over").expression_attribute_values(":over", n(kept_until(now)))
}

/// Adds the items of an audience's partition to `audience`.
fn read_audience(items: Vec<Item>, audience: &mut Audience) -> Result<(), StoreError> {
    for item in items {
        let sk = text(&item, "sk").unwrap_or_default();
        match AudienceSort::read(sk).map_err(|error| decode_error("Query", error))? {
            AudienceSort::Gate => gate::read(&mut audience.gate, &item),
            AudienceSort::Blocked(user) => _ = audience.gate.blocked.insert(user),
            AudienceSort::Subscription(connection_id) => {
                let SubscriptionItem { user_id, connected_at, expires_at, member } = read("Query", item)?;
                let expires_at = end_of(expires_at);
                let one = Subscription { connection_id, user_id, connected_at, expires_at, member };
                audience.subscriptions.push(one);
            }
        }
    }
    Ok(())
}

/// Runs an update. Returns `None` if its condition did not hold.
async fn updated(update: UpdateItemFluentBuilder) -> Result<Option<UpdateItemOutput>, StoreError> {
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

impl ConnectionStore for DynamoConnections {
    async fn register_pending(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let fields = UserConnectionItem {
            follows: connection.auto_subscribe,
            limited_to: connection.allowed_channels.clone(),
            connected_at: connection.connected_at,
            expires_at: kept_until(connection.expires_at),
        };
        let mut item = write("PutItem", fields)?;
        item.extend(self.keys.user_connection(user, &connection.connection_id));
        self.put(item).await
    }

    async fn remove_pending(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let key = self.keys.user_connection(user, &connection.connection_id);
        self.delete(key, connection.connected_at).await?;
        Ok(())
    }

    async fn activate(&self, connection: &Connection, by_membership: &BTreeSet<ChannelKey>) -> Result<(), StoreError> {
        let fields = ConnectionItem {
            user_id: connection.user_id.clone(),
            tenant: self.tenant.clone(),
            limited_to: connection.allowed_channels.clone(),
            channels: Vec::new(),
            follows: connection.auto_subscribe,
            left_out: connection.left_out,
            connected_at: connection.connected_at,
            token_expires_at: connection.token_expires_at,
            expires_at: kept_until(connection.expires_at),
        };
        let mut item = write("PutItem", fields)?;
        item.extend(keys::connection(&connection.connection_id));
        if !connection.channels.is_empty() {
            let channels = connection.channels.iter().map(ToString::to_string).collect();
            item.insert("channels".to_owned(), AttributeValue::Ss(channels));
        }
        self.put(item).await?;
        self.list_end(connection).await?;
        let of_user = UserConnection::from(connection);
        let subscriptions = connection.channels.iter().map(|channel| {
            let member = by_membership.contains(channel);
            let subscription = Subscription { member, ..of_user.subscription(&connection.user_id) };
            batch::put(self.subscription_item(channel, subscription)?)
        });
        batch::write(&self.client, &self.table, subscriptions.collect::<Result<_, _>>()?).await
    }

    async fn renew(&self, connection: &Connection) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        let Connection { connection_id: id, user_id, .. } = connection;
        self.list_end(connection).await?;
        let Some(item) = self.renew_item(keys::connection(id), connection, true).await? else { return Ok(None) };
        self.renew_item(self.keys.user_connection(user_id, id), connection, false).await?;
        // The stored channels, because some may have been added after the connection was read.
        let channels = read::<ConnectionItem>("UpdateItem", item)?.channels;
        let keys: Vec<Item> = channels.iter().map(|channel| self.keys.subscription(channel, id)).collect();
        futures::stream::iter(keys)
            .map(async |key| self.renew_item(key, connection, false).await)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(Some(channels))
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let found = self.connection_item(id).await?.filter(|item| item.tenant == self.tenant);
        Ok(found.map(|item| item.connection(id.clone())))
    }

    async fn connections_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        let items = self.all(|| living(self.partition(self.keys.connections(user)), now)).await?;
        let connections = items.into_iter().map(|item| {
            let connection_id = connection_id(&item)?;
            let UserConnectionItem { follows, limited_to, connected_at, expires_at } = read("Query", item)?;
            Ok(UserConnection {
                connection_id,
                connected_at,
                auto_subscribe: follows,
                allowed_channels: limited_to,
                expires_at: end_of(expires_at),
            })
        });
        connections.collect()
    }

    async fn close(&self, id: &ConnectionId, connected_at: Timestamp) -> Result<bool, StoreError> {
        let Some(connection) = self.connection(id).await? else { return Ok(false) };
        if connection.connected_at != connected_at {
            return Ok(false);
        }
        self.delete_subscriptions(&connection.channels, id, connected_at).await?;
        self.delete(self.keys.user_connection(&connection.user_id, id), connected_at).await?;
        let closed = self.delete(keys::connection(id), connected_at).await?;
        // The first to close it counts it: the handler of `$disconnect`, a push, or the maintenance.
        metrics::count(&metrics::CONNECTIONS_CLOSED, usize::from(closed.is_some()));
        let Some(item) = closed else { return Ok(false) };
        // Subscriptions that were added after the connection was read. None can be added after this point.
        let last = read::<ConnectionItem>("DeleteItem", item)?.channels;
        let added = last.iter().filter(|channel| !connection.channels.contains(channel));
        self.delete_subscriptions(added, id, connected_at).await?;
        Ok(true)
    }

    async fn audience_up_to(&self, channel: &ChannelKey, most: usize, now: Timestamp) -> Result<Audience, StoreError> {
        let limit = i32::try_from(most).ok();
        let query = || living(self.partition(self.keys.audience(channel)), now).set_limit(limit);
        let (mut audience, mut start) = (Audience::default(), None);
        loop {
            let page = query().set_exclusive_start_key(start.take()).send().await;
            let page = page.map_err(|error| sdk_error("Query", error))?;
            read_audience(page.items.unwrap_or_default(), &mut audience)?;
            start = page.last_evaluated_key;
            if start.is_none() || audience.subscriptions.len() >= most {
                return Ok(audience);
            }
        }
    }

    async fn gate(&self, channel: &ChannelKey, now: Timestamp) -> Result<Gate, StoreError> {
        let query = || {
            living(self.partition(self.keys.audience(channel)), now)
                .key_condition_expression("pk = :pk AND sk < :subscriptions")
                .expression_attribute_values(":subscriptions", s(keys::first_subscription()))
        };
        let mut audience = Audience::default();
        read_audience(self.all(query).await?, &mut audience)?;
        Ok(audience.gate)
    }

    async fn subscriptions_page(
        &self,
        channel: &ChannelKey,
        after: Option<&ConnectionId>,
        limit: u16,
        now: Timestamp,
    ) -> Result<SubscriptionPage, StoreError> {
        let page = living(self.partition(self.keys.audience(channel)), now)
            .key_condition_expression("pk = :pk AND begins_with(sk, :subscriptions)")
            .expression_attribute_values(":subscriptions", s(keys::first_subscription()))
            .limit(i32::from(limit))
            .set_exclusive_start_key(after.map(|after| self.keys.subscription(channel, after)))
            .send()
            .await
            .map_err(|error| sdk_error("Query", error))?;
        let mut audience = Audience::default();
        read_audience(page.items.unwrap_or_default(), &mut audience)?;
        let next_after = page.last_evaluated_key.as_ref().map(connection_id).transpose()?;
        Ok(SubscriptionPage { subscriptions: audience.subscriptions, next_after })
    }

    async fn subscribe(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        connection: &UserConnection,
        member: bool,
    ) -> Result<bool, StoreError> {
        let mut connection = connection.clone();
        for _ in 0..SUBSCRIBE_ATTEMPTS {
            let subscription = Subscription { member, ..connection.subscription(user) };
            // Both writes or none, and only while the token is as read. So the end of the connection finds the
            // subscription, and a new token is not ignored.
            let mut transaction = Transaction::default();
            transaction.add(Part::Connection, self.add_channel(channel, &connection)?)?;
            transaction.add(Part::Other, Write::put(&self.table, self.subscription_item(channel, subscription)?))?;
            let refused = match transaction.run(&self.client).await? {
                Ran::Done => return Ok(true),
                Ran::Refused(refused) => refused,
            };
            let Some(item) = refused.item(Part::Connection) else { return Ok(false) };
            let current: ConnectionItem = read(OPERATION, item.clone())?;
            let is_beyond = current.limited_to.as_ref().is_some_and(|limit| !limit.contains(&channel.channel_id));
            let is_full = current.channels.len() >= CHANNELS_PER_CONNECTION && !current.channels.contains(channel);
            if current.connected_at != connection.connected_at || is_beyond || is_full {
                return Ok(false);
            }
            connection = UserConnection {
                allowed_channels: current.limited_to,
                expires_at: end_of(current.expires_at),
                ..connection
            };
        }
        let source = "the connection's token changed during each attempt".into();
        Err(StoreError { operation: OPERATION, retryable: true, source })
    }

    async fn set_left_out(&self, connection: &UserConnection, left_out: usize) -> Result<(), StoreError> {
        let update = self
            .update(keys::connection(&connection.connection_id))
            .update_expression("SET left_out = :left_out")
            .condition_expression(AS_CONNECTED)
            .expression_attribute_values(":left_out", n(left_out))
            .expression_attribute_values(":connected_at", s(connection.connected_at.to_string()));
        updated(update).await?;
        Ok(())
    }

    async fn is_subscribed(
        &self,
        channel: &ChannelKey,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let found = self.get(self.keys.subscription(channel, id)).await?;
        let found = found.map(|item| read::<SubscriptionItem>("GetItem", item)).transpose()?;
        Ok(found.is_some_and(|subscription| subscription.connected_at == connected_at))
    }

    async fn confirm_member(&self, channel: &ChannelKey, subscription: &Subscription) -> Result<bool, StoreError> {
        let update = self
            .update(self.keys.subscription(channel, &subscription.connection_id))
            .update_expression("SET #member = :yes")
            .condition_expression(AS_CONNECTED)
            .expression_attribute_names("#member", "member")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":connected_at", s(subscription.connected_at.to_string()));
        Ok(updated(update).await?.is_some())
    }

    async fn unsubscribe(
        &self,
        channel: &ChannelKey,
        id: &ConnectionId,
        connected_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let connected_at_value = s(connected_at.to_string());
        let subscription = self.keys.subscription(channel, id);
        let mut transaction = Transaction::default();
        let delete = Write::delete(&self.table, subscription.clone()).when(AS_CONNECTED);
        transaction.add(Part::Subscription, delete.value("connected_at", connected_at_value.clone()))?;
        let update = Write::update(&self.table, keys::connection(id), "DELETE channels :channels")
            .when(AS_CONNECTED)
            .value("connected_at", connected_at_value)
            .value("channels", AttributeValue::Ss(vec![channel.to_string()]));
        transaction.add(Part::Connection, update)?;
        match transaction.run(&self.client).await? {
            Ran::Done => Ok(true),
            Ran::Refused(refused) if refused.is_of(Part::Subscription) => Ok(false),
            // The subscription is the only item of the connection.
            Ran::Refused(_) => Ok(self.delete(subscription, connected_at).await?.is_some()),
        }
    }
}

impl DynamoConnections {
    /// Adds a channel to the set of a connection, on condition that the connection is as read and has room.
    fn add_channel(&self, channel: &ChannelKey, connection: &UserConnection) -> Result<Write, StoreError> {
        let update = Write::update(&self.table, keys::connection(&connection.connection_id), "ADD channels :channels")
            .when(AS_CONNECTED)
            .when("expires_at = :expires_at")
            .when("attribute_not_exists(channels) OR size(channels) < :most OR contains(channels, :channel)")
            .value("connected_at", s(connection.connected_at.to_string()))
            .value("expires_at", n(kept_until(connection.expires_at)))
            .value("channels", AttributeValue::Ss(vec![channel.to_string()]))
            .value("most", n(CHANNELS_PER_CONNECTION))
            .value("channel", s(channel.to_string()))
            .showing_old();
        Ok(match &connection.allowed_channels {
            Some(limit) => update.when("limited_to = :limited_to").value("limited_to", attribute(OPERATION, limit)?),
            None => update.when("attribute_not_exists(limited_to)"),
        })
    }
}

impl ConnectionItem {
    fn connection(self, connection_id: ConnectionId) -> Connection {
        Connection {
            connection_id,
            user_id: self.user_id,
            channels: self.channels,
            auto_subscribe: self.follows,
            allowed_channels: self.limited_to,
            left_out: self.left_out,
            connected_at: self.connected_at,
            token_expires_at: self.token_expires_at,
            expires_at: end_of(self.expires_at),
        }
    }
}

impl PresenceStore for DynamoConnections {
    async fn mark_online(&self, channel: &ChannelKey, user: &UserId, now: Timestamp) -> Result<bool, StoreError> {
        let mut item = self.keys.presence(channel, user);
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
            Err(error) => Err(sdk_error("PutItem", error)),
        }
    }

    async fn mark_offline(&self, channel: &ChannelKey, user: &UserId) -> Result<bool, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).return_values(ReturnValue::AllOld);
        let deleted = delete.set_key(Some(self.keys.presence(channel, user))).send().await;
        let deleted = deleted.map_err(|error| sdk_error("DeleteItem", error))?;
        Ok(deleted.attributes.is_some_and(|item| !item.is_empty()))
    }
}

#[derive(Serialize, Deserialize)]
struct TicketItem {
    user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<ChannelKey>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
    token_expires_at: Timestamp,
    /// TTL, in seconds since the Unix epoch.
    expires_at: i64,
}

impl TicketStore for DynamoConnections {
    async fn keep(&self, digest: &str, ticket: &Ticket) -> Result<(), StoreError> {
        let ticket = ticket.clone();
        let fields = TicketItem {
            user_id: ticket.user_id,
            tenant: ticket.tenant,
            channels: ticket.channels,
            limited_to: ticket.allowed_channels,
            token_expires_at: ticket.token_expires_at,
            expires_at: ticket.expires_at.as_secs(),
        };
        let mut item = write("PutItem", fields)?;
        item.extend(keys::ticket(digest));
        self.put(item).await
    }

    async fn redeem(&self, digest: &str, now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(keys::ticket(digest)))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| sdk_error("DeleteItem", error))?;
        let Some(item) = deleted.attributes.filter(|item| !item.is_empty()) else { return Ok(None) };
        let item: TicketItem = read("DeleteItem", item)?;
        let ticket = Ticket {
            user_id: item.user_id,
            tenant: item.tenant,
            channels: item.channels,
            allowed_channels: item.limited_to,
            token_expires_at: item.token_expires_at,
            expires_at: Timestamp::from_secs(item.expires_at),
        };
        Ok(Some(ticket).filter(|ticket| ticket.expires_at > now))
    }
}

/// Reads the connection id in the sort key of an item.
fn connection_id(item: &Item) -> Result<ConnectionId, StoreError> {
    keys::connection_of(text(item, "sk").unwrap_or_default()).map_err(|error| decode_error("Query", error))
}
