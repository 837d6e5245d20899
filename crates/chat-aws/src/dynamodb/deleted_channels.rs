//! Removal of the items of deleted channels, and the pending ends that request it.
//!
//! All items have the key of one incarnation, which no other channel has. So they are removed by key alone; a new
//! channel with the same id has different keys.

use aws_sdk_dynamodb::Client;
use chat::{
    model::{error::StoreError, id::TenantId, incarnation::ChannelKey, pending_end::PendingEnd, time::Timestamp},
    ports::{deleted_channels::DeletedChannels, due_ends::DueEnds},
};

use crate::{
    dynamodb::{
        batch,
        item::{Item, n, s, text},
        keys::{self, Keys},
        pending_items,
    },
    sdk::sdk_error,
};

/// Maximum number of items that are listed and removed at a time.
const PAGE: i32 = 100;

/// Removes the items of deleted channels of one tenant, and lists the pending ends of all tenants.
#[derive(Debug, Clone)]
pub struct DynamoDeletedChannels {
    client: Client,
    events: String,
    channels: String,
    keys: Keys,
}

impl DynamoDeletedChannels {
    /// Creates a store for channels in the table `channels` and messages in the table `events`.
    #[must_use]
    pub fn new(client: Client, events: impl Into<String>, channels: impl Into<String>) -> Self {
        Self { client, events: events.into(), channels: channels.into(), keys: Keys::default() }
    }

    /// Returns the deleted channels of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    /// Returns the keys of up to [`PAGE`] items of a partition.
    async fn page(&self, table: &str, partition: &str, sort: &str) -> Result<Vec<Item>, StoreError> {
        // `joined_at` of a member is part of the key in the list of memberships that its user chose.
        let page = self
            .client
            .query()
            .table_name(table)
            .key_condition_expression("channel_id = :partition")
            .expression_attribute_values(":partition", s(partition))
            .projection_expression("channel_id, #sort, joined_at")
            .expression_attribute_names("#sort", sort)
            .consistent_read(true)
            .limit(PAGE)
            .send()
            .await
            .map_err(|error| sdk_error("Query", error))?;
        Ok(page.items.unwrap_or_default())
    }

    async fn remove(&self, table: &str, keys: Vec<Item>) -> Result<(), StoreError> {
        let keys = keys.into_iter().map(|mut key| {
            key.remove("joined_at");
            key
        });
        let requests = keys.map(batch::delete).collect::<Result<_, _>>()?;
        batch::write(&self.client, table, requests).await
    }
}

impl DueEnds for DynamoDeletedChannels {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(Option<TenantId>, PendingEnd)>, StoreError> {
        let mut due = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.channels)
                .key_condition_expression("channel_id = :partition")
                .filter_expression("lease_until <= :now")
                .expression_attribute_values(":partition", s(keys::pendings()))
                .expression_attribute_values(":now", n(now.as_millis()))
                .consistent_read(true)
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| sdk_error("Query", error))?;
            for item in page.items.unwrap_or_default() {
                let id = text(&item, "sk").unwrap_or_default().to_owned();
                match pending_items::from_item("Query", item) {
                    Ok(found) => due.push(found),
                    Err(error) => tracing::error!(%error, id, "pending end could not be read"),
                }
                if due.len() >= limit {
                    return Ok(due);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(due);
            }
        }
    }
}

impl DeletedChannels for DynamoDeletedChannels {
    async fn remove_some(&self, channel: &ChannelKey) -> Result<bool, StoreError> {
        let of_channel = self.keys.channel(channel);
        for (table, partition, sort) in
            [(&self.events, &of_channel, "seq"), (&self.channels, &self.keys.change_records(channel), "sk")]
        {
            let page = self.page(table, partition, sort).await?;
            if !page.is_empty() {
                self.remove(table, page).await?;
                return Ok(false);
            }
        }
        let items = self.page(&self.channels, &of_channel, "sk").await?;
        if items.is_empty() {
            return Ok(true);
        }
        // These items are deleted before the members, because a retry after an interruption finds them through the
        // members.
        let members = items.iter().filter_map(|item| keys::member_of(text(item, "sk")?));
        let mut listed: Vec<Item> = members.map(|user| self.keys.listed(&user, channel)).collect();
        // Deleted for members who were added too: no other item has this key.
        listed.extend(items.iter().filter_map(|item| {
            let user = keys::member_of(text(item, "sk")?)?;
            let joined_at = text(item, "joined_at")?.parse::<Timestamp>().ok()?;
            Some(self.keys.chosen(&user, channel, joined_at))
        }));
        let invited = items.iter().filter_map(|item| keys::invited_of(text(item, "sk")?));
        listed.extend(invited.map(|user| self.keys.listed_invitation(&user, channel)));
        self.remove(&self.channels, listed).await?;
        self.remove(&self.channels, items).await?;
        Ok(false)
    }
}
