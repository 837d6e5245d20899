//! Subscriptions, among the items of a channel's audience.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{
    connection::{Audience, Connection, ConnectionKey, Subscription, UserConnection},
    error::StoreError,
    id::UserId,
    limits::CHANNELS_PER_CONNECTION,
    parts::Parts,
    time::Timestamp,
};
use futures::{
    StreamExt, TryStreamExt,
    future::{join, try_join},
};
use serde::{Deserialize, Serialize};
use telemetry::metrics;

use super::{AS_CONNECTED, DynamoConnections, WRITES_AT_ONCE, connection_items::ConnectionItem, updated};
use crate::{
    dynamodb::{
        expiry::{end_of, kept_until},
        gate,
        item::{Item, attribute, n, number, read, s, text, write},
        keys::{self, AudienceSort, Place},
        transaction::{OPERATION, Part, Ran, Transaction, Write},
    },
    sdk::decode_error,
};

#[derive(Serialize, Deserialize)]
pub(super) struct SubscriptionItem {
    user_id: UserId,
    pub(super) connected_at: Timestamp,
    expires_at: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    member: bool,
}

/// The subscription that was in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsubscribed {
    /// The connection's item named it, and so names no other one of the channel.
    Named,
    /// The connection's item does not name it, or does not exist.
    Unnamed,
    /// There was none.
    Missing,
}

impl DynamoConnections {
    pub(super) fn subscription_item(&self, place: &Place, subscription: Subscription) -> Result<Item, StoreError> {
        let Subscription { connection, user_id, expires_at, member } = subscription;
        let ConnectionKey { id, connected_at } = connection;
        let fields = SubscriptionItem { user_id, connected_at, expires_at: kept_until(expires_at), member };
        let mut item = write("PutItem", fields)?;
        item.extend(self.keys.subscription(place, &id));
        Ok(item)
    }

    /// Adds the place of a subscription to the set of a connection, on condition that the connection is as read and has
    /// room, and that it has no subscription to the channel in another place.
    pub(super) fn add_channel(&self, place: &Place, connection: &UserConnection) -> Result<Write, StoreError> {
        let mut update = Write::update(&self.table, keys::connection(&connection.key.id), "ADD channels :channels")
            .when(AS_CONNECTED)
            .when("expires_at = :expires_at")
            .when("attribute_not_exists(channels) OR size(channels) < :most OR contains(channels, :channel)")
            .value("connected_at", s(connection.key.connected_at.to_string()))
            .value("expires_at", n(kept_until(connection.expires_at)))
            .value("channels", AttributeValue::Ss(vec![place.to_string()]))
            .value("most", n(CHANNELS_PER_CONNECTION))
            .value("channel", s(place.to_string()))
            .showing_old();
        for part in Parts::possible_of(&connection.key.id).into_iter().filter(|part| *part != place.part) {
            let (name, other) = (format!("part{part}"), Place { part, ..place.clone() });
            update = update.when(&format!("NOT contains(channels, :{name})")).value(&name, s(other.to_string()));
        }
        Ok(match &connection.allowed_channels {
            Some(limit) => update.when("limited_to = :limited_to").value("limited_to", attribute(OPERATION, limit)?),
            None => update.when("attribute_not_exists(limited_to)"),
        })
    }

    /// Removes the subscriptions of a connection in these places. Returns the number of those that were there.
    pub(super) async fn delete_subscriptions(
        &self,
        places: impl IntoIterator<Item = &Place>,
        connection: &ConnectionKey,
    ) -> Result<usize, StoreError> {
        let keys: Vec<Item> = places.into_iter().map(|place| self.keys.subscription(place, &connection.id)).collect();
        futures::stream::iter(keys)
            .map(async |key| {
                self.delete(key, connection.connected_at).await.map(|deleted| usize::from(deleted.is_some()))
            })
            .buffer_unordered(WRITES_AT_ONCE)
            .try_fold(0, async |sum, deleted| Ok(sum + deleted))
            .await
    }

    /// Removes a connection of a user and its subscriptions, which are assumed in these places. The subscriptions go
    /// first, so that a repeated call finds an interrupted one. Returns `false` if there was no such connection.
    pub(super) async fn close_with(
        &self,
        connection: &ConnectionKey,
        user: &UserId,
        mut places: Vec<Place>,
    ) -> Result<bool, StoreError> {
        let ConnectionKey { id, connected_at } = connection;
        let of_user = self.delete(self.keys.user_connection(user, id), *connected_at);
        let (removed, _) = try_join(self.delete_subscriptions(&places, connection), of_user).await?;
        if removed < places.len() {
            // It is gone, or in a part of another time. Later connections are closed with the parts that are read here.
            let ((), stored) = join(self.learn_parts(), self.connection_item(id)).await;
            let stored = stored?.filter(|stored| stored.connected_at == *connected_at);
            let stored = stored.map(|stored| stored.channels).unwrap_or_default();
            let elsewhere: Vec<Place> = stored.into_iter().filter(|place| !places.contains(place)).collect();
            self.delete_subscriptions(&elsewhere, connection).await?;
            places.extend(elsewhere);
        }
        let closed = self.delete(keys::connection(id), *connected_at).await?;
        // The first to close it counts it: the handler of `$disconnect`, a push, or the maintenance.
        metrics::count(&metrics::CONNECTIONS_CLOSED, usize::from(closed.is_some()));
        let Some(item) = closed else { return Ok(false) };
        // Subscriptions that were added after the connection was read. None can be added after this point.
        let last = read::<ConnectionItem>("DeleteItem", item)?.channels;
        let added = last.iter().filter(|place| !places.contains(place));
        self.delete_subscriptions(added, connection).await?;
        Ok(true)
    }
}

impl DynamoConnections {
    /// Writes a renewed token to the copies of its user and of its subscriptions.
    pub(super) async fn renew_copies(&self, connection: &Connection, places: &[Place]) -> Result<(), StoreError> {
        let (id, user_id) = (&connection.key.id, &connection.user_id);
        self.renew_item(self.keys.user_connection(user_id, id), connection, false).await?;
        let keys: Vec<Item> = places.iter().map(|place| self.keys.subscription(place, id)).collect();
        futures::stream::iter(keys)
            .map(async |key| self.renew_item(key, connection, false).await)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(())
    }

    /// Makes the subscription in a place rest on a membership. Returns `false` if there is none.
    pub(super) async fn confirm_at(&self, place: &Place, connection: &ConnectionKey) -> Result<bool, StoreError> {
        let update = self
            .update(self.keys.subscription(place, &connection.id))
            .update_expression("SET #member = :yes")
            .condition_expression(AS_CONNECTED)
            .expression_attribute_names("#member", "member")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":connected_at", s(connection.connected_at.to_string()));
        Ok(updated(update).await?.is_some())
    }

    /// Removes the subscription in a place.
    pub(super) async fn unsubscribe_at(
        &self,
        place: &Place,
        connection: &ConnectionKey,
    ) -> Result<Unsubscribed, StoreError> {
        let connected_at = s(connection.connected_at.to_string());
        let subscription = self.keys.subscription(place, &connection.id);
        let mut transaction = Transaction::default();
        let delete = Write::delete(&self.table, subscription.clone()).when(AS_CONNECTED);
        transaction.add(Part::Subscription, delete.value("connected_at", connected_at.clone()))?;
        let update = Write::update(&self.table, keys::connection(&connection.id), "DELETE channels :channels")
            .when(AS_CONNECTED)
            .when("contains(channels, :channel)")
            .value("connected_at", connected_at)
            .value("channel", s(place.to_string()))
            .value("channels", AttributeValue::Ss(vec![place.to_string()]));
        transaction.add(Part::Connection, update)?;
        match transaction.run(&self.client).await? {
            Ran::Done => Ok(Unsubscribed::Named),
            Ran::Refused(refused) if refused.is_of(Part::Subscription) => Ok(Unsubscribed::Missing),
            Ran::Refused(_) => {
                let removed = self.delete(subscription, connection.connected_at).await?;
                Ok(removed.map_or(Unsubscribed::Missing, |_| Unsubscribed::Unnamed))
            }
        }
    }
}

/// Returns the number of parts in an item.
pub(super) fn parts(item: &Item) -> Option<Parts> {
    Parts::new(u32::try_from(number(item, "parts")?).ok()?)
}

/// Adds the items of an audience's partition to `audience`. Sets `parts` if their number is among the items.
pub(super) fn read_audience(items: Vec<Item>, audience: &mut Audience, parts: &mut Parts) -> Result<(), StoreError> {
    for item in items {
        let sk = text(&item, "sk").unwrap_or_default();
        match AudienceSort::read(sk).map_err(|error| decode_error("Query", error))? {
            AudienceSort::Gate => gate::read(&mut audience.gate, &item),
            AudienceSort::Parts => *parts = self::parts(&item).unwrap_or_default(),
            AudienceSort::Blocked(user) => _ = audience.gate.blocked.insert(user),
            AudienceSort::Subscription(id) => {
                let SubscriptionItem { user_id, connected_at, expires_at, member } = read("Query", item)?;
                let (connection, expires_at) = (ConnectionKey { id, connected_at }, end_of(expires_at));
                let one = Subscription { connection, user_id, expires_at, member };
                audience.subscriptions.push(one);
            }
        }
    }
    Ok(())
}
