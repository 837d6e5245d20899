//! [`PresenceStore`] in `chat_connections`.

use std::time::Duration;

use aws_sdk_dynamodb::{error::SdkError, operation::put_item::PutItemError, types::ReturnValue};
use chat::{
    model::{error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp},
    ports::presence_store::PresenceStore,
};

use super::DynamoConnections;
use crate::{
    dynamodb::item::{ABSENT_OR_EXPIRED, n},
    sdk::sdk_error,
};

/// Time for which the announced presence of a user is stored: longer than a connection can last.
const PRESENCE_KEPT: Duration = Duration::from_hours(24);

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
