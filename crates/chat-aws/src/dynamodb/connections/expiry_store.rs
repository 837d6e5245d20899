//! Connections by the minute in which their tokens end, so that the maintenance function closes their sockets.

use std::time::Duration;

use chat::{
    model::{
        connection::Connection,
        error::StoreError,
        id::{ConnectionId, TenantId},
        time::Timestamp,
    },
    ports::{
        expiry_store::{ENDED_SOCKETS_MINUTES, ExpiryStore},
        socket_gateway::CONNECTION_DURATION,
    },
};

use super::{DynamoConnections, connection_id, updated};
use crate::{
    dynamodb::{
        item::{Item, n, number},
        keys,
    },
    sdk::sdk_error,
};

/// Time after its end for which a connection is listed as one to be closed. API Gateway has closed its socket by then.
const ENDED_KEPT: Duration = CONNECTION_DURATION.saturating_add(Duration::from_hours(1));

impl ExpiryStore for DynamoConnections {
    async fn ended_minutes(&self, now: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        let cursor = self.get(keys::ends_cursor()).await?.and_then(|item| number(&item, "minute"));
        let last = now.minute();
        let kept = i64::try_from(ENDED_KEPT.as_secs() / 60).unwrap_or(i64::MAX);
        let oldest = last.saturating_sub(kept);
        let first =
            cursor.map_or(oldest, |minute| minute.min(last).saturating_sub(ENDED_SOCKETS_MINUTES - 1).max(oldest));
        Ok((first..=last).map(|minute| Timestamp::from_secs(minute * 60)).collect())
    }

    async fn worked_off(&self, time: Timestamp) -> Result<(), StoreError> {
        let update = self
            .update(keys::ends_cursor())
            .update_expression("SET #minute = :minute")
            .condition_expression("attribute_not_exists(#minute) OR #minute < :minute")
            .expression_attribute_names("#minute", "minute")
            .expression_attribute_values(":minute", n(time.minute()));
        updated(update).await?;
        Ok(())
    }

    async fn expired_in_minute(&self, time: Timestamp) -> Result<Vec<ConnectionId>, StoreError> {
        let items = self.all(|| self.partition(keys::ends(time))).await?;
        items.iter().map(connection_id).collect()
    }

    async fn remove_expiry_entry(&self, time: Timestamp, id: &ConnectionId) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(keys::end(time, id)));
        delete.send().await.map_err(|error| sdk_error("DeleteItem", error))?;
        Ok(())
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<(Option<TenantId>, Connection)>, StoreError> {
        let Some(mut item) = self.connection_item(id).await? else { return Ok(None) };
        Ok(Some((item.tenant.take(), item.connection(id.clone()))))
    }
}

impl DynamoConnections {
    /// Lists a connection under the minute in which its token ends, unless API Gateway closes the socket earlier.
    pub(super) async fn list_end(&self, connection: &Connection) -> Result<(), StoreError> {
        match Self::end_item(connection) {
            Some(item) => self.put(item).await,
            None => Ok(()),
        }
    }

    /// Returns the entry of [`DynamoConnections::list_end`], if the connection has one.
    pub(super) fn end_item(connection: &Connection) -> Option<Item> {
        if connection.token_expires_at > connection.expires_at {
            return None;
        }
        let mut item = keys::end(connection.expires_at, &connection.key.id);
        item.insert("expires_at".to_owned(), n(connection.expires_at.plus(ENDED_KEPT).as_secs()));
        Some(item)
    }
}
