//! [`PresenceStore`] in `chat_connections`.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use chat::{
    model::{error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp},
    ports::presence_store::PresenceStore,
};

use super::DynamoConnections;
use crate::{
    dynamodb::item::{n, number},
    sdk::sdk_error,
};

/// Time for which the announced presence of a user is stored: longer than a connection can last.
const PRESENCE_KEPT: Duration = Duration::from_hours(24);

impl PresenceStore for DynamoConnections {
    async fn mark_online(&self, channel: &ChannelKey, user: &UserId, now: Timestamp) -> Result<bool, StoreError> {
        let mut item = self.keys.presence(channel, user);
        item.insert("expires_at".to_owned(), n(now.plus(PRESENCE_KEPT).as_secs()));
        let put = self.client.put_item().table_name(&self.table).return_values(ReturnValue::AllOld);
        let put = put.set_item(Some(item)).send().await.map_err(|error| sdk_error("PutItem", error))?;
        let before = put.attributes.and_then(|item| number(&item, "expires_at"));
        Ok(before.is_none_or(|secs| secs <= now.as_secs()))
    }

    async fn is_online(&self, channel: &ChannelKey, user: &UserId) -> Result<bool, StoreError> {
        Ok(self.get(self.keys.presence(channel, user)).await?.is_some())
    }

    async fn mark_offline(&self, channel: &ChannelKey, user: &UserId) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table);
        let deleted = delete.set_key(Some(self.keys.presence(channel, user))).send().await;
        deleted.map_err(|error| sdk_error("DeleteItem", error))?;
        Ok(())
    }
}
