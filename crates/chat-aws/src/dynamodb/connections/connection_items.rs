//! The items of a connection: its own, which contains its tenant and its `channels` as a set of channel keys, and the
//! one among its user's connections.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chat::model::{
    connection::{Connection, ConnectionKey},
    error::StoreError,
    id::{ChannelId, ConnectionId, TenantId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{AS_CONNECTED, DynamoConnections, updated};
use crate::{
    dynamodb::{
        expiry::{end_of, kept_until},
        item::{Item, attribute, n, read, s, write},
        keys::{self, Place},
    },
    sdk::sdk_error,
};

/// Maximum attempts to open a connection to which channels are added meanwhile.
const OPEN_ATTEMPTS: usize = 4;

#[derive(Serialize, Deserialize)]
pub(super) struct ConnectionItem {
    pub(super) user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limited_to: Option<BTreeSet<ChannelId>>,
    /// The places of the subscriptions: a string set, which is written separately because DynamoDB has no empty sets.
    #[serde(default, skip_serializing)]
    pub(super) channels: Vec<Place>,
    #[serde(default)]
    pub(super) follows: bool,
    #[serde(default)]
    pub(super) left_out: usize,
    /// The connection is pending.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) opening: bool,
    pub(super) connected_at: Timestamp,
    pub(super) token_expires_at: Timestamp,
    pub(super) expires_at: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UserConnectionItem {
    pub(super) follows: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limited_to: Option<BTreeSet<ChannelId>>,
    pub(super) connected_at: Timestamp,
    pub(super) expires_at: i64,
}

impl ConnectionItem {
    pub(super) fn connection(self, id: ConnectionId) -> Connection {
        Connection {
            key: ConnectionKey { id, connected_at: self.connected_at },
            user_id: self.user_id,
            channels: self.channels.into_iter().map(|place| place.channel).collect(),
            auto_subscribe: self.follows,
            allowed_channels: self.limited_to,
            left_out: self.left_out,
            token_expires_at: self.token_expires_at,
            expires_at: end_of(self.expires_at),
        }
    }
}

/// Reads a connection and its tenant from its item in a record of the stream.
pub(crate) fn of_image(
    id: ConnectionId,
    image: serde_dynamo::Item,
) -> Result<(Option<TenantId>, Connection), serde_dynamo::Error> {
    let mut item: ConnectionItem = serde_dynamo::from_item(image)?;
    Ok((item.tenant.take(), item.connection(id)))
}

/// Returns whether an image of a connection's item is that of a pending connection.
pub(crate) fn is_pending(image: &serde_dynamo::Item) -> bool {
    matches!(image.get("opening"), Some(serde_dynamo::AttributeValue::Bool(true)))
}

impl DynamoConnections {
    /// Returns the items of a pending connection: its own, which has no channels, and the one among its user's.
    pub(super) fn pending_items(&self, connection: &Connection) -> Result<[Item; 2], StoreError> {
        let ConnectionKey { id, connected_at } = &connection.key;
        let mut own = write(
            "PutItem",
            ConnectionItem {
                user_id: connection.user_id.clone(),
                tenant: self.tenant.clone(),
                limited_to: connection.allowed_channels.clone(),
                channels: Vec::new(),
                follows: connection.auto_subscribe,
                left_out: 0,
                opening: true,
                connected_at: *connected_at,
                token_expires_at: connection.token_expires_at,
                expires_at: kept_until(connection.expires_at),
            },
        )?;
        own.extend(keys::connection(id));
        let mut of_user = write(
            "PutItem",
            UserConnectionItem {
                follows: connection.auto_subscribe,
                limited_to: connection.allowed_channels.clone(),
                connected_at: *connected_at,
                expires_at: kept_until(connection.expires_at),
            },
        )?;
        of_user.extend(self.keys.user_connection(&connection.user_id, id));
        Ok([own, of_user])
    }

    /// Adds subscriptions in these places to a connection's item, with its `left_out`, and ends its opening. A channel that
    /// has a place in the item keeps it. Returns all places of the item, or `None` if there is no such connection.
    pub(super) async fn open_item(
        &self,
        connection: &Connection,
        places: &[Place],
    ) -> Result<Option<Vec<Place>>, StoreError> {
        let mut stored: Vec<Place> = Vec::new();
        for _ in 0..OPEN_ATTEMPTS {
            let is_new = |place: &&Place| stored.iter().all(|one| one.channel != place.channel);
            let added: Vec<&Place> = places.iter().filter(is_new).collect();
            match self.open_update(connection, &added, &stored).send().await {
                Ok(updated) => {
                    let item = updated.attributes.unwrap_or_default();
                    return Ok(Some(read::<ConnectionItem>("UpdateItem", item)?.channels));
                }
                Err(SdkError::ServiceError(context)) => {
                    let UpdateItemError::ConditionalCheckFailedException(refused) = context.err() else {
                        return Err(sdk_error("UpdateItem", SdkError::ServiceError(context)));
                    };
                    let Some(item) = refused.item() else { return Ok(None) };
                    let current: ConnectionItem = read("UpdateItem", item.clone())?;
                    if current.connected_at != connection.key.connected_at {
                        return Ok(None);
                    }
                    stored = current.channels;
                }
                Err(error) => return Err(sdk_error("UpdateItem", error)),
            }
        }
        let source = "channels were added to the connection during each attempt".into();
        Err(StoreError { operation: "UpdateItem", retryable: true, source })
    }

    /// Returns the update that opens a connection whose item has the places `stored`.
    fn open_update(&self, connection: &Connection, added: &[&Place], stored: &[Place]) -> UpdateItemFluentBuilder {
        let texts =
            |places: &mut dyn Iterator<Item = &Place>| AttributeValue::Ss(places.map(ToString::to_string).collect());
        let (mut expression, mut condition) =
            ("SET left_out = :left_out REMOVE opening".to_owned(), AS_CONNECTED.to_owned());
        let mut values = Item::from([
            (":left_out".to_owned(), n(connection.left_out)),
            (":connected_at".to_owned(), s(connection.key.connected_at.to_string())),
        ]);
        if !added.is_empty() {
            expression.push_str(" ADD channels :channels");
            values.insert(":channels".to_owned(), texts(&mut added.iter().copied()));
            // So that no channel gets a second place.
            if stored.is_empty() {
                condition.push_str(" AND attribute_not_exists(channels)");
            } else {
                condition.push_str(" AND channels = :stored");
                values.insert(":stored".to_owned(), texts(&mut stored.iter()));
            }
        }
        self.update(keys::connection(&connection.key.id))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    pub(super) async fn connection_item(&self, id: &ConnectionId) -> Result<Option<ConnectionItem>, StoreError> {
        self.get(keys::connection(id)).await?.map(|item| read("GetItem", item)).transpose()
    }

    /// Writes the times and allowed channels of a renewed connection to one of its items. Returns the item, if it still
    /// belongs to that connection.
    pub(super) async fn renew_item(
        &self,
        key: Item,
        connection: &Connection,
        is_own: bool,
    ) -> Result<Option<Item>, StoreError> {
        let mut expression = "SET expires_at = :expires_at".to_owned();
        let mut values = Item::from([
            (":expires_at".to_owned(), n(kept_until(connection.expires_at))),
            (":connected_at".to_owned(), s(connection.key.connected_at.to_string())),
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
}
