//! The items of a connection: its own, which contains its tenant and its `channels` as a set of channel keys, and the
//! one among its user's connections.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::ReturnValue;
use chat::model::{
    connection::{Connection, ConnectionKey},
    error::StoreError,
    id::{ChannelId, ConnectionId, TenantId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{AS_CONNECTED, DynamoConnections, updated};
use crate::dynamodb::{
    expiry::{end_of, kept_until},
    item::{Item, attribute, n, read, s},
    keys::{self, Place},
};

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

impl DynamoConnections {
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
