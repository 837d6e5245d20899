//! Scan of the three tables for the data of a user: see [`crate::dynamodb::keys`].
//!
//! No index finds the messages of a user, because only an export and an erasure need it. So both read all tables. A rate
//! limits the read capacity that they use, so that requests of users are not throttled.

mod data;
mod place;

use aws_sdk_dynamodb::{Client, types::ReturnConsumedCapacity};
use chat::{
    model::{
        error::StoreError,
        id::{TenantId, UserId},
        time::Timestamp,
        user_item::{Extent, ItemPlace, ScanPosition, UserItem},
    },
    ports::{
        clock::SystemClock,
        user_items::{UserItemPage, UserItems},
    },
};

use self::{
    data::{CHANNEL_NAMES, MESSAGE_NAMES, Wanted},
    place::{Table, key_of, place, position, start_of},
};
use crate::{
    dynamodb::{
        connections::{
            presence_store::{LISTENERS, MARK, renamed},
            updated,
        },
        item::{Item, s},
        keys::Keys,
        pace::Pace,
    },
    sdk::sdk_error,
};

const SCAN: &str = "Scan";

/// Maximum number of items of one request. A page ends at 1 MB in any case ("Scan" in the DynamoDB API reference).
const PAGE: i32 = 1_000;

/// Scan of the tables for the data of users.
#[derive(Debug, Clone)]
pub struct DynamoUserItems {
    client: Client,
    events: String,
    channels: String,
    connections: String,
    tenant: Option<TenantId>,
    keys: Keys,
    pace: Pace,
}

impl DynamoUserItems {
    /// Creates a scan of the tables with these names.
    #[must_use]
    pub fn new(
        client: Client,
        events: impl Into<String>,
        channels: impl Into<String>,
        connections: impl Into<String>,
    ) -> Self {
        Self {
            client,
            events: events.into(),
            channels: channels.into(),
            connections: connections.into(),
            tenant: None,
            keys: Keys::default(),
            pace: Pace::default(),
        }
    }

    /// Returns the scan for users of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { tenant: tenant.cloned(), keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    /// Limits the read capacity units that scans use per second. Each part waits as long as those before it took.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    fn name(&self, table: Table) -> &str {
        match table {
            Table::Connections => &self.connections,
            Table::Channels => &self.channels,
            Table::Events => &self.events,
        }
    }

    /// Replaces a user in one field of an item, if the field names the user.
    async fn rename(
        &self,
        table: Table,
        key: Item,
        field: &str,
        user: &UserId,
        alias: &UserId,
    ) -> Result<(), StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(self.name(table))
            .set_key(Some(key))
            .update_expression("SET #field = :alias")
            .condition_expression("#field = :user")
            .expression_attribute_names("#field", field)
            .expression_attribute_values(":alias", s(alias.as_str()))
            .expression_attribute_values(":user", s(user.as_str()));
        updated(update).await?;
        Ok(())
    }

    /// Replaces a user among the listeners of a channel. If they are written meanwhile, the next scan finds the user
    /// again.
    async fn rename_listener(&self, key: Item, user: &UserId, alias: &UserId) -> Result<(), StoreError> {
        let get = self.client.get_item().table_name(&self.connections).set_key(Some(key.clone()));
        let found = get.consistent_read(true).send().await.map_err(|error| sdk_error("GetItem", error))?;
        let Some(item) = found.item else { return Ok(()) };
        let Some(mark) = item.get(MARK).cloned() else { return Ok(()) };
        let update = self
            .client
            .update_item()
            .table_name(&self.connections)
            .set_key(Some(key))
            .update_expression("SET #listeners = :listeners")
            .condition_expression("#mark = :mark")
            .expression_attribute_names("#listeners", LISTENERS)
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":listeners", renamed("GetItem", item, user, alias)?)
            .expression_attribute_values(":mark", mark);
        updated(update).await?;
        Ok(())
    }
}

impl UserItems for DynamoUserItems {
    async fn scan(
        &self,
        user: &UserId,
        extent: Extent,
        from: Option<&ScanPosition>,
        now: Timestamp,
    ) -> Result<UserItemPage, StoreError> {
        let (table, start) = match from {
            Some(from) => start_of(from)?,
            None => (Table::Connections, None),
        };
        self.pace.reads.wait(&SystemClock).await;
        let page = self
            .client
            .scan()
            .table_name(self.name(table))
            .consistent_read(true)
            .limit(PAGE)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| sdk_error(SCAN, error))?;
        let units = page.consumed_capacity.and_then(|used| used.capacity_units);
        self.pace.reads.take(&SystemClock, units.unwrap_or(0.0));
        let (wanted, read) = (Wanted { user, extent, now }, page.items.unwrap_or_default());
        let mut items = Vec::new();
        for item in &read {
            let place = place(table, item)?;
            let data = self.data(table, item, wanted)?;
            items.extend(data.into_iter().map(|data| UserItem { place: place.clone(), data }));
        }
        let next = match (page.last_evaluated_key, table.next()) {
            (Some(last), _) => Some(position(table, Some(&last))?),
            (None, Some(table)) => Some(position(table, None)?),
            (None, None) => None,
        };
        Ok(UserItemPage { items, next, read: u64::try_from(read.len()).unwrap_or(u64::MAX) })
    }

    async fn delete_item(&self, place: &ItemPlace) -> Result<(), StoreError> {
        let (table, key) = key_of(place)?;
        let delete = self.client.delete_item().table_name(self.name(table)).set_key(Some(key));
        delete.send().await.map_err(|error| sdk_error("DeleteItem", error))?;
        Ok(())
    }

    async fn rename_user(&self, place: &ItemPlace, user: &UserId, alias: &UserId) -> Result<(), StoreError> {
        let (table, key) = key_of(place)?;
        let fields = match table {
            Table::Connections => return self.rename_listener(key, user, alias).await,
            Table::Channels => CHANNEL_NAMES,
            Table::Events => MESSAGE_NAMES,
        };
        for field in fields {
            self.rename(table, key.clone(), field, user, alias).await?;
        }
        Ok(())
    }
}
