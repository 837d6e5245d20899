//! [`ConnectionStore`] in `chat_connections`.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};
use chat::{
    model::{
        connection::{Audience, Connection, ConnectionKey, Gate, Subscription, UserConnection},
        error::StoreError,
        id::{ConnectionId, UserId},
        incarnation::ChannelKey,
        limits::CHANNELS_PER_CONNECTION,
        time::Timestamp,
    },
    ports::{
        connection_store::{ConnectionStore, SubscriptionPage},
        expiry_store::ExpiryStore,
    },
};
use futures::{
    StreamExt, TryStreamExt,
    future::{join, try_join, try_join3},
};
use telemetry::metrics;

use super::{
    AS_CONNECTED, DynamoConnections, WRITES_AT_ONCE, connection_id,
    connection_items::{ConnectionItem, UserConnectionItem},
    subscriptions::{SubscriptionItem, read_audience},
    updated,
};
use crate::{
    dynamodb::{
        batch,
        expiry::{end_of, kept_until},
        item::{Item, n, read, s},
        keys,
        transaction::{OPERATION, Part, Ran, Transaction, Write},
    },
    sdk::sdk_error,
};

/// Maximum attempts to subscribe a connection whose token changes meanwhile.
const SUBSCRIBE_ATTEMPTS: usize = 4;

impl ConnectionStore for DynamoConnections {
    async fn register_pending(&self, connection: &Connection) -> Result<(), StoreError> {
        let items = self.pending_items(connection)?.into_iter().chain(Self::end_item(connection));
        batch::write(&self.client, &self.table, items.map(batch::put).collect::<Result<_, _>>()?).await
    }

    async fn remove_pending(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let ConnectionKey { id, connected_at } = &connection.key;
        let removed = self.delete(keys::connection(id), *connected_at).await?;
        let channels = removed.map(|item| read::<ConnectionItem>("DeleteItem", item)).transpose()?;
        let channels = channels.map(|item| item.channels).unwrap_or_default();
        try_join3(
            self.delete_subscriptions(&channels, &connection.key),
            self.delete(self.keys.user_connection(user, id), *connected_at),
            self.remove_expiry_entry(connection.expires_at, id),
        )
        .await?;
        Ok(())
    }

    async fn activate(
        &self,
        connection: &Connection,
        by_membership: &BTreeSet<ChannelKey>,
    ) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        let of_user = UserConnection::from(connection);
        let subscriptions = connection.channels.iter().map(|channel| {
            let member = by_membership.contains(channel);
            let subscription = Subscription { member, ..of_user.subscription(&connection.user_id) };
            batch::put(self.subscription_item(channel, subscription)?)
        });
        let subscriptions = subscriptions.collect::<Result<_, _>>()?;
        let subscribing = batch::write(&self.client, &self.table, subscriptions);
        let (opened, subscribed) = join(self.open_item(connection), subscribing).await;
        if matches!(opened, Ok(Some(_))) && subscribed.is_ok() {
            return opened;
        }
        self.delete_subscriptions(&connection.channels, &connection.key).await?;
        subscribed?;
        opened
    }

    async fn renew(&self, connection: &Connection) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        self.list_end(connection).await?;
        let item = self.renew_item(keys::connection(&connection.key.id), connection, true).await?;
        let Some(item) = item else { return Ok(None) };
        // The stored channels, because some may have been added after the connection was read.
        let channels = read::<ConnectionItem>("UpdateItem", item)?.channels;
        self.spread_renewal(&Connection { channels: channels.clone(), ..connection.clone() }).await?;
        Ok(Some(channels))
    }

    async fn spread_renewal(&self, connection: &Connection) -> Result<(), StoreError> {
        let (id, user_id) = (&connection.key.id, &connection.user_id);
        self.renew_item(self.keys.user_connection(user_id, id), connection, false).await?;
        let keys: Vec<Item> = connection.channels.iter().map(|channel| self.keys.subscription(channel, id)).collect();
        futures::stream::iter(keys)
            .map(async |key| self.renew_item(key, connection, false).await)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(())
    }

    async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let found = self.connection_item(id).await?.filter(|item| item.tenant == self.tenant);
        Ok(found.map(|item| item.connection(id.clone())))
    }

    async fn connections_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<UserConnection>, StoreError> {
        let items = self.all(|| living(self.partition(self.keys.connections(user)), now)).await?;
        let connections = items.into_iter().map(|item| {
            let id = connection_id(&item)?;
            let UserConnectionItem { follows, limited_to, connected_at, expires_at } = read("Query", item)?;
            Ok(UserConnection {
                key: ConnectionKey { id, connected_at },
                auto_subscribe: follows,
                allowed_channels: limited_to,
                expires_at: end_of(expires_at),
            })
        });
        connections.collect()
    }

    async fn close(&self, connection: &ConnectionKey) -> Result<bool, StoreError> {
        match self.connection(&connection.id).await?.filter(|found| found.key == *connection) {
            Some(found) => self.close_found(&found).await,
            None => Ok(false),
        }
    }

    async fn close_found(&self, found: &Connection) -> Result<bool, StoreError> {
        let ConnectionKey { id, connected_at } = &found.key;
        let of_user = self.delete(self.keys.user_connection(&found.user_id, id), *connected_at);
        try_join(self.delete_subscriptions(&found.channels, &found.key), of_user).await?;
        let closed = self.delete(keys::connection(id), *connected_at).await?;
        // The first to close it counts it: the handler of `$disconnect`, a push, or the maintenance.
        metrics::count(&metrics::CONNECTIONS_CLOSED, usize::from(closed.is_some()));
        let Some(item) = closed else { return Ok(false) };
        // Subscriptions that were added after the connection was read. None can be added after this point.
        let last = read::<ConnectionItem>("DeleteItem", item)?.channels;
        let added = last.iter().filter(|channel| !found.channels.contains(channel));
        self.delete_subscriptions(added, &found.key).await?;
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
            if current.connected_at != connection.key.connected_at || is_beyond || is_full {
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
            .update(keys::connection(&connection.key.id))
            .update_expression("SET left_out = :left_out")
            .condition_expression(AS_CONNECTED)
            .expression_attribute_values(":left_out", n(left_out))
            .expression_attribute_values(":connected_at", s(connection.key.connected_at.to_string()));
        updated(update).await?;
        Ok(())
    }

    async fn is_subscribed(&self, channel: &ChannelKey, connection: &ConnectionKey) -> Result<bool, StoreError> {
        let found = self.get(self.keys.subscription(channel, &connection.id)).await?;
        let found = found.map(|item| read::<SubscriptionItem>("GetItem", item)).transpose()?;
        Ok(found.is_some_and(|subscription| subscription.connected_at == connection.connected_at))
    }

    async fn confirm_member(&self, channel: &ChannelKey, subscription: &Subscription) -> Result<bool, StoreError> {
        let update = self
            .update(self.keys.subscription(channel, &subscription.connection.id))
            .update_expression("SET #member = :yes")
            .condition_expression(AS_CONNECTED)
            .expression_attribute_names("#member", "member")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":connected_at", s(subscription.connection.connected_at.to_string()));
        Ok(updated(update).await?.is_some())
    }

    async fn unsubscribe(&self, channel: &ChannelKey, connection: &ConnectionKey) -> Result<bool, StoreError> {
        let connected_at = s(connection.connected_at.to_string());
        let subscription = self.keys.subscription(channel, &connection.id);
        let mut transaction = Transaction::default();
        let delete = Write::delete(&self.table, subscription.clone()).when(AS_CONNECTED);
        transaction.add(Part::Subscription, delete.value("connected_at", connected_at.clone()))?;
        let update = Write::update(&self.table, keys::connection(&connection.id), "DELETE channels :channels")
            .when(AS_CONNECTED)
            .value("connected_at", connected_at)
            .value("channels", AttributeValue::Ss(vec![channel.to_string()]));
        transaction.add(Part::Connection, update)?;
        match transaction.run(&self.client).await? {
            Ran::Done => Ok(true),
            Ran::Refused(refused) if refused.is_of(Part::Subscription) => Ok(false),
            // The subscription is the only item of the connection.
            Ran::Refused(_) => Ok(self.delete(subscription, connection.connected_at).await?.is_some()),
        }
    }
}

/// Excludes items that ended before `now` from a query.
fn living(query: QueryFluentBuilder, now: Timestamp) -> QueryFluentBuilder {
    query.filter_expression("expires_at > :over").expression_attribute_values(":over", n(kept_until(now)))
}
