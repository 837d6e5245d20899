//! [`ConnectionStore`] in `chat_connections`.

use std::collections::BTreeSet;

use chat::{
    model::{
        connection::{Audience, Connection, ConnectionKey, Gate, Subscription, UserConnection},
        error::StoreError,
        id::{ConnectionId, UserId},
        incarnation::ChannelKey,
        limits::CHANNELS_PER_CONNECTION,
        parts::{AudienceCursor, Parts},
        time::Timestamp,
    },
    ports::{
        connection_store::{AudiencePage, ConnectionStore, SubscriptionPage},
        expiry_store::ExpiryStore,
    },
};
use futures::future::{join, try_join3};

use super::{
    AS_CONNECTED, DynamoConnections, connection_id,
    connection_items::{ConnectionItem, UserConnectionItem},
    living,
    subscriptions::{Unsubscribed, read_audience},
    updated,
};
use crate::dynamodb::{
    batch,
    expiry::end_of,
    item::{n, read, s},
    keys::{self, Place},
    transaction::{OPERATION, Part, Ran, Transaction, Write},
};

/// Maximum attempts to subscribe a connection whose token changes meanwhile.
const SUBSCRIBE_ATTEMPTS: usize = 4;

/// Maximum number of items that one page of an audience reads, about 100 KB: a shard, and the items before the
/// subscriptions. A shard is dispatched while the next page is read.
const AUDIENCE_PAGE: i32 = 512;

impl ConnectionStore for DynamoConnections {
    async fn register_pending(&self, connection: &Connection) -> Result<(), StoreError> {
        let items = self.pending_items(connection)?.into_iter().chain(Self::end_item(connection));
        let items = items.map(batch::put).collect::<Result<_, _>>()?;
        // The subscriptions are written by the parts that are known then.
        let ((), written) = join(self.learn_parts(), batch::write(&self.client, &self.table, items)).await;
        written
    }

    async fn remove_pending(&self, user: &UserId, connection: &UserConnection) -> Result<(), StoreError> {
        let ConnectionKey { id, connected_at } = &connection.key;
        let removed = self.delete(keys::connection(id), *connected_at).await?;
        let of_user = self.delete(self.keys.user_connection(user, id), *connected_at);
        let Some(item) = removed else {
            // The expiry entry may be that of a later connection with the id. The maintenance removes it.
            of_user.await?;
            return Ok(());
        };
        let places = read::<ConnectionItem>("DeleteItem", item)?.channels;
        let subscriptions = self.delete_subscriptions(&places, &connection.key);
        try_join3(subscriptions, of_user, self.remove_expiry_entry(connection.expires_at, id)).await?;
        Ok(())
    }

    async fn activate(
        &self,
        connection: &Connection,
        by_membership: &BTreeSet<ChannelKey>,
    ) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        let places: Vec<Place> =
            connection.channels.iter().map(|channel| self.place(channel, &connection.key.id)).collect();
        let of_user = UserConnection::from(connection);
        let subscriptions = places.iter().map(|place| {
            let member = by_membership.contains(&place.channel);
            let subscription = Subscription { member, ..of_user.subscription(&connection.user_id) };
            batch::put(self.subscription_item(place, subscription)?)
        });
        let subscriptions = subscriptions.collect::<Result<_, _>>()?;
        let subscribing = batch::write(&self.client, &self.table, subscriptions);
        let (opened, subscribed) = join(self.open_item(connection, &places), subscribing).await;
        if let (Ok(Some(stored)), Ok(())) = (&opened, &subscribed) {
            // A subscription that another function has added stays in its place.
            let elsewhere = places.iter().filter(|place| !stored.contains(place));
            self.delete_subscriptions(elsewhere, &connection.key).await?;
        } else {
            self.delete_subscriptions(&places, &connection.key).await?;
        }
        subscribed?;
        Ok(opened?.map(|stored| stored.into_iter().map(|place| place.channel).collect()))
    }

    async fn renew(&self, connection: &Connection) -> Result<Option<Vec<ChannelKey>>, StoreError> {
        self.list_end(connection).await?;
        let item = self.renew_item(keys::connection(&connection.key.id), connection, true).await?;
        let Some(item) = item else { return Ok(None) };
        // The stored channels, because some may have been added after the connection was read.
        let places = read::<ConnectionItem>("UpdateItem", item)?.channels;
        self.renew_copies(connection, &places).await?;
        Ok(Some(places.into_iter().map(|place| place.channel).collect()))
    }

    async fn spread_renewal(&self, connection: &Connection) -> Result<(), StoreError> {
        let id = &connection.key.id;
        let stored = self.connection_item(id).await?.map(|item| item.channels).unwrap_or_default();
        let place = |channel: &ChannelKey| {
            stored.iter().find(|place| place.channel == *channel).cloned().unwrap_or_else(|| self.place(channel, id))
        };
        let places: Vec<Place> = connection.channels.iter().map(place).collect();
        self.renew_copies(connection, &places).await
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
        let found = self.connection_item(&connection.id).await?;
        let found = found.filter(|found| found.tenant == self.tenant && found.connected_at == connection.connected_at);
        match found {
            Some(found) => self.close_with(connection, &found.user_id, found.channels).await,
            None => Ok(false),
        }
    }

    async fn close_found(&self, found: &Connection) -> Result<bool, StoreError> {
        let places = found.channels.iter().map(|channel| self.place(channel, &found.key.id)).collect();
        self.close_with(&found.key, &found.user_id, places).await
    }

    async fn audience_up_to(&self, channel: &ChannelKey, most: usize, now: Timestamp) -> Result<Audience, StoreError> {
        let limit = i32::try_from(most).ok();
        let AudiencePage { gate, mut subscriptions, mut next, .. } = self.page(channel, None, limit, now).await?;
        while let Some(at) = next.take().filter(|_| subscriptions.len() < most) {
            let page = self.page(channel, Some(&at), limit, now).await?;
            subscriptions.extend(page.subscriptions);
            next = page.next;
        }
        Ok(Audience { gate, subscriptions })
    }

    async fn audience_page(
        &self,
        channel: &ChannelKey,
        at: Option<&AudienceCursor>,
        now: Timestamp,
    ) -> Result<AudiencePage, StoreError> {
        self.page(channel, at, Some(AUDIENCE_PAGE), now).await
    }

    async fn divide(&self, channel: &ChannelKey, parts: Parts, subscriptions: usize) -> Result<(), StoreError> {
        self.divide_into(channel, parts, subscriptions).await
    }

    async fn gate(&self, channel: &ChannelKey, now: Timestamp) -> Result<Gate, StoreError> {
        let query = || {
            living(self.partition(self.keys.audience(channel)), now)
                .key_condition_expression("pk = :pk AND sk < :subscriptions")
                .expression_attribute_values(":subscriptions", s(keys::first_subscription()))
        };
        let (mut audience, mut start) = (Audience::default(), None);
        loop {
            let query = query().set_exclusive_start_key(start.take());
            start = read_audience(query, &mut audience, &mut Parts::default()).await?;
            if start.is_none() {
                return Ok(audience.gate);
            }
        }
    }

    async fn subscriptions_page(
        &self,
        channel: &ChannelKey,
        after: Option<&AudienceCursor>,
        limit: u16,
        now: Timestamp,
    ) -> Result<SubscriptionPage, StoreError> {
        let mut at = after.cloned().unwrap_or_else(|| AudienceCursor::start(Parts::ONE));
        let place = Place { channel: channel.clone(), part: at.part };
        let query = living(self.partition(self.keys.part(&place)), now)
            .key_condition_expression("pk = :pk AND begins_with(sk, :subscriptions)")
            .expression_attribute_values(":subscriptions", s(keys::first_subscription()))
            .limit(i32::from(limit))
            .set_exclusive_start_key(at.after.take().map(|id| self.keys.subscription(&place, &id)));
        let mut audience = Audience::default();
        let last = read_audience(query, &mut audience, &mut Parts::default()).await?;
        let next_after = if let Some(last) = last {
            Some(AudienceCursor { after: Some(connection_id(&last)?), ..at })
        } else {
            // The number is beside the gate, which these pages leave out.
            if at.parts == Parts::ONE {
                at.parts = self.stored_parts(channel).await?;
            }
            at.next_part()
        };
        Ok(SubscriptionPage { subscriptions: audience.subscriptions, next_after })
    }

    async fn subscribe(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        connection: &UserConnection,
        member: bool,
    ) -> Result<bool, StoreError> {
        self.learn_parts().await;
        let mut connection = connection.clone();
        let mut place = self.place(channel, &connection.key.id);
        for _ in 0..SUBSCRIBE_ATTEMPTS {
            let subscription = Subscription { member, ..connection.subscription(user) };
            // Both writes or none, and only while the token is as read. So the end of the connection finds the
            // subscription, and a new token is not ignored.
            let mut transaction = Transaction::default();
            transaction.add(Part::Connection, self.add_channel(&place, &connection)?)?;
            transaction.add(Part::Other, Write::put(&self.table, self.subscription_item(&place, subscription)?))?;
            let refused = match transaction.run(&self.client).await? {
                Ran::Done => return Ok(true),
                Ran::Refused(refused) => refused,
            };
            let Some(item) = refused.item(Part::Connection) else { return Ok(false) };
            let current: ConnectionItem = read(OPERATION, item.clone())?;
            let is_beyond = current.limited_to.as_ref().is_some_and(|limit| !limit.contains(&channel.channel_id));
            let stored = current.channels.iter().find(|place| place.channel == *channel).cloned();
            let is_full = current.channels.len() >= CHANNELS_PER_CONNECTION && stored.is_none();
            if current.connected_at != connection.key.connected_at || is_beyond || is_full {
                return Ok(false);
            }
            // A subscription that is replaced stays in its place.
            place = stored.unwrap_or(place);
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
        Ok(self.recorded_place(channel, connection).await?.is_some())
    }

    async fn confirm_member(&self, channel: &ChannelKey, subscription: &Subscription) -> Result<bool, StoreError> {
        let connection = &subscription.connection;
        let place = self.place(channel, &connection.id);
        if self.confirm_at(&place, connection).await? {
            return Ok(true);
        }
        match self.recorded_place(channel, connection).await? {
            Some(other) if other != place => self.confirm_at(&other, connection).await,
            _ => Ok(false),
        }
    }

    async fn unsubscribe(&self, channel: &ChannelKey, connection: &ConnectionKey) -> Result<bool, StoreError> {
        let place = self.place(channel, &connection.id);
        let first = self.unsubscribe_at(&place, connection).await?;
        if first == Unsubscribed::Named {
            return Ok(true);
        }
        // It is in a part of another time, or not there.
        for other in self.possible_places(channel, connection).await? {
            if other != place && self.unsubscribe_at(&other, connection).await? != Unsubscribed::Missing {
                return Ok(true);
            }
        }
        Ok(first == Unsubscribed::Unnamed)
    }
}
