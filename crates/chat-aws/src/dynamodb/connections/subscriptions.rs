//! Subscriptions, among the items of a channel's audience.

use std::borrow::Cow;

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};
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
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use telemetry::metrics;

use super::{AS_CONNECTED, DynamoConnections, WRITES_AT_ONCE, connection_items::ConnectionItem, updated};
use crate::dynamodb::{
    attributes,
    expiry::{end_of, kept_until},
    item::{Item, attribute, n, number, read, s, write},
    keys::{self, AudienceSort, Place},
    page::{self, ItemReader},
    transaction::{OPERATION, Part, Ran, Transaction, Write},
};

#[derive(Serialize)]
struct SubscriptionItem {
    user_id: UserId,
    connected_at: Timestamp,
    expires_at: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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

/// Attributes of the items in an audience's partition.
#[derive(Deserialize)]
struct AudienceItem<'a> {
    #[serde(borrow)]
    sk: Cow<'a, str>,
    user_id: Option<UserId>,
    connected_at: Option<Timestamp>,
    expires_at: Option<i64>,
    #[serde(default)]
    member: bool,
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    private: bool,
    parts: Option<u32>,
}

/// An item of an audience's partition.
#[derive(Debug)]
enum AudienceEntry {
    /// The flags of the gate.
    Gate { closed: bool, private: bool },
    /// The number of parts.
    Parts(Parts),
    /// A user whose subscriptions the gate refuses.
    Blocked(UserId),
    /// A subscription.
    Subscription(Subscription),
}

impl AudienceEntry {
    /// Adds the item to an audience, or sets the number of its parts.
    fn add_to(self, audience: &mut Audience, parts: &mut Parts) {
        match self {
            Self::Gate { closed, private } => (audience.gate.closed, audience.gate.private) = (closed, private),
            Self::Parts(stored) => *parts = stored,
            Self::Blocked(user) => _ = audience.gate.blocked.insert(user),
            Self::Subscription(subscription) => audience.subscriptions.push(subscription),
        }
    }
}

/// Reads the items of an audience's partition.
#[derive(Debug)]
struct AudienceReader;

impl ItemReader for AudienceReader {
    type Value = AudienceEntry;

    fn read<'de, D: Deserializer<'de>>(&self, item: D) -> Result<Option<AudienceEntry>, D::Error> {
        let item: AudienceItem<'de> = attributes::item(item)?;
        Ok(Some(match AudienceSort::read(&item.sk).map_err(D::Error::custom)? {
            AudienceSort::Gate => AudienceEntry::Gate { closed: item.closed, private: item.private },
            AudienceSort::Parts => AudienceEntry::Parts(item.parts.and_then(Parts::new).unwrap_or_default()),
            AudienceSort::Blocked(user) => AudienceEntry::Blocked(user),
            AudienceSort::Subscription(id) => {
                let missing = D::Error::missing_field;
                let connected_at = item.connected_at.ok_or_else(|| missing("connected_at"))?;
                AudienceEntry::Subscription(Subscription {
                    connection: ConnectionKey { id, connected_at },
                    user_id: item.user_id.ok_or_else(|| missing("user_id"))?,
                    expires_at: end_of(item.expires_at.ok_or_else(|| missing("expires_at"))?),
                    member: item.member,
                })
            }
        }))
    }
}

/// Reads one page of a query of an audience's partition, and adds it to `audience`. Sets `parts` if their number is in it.
/// Returns the key after which the query goes on, if it does.
pub(super) async fn read_audience(
    query: QueryFluentBuilder,
    audience: &mut Audience,
    parts: &mut Parts,
) -> Result<Option<Item>, StoreError> {
    let page = page::read(query, AudienceReader).await?;
    for entry in page.values {
        entry.add_to(audience, parts);
    }
    Ok(page.last_key)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn subscription(more: &Value) -> Value {
        let mut item = json!({
            "pk": { "S": "chan#t~c@01JDYZ3N6RZZZZZZZZZZZZZZZZ" }, "sk": { "S": "conn#L0SM9cOFvHcCIhw=" },
            "user_id": { "S": "alice=40example.com" }, "connected_at": { "S": "2026-11-30T02:51:06.123Z" },
            "expires_at": { "N": "1764471066" },
        });
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    }

    fn audience(items: &[Value]) -> serde_json::Result<(Audience, Parts)> {
        let body = json!({ "Items": items }).to_string();
        let (mut audience, mut parts) = (Audience::default(), Parts::default());
        for entry in page::parse(body.as_bytes(), &AudienceReader)?.values {
            entry.add_to(&mut audience, &mut parts);
        }
        Ok((audience, parts))
    }

    #[test]
    fn an_audience_has_its_gate_its_parts_and_its_subscriptions() {
        let (found, parts) = audience(&[
            json!({ "sk": { "S": "a-gate" }, "private": { "BOOL": true }, "expires_at": { "N": "1" } }),
            json!({ "sk": { "S": "a-parts" }, "parts": { "N": "4" }, "expires_at": { "N": "253402300799" } }),
            json!({ "sk": { "S": "blocked#bob" }, "expires_at": { "N": "1" } }),
            subscription(&json!({})),
            subscription(&json!({ "member": { "BOOL": true }, "sk": { "S": "conn#other" } })),
        ])
        .unwrap();
        assert!(found.gate.private && !found.gate.closed && found.gate.blocked.len() == 1);
        assert_eq!(parts, Parts::new(4).unwrap());
        let one = Subscription {
            connection: ConnectionKey {
                id: "L0SM9cOFvHcCIhw=".parse().unwrap(),
                connected_at: "2026-11-30T02:51:06.123Z".parse().unwrap(),
            },
            user_id: "alice=40example.com".parse().unwrap(),
            expires_at: end_of(1_764_471_066),
            member: false,
        };
        let key = ConnectionKey { id: "other".parse().unwrap(), ..one.connection.clone() };
        let other = Subscription { connection: key, member: true, ..one.clone() };
        assert_eq!(found.subscriptions, [one, other]);
    }

    #[test]
    fn a_damaged_subscription_is_an_error() {
        for name in ["sk", "user_id", "connected_at", "expires_at"] {
            let mut item = subscription(&json!({}));
            item.as_object_mut().unwrap().remove(name);
            assert!(audience(&[item]).is_err(), "{name}");
            assert!(audience(&[subscription(&json!({ name: { "S": "a b" } }))]).is_err(), "{name}");
        }
    }
}
