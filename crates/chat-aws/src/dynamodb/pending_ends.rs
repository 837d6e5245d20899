//! Pending ends: `pending#` / `<id>` in `chat_channels`. Each is written in the transaction that causes it.

use aws_sdk_dynamodb::{error::SdkError, operation::update_item::UpdateItemError, types::ReturnValue};
use chat::{
    model::{error::StoreError, pending_end::PendingEnd, time::Timestamp},
    ports::pending_ends::PendingEnds,
};

use crate::{
    dynamodb::{
        channels::DynamoChannels,
        item::{Item, n, s},
        keys, pending_items,
    },
    sdk::sdk_error,
};

impl DynamoChannels {
    /// Changes an existing record if a further condition holds. Returns the record after the change.
    async fn change_pending(
        &self,
        pending: &PendingEnd,
        update: &str,
        condition: &str,
        values: Item,
    ) -> Result<Option<Item>, StoreError> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(keys::pending(&pending.id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(
                update.contains("#after").then(|| [("#after".to_owned(), "after".to_owned())].into()),
            )
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match updated {
            Ok(updated) => Ok(updated.attributes),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(None)
            }
            Err(error) => Err(sdk_error("UpdateItem", error)),
        }
    }
}

impl PendingEnds for DynamoChannels {
    async fn lease(
        &self,
        pending: &PendingEnd,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<PendingEnd>, StoreError> {
        let values = Item::from([(":until".to_owned(), n(until.as_millis())), (":now".to_owned(), n(now.as_millis()))]);
        // A record that does not exist has no lease.
        let leased = self.change_pending(pending, "SET lease_until = :until", "lease_until <= :now", values).await?;
        leased.map(|item| Ok(pending_items::from_item("UpdateItem", item)?.1)).transpose()
    }

    async fn advance(&self, pending: &PendingEnd) -> Result<(), StoreError> {
        let mut values = Item::from([(":until".to_owned(), n(pending.lease_until.as_millis()))]);
        let update = match &pending.after {
            Some(after) => {
                values.insert(":after".to_owned(), s(after.to_string()));
                "SET lease_until = :until, #after = :after"
            }
            None => "SET lease_until = :until REMOVE #after",
        };
        self.change_pending(pending, update, "attribute_exists(sk)", values).await?;
        Ok(())
    }

    async fn finish(&self, pending: &PendingEnd) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(keys::pending(&pending.id)));
        delete.send().await.map_err(|error| sdk_error("DeleteItem", error))?;
        Ok(())
    }
}
