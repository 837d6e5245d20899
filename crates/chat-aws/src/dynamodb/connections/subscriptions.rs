//! Subscriptions, among the items of a channel's audience.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{
    connection::{Audience, ConnectionKey, Subscription, UserConnection},
    error::StoreError,
    id::UserId,
    incarnation::ChannelKey,
    limits::CHANNELS_PER_CONNECTION,
    time::Timestamp,
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::{AS_CONNECTED, DynamoConnections, WRITES_AT_ONCE};
use crate::{
    dynamodb::{
        expiry::{end_of, kept_until},
        gate,
        item::{Item, attribute, n, read, s, text, write},
        keys::{self, AudienceSort},
        transaction::{OPERATION, Write},
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

impl DynamoConnections {
    pub(super) fn subscription_item(
        &self,
        channel: &ChannelKey,
        subscription: Subscription,
    ) -> Result<Item, StoreError> {
        let Subscription { connection, user_id, expires_at, member } = subscription;
        let ConnectionKey { id, connected_at } = connection;
        let fields = SubscriptionItem { user_id, connected_at, expires_at: kept_until(expires_at), member };
        let mut item = write("PutItem", fields)?;
        item.extend(self.keys.subscription(channel, &id));
        Ok(item)
    }

    /// Adds a channel to the set of a connection, on condition that the connection is as read and has room.
    pub(super) fn add_channel(&self, channel: &ChannelKey, connection: &UserConnection) -> Result<Write, StoreError> {
        let update = Write::update(&self.table, keys::connection(&connection.key.id), "ADD channels :channels")
            .when(AS_CONNECTED)
            .when("expires_at = :expires_at")
            .when("attribute_not_exists(channels) OR size(channels) < :most OR contains(channels, :channel)")
            .value("connected_at", s(connection.key.connected_at.to_string()))
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

    pub(super) async fn delete_subscriptions(
        &self,
        channels: impl IntoIterator<Item = &ChannelKey>,
        connection: &ConnectionKey,
    ) -> Result<(), StoreError> {
        let keys: Vec<Item> =
            channels.into_iter().map(|channel| self.keys.subscription(channel, &connection.id)).collect();
        futures::stream::iter(keys)
            .map(async |key| self.delete(key, connection.connected_at).await.map(|_| ()))
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await
    }
}

/// Adds the items of an audience's partition to `audience`.
pub(super) fn read_audience(items: Vec<Item>, audience: &mut Audience) -> Result<(), StoreError> {
    for item in items {
        let sk = text(&item, "sk").unwrap_or_default();
        match AudienceSort::read(sk).map_err(|error| decode_error("Query", error))? {
            AudienceSort::Gate => gate::read(&mut audience.gate, &item),
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
