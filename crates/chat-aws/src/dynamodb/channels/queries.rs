//! Reads of `chat_channels`: one item, a batch of items, or a range of a partition.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::Select};
use chat::model::{channel::Channel, error::StoreError, id::ChannelId, incarnation::ChannelKey, seq::Seq};

use super::DynamoChannels;
use crate::{
    dynamodb::{
        batch::{self, BATCH_GET},
        instructions::{instructions_of, read_channel},
        item::{Item, number, text},
        keys::{self, SortRange},
        range_query::range_query,
    },
    sdk::{decode_error, sdk_error},
};

/// Maximum number of items of one query. A page ends at 1 MB in any case ("Query" in the DynamoDB API reference).
const QUERY_ITEMS: usize = 1_000;

impl DynamoChannels {
    pub(crate) async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| sdk_error("GetItem", error))?;
        Ok(found.item)
    }

    fn range(&self, range: &SortRange) -> QueryFluentBuilder {
        range_query(&self.client, &self.table, range)
    }

    /// Returns up to `limit` items of a range, the last first. Reads one query page of up to 1 MB.
    pub(super) async fn newest(&self, range: &SortRange, limit: usize) -> Result<Vec<Item>, StoreError> {
        let limit = i32::try_from(limit.clamp(1, QUERY_ITEMS)).unwrap_or(i32::MAX);
        let page = self.range(range).scan_index_forward(false).limit(limit).send().await;
        Ok(page.map_err(|error| sdk_error("Query", error))?.items.unwrap_or_default())
    }

    /// Returns the number of items in a range. Reads one query page of 1 MB, about 5,000 memberships.
    pub(super) async fn count(&self, range: &SortRange) -> Result<usize, StoreError> {
        let counted =
            self.range(range).select(Select::Count).send().await.map_err(|error| sdk_error("Query", error))?;
        Ok(usize::try_from(counted.count).unwrap_or_default())
    }

    /// Sends one query of a range from `start` on. Returns items and the start of the next query.
    async fn query(
        &self,
        range: &SortRange,
        limit: usize,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let page = self
            .range(range)
            .limit(i32::try_from(limit.min(QUERY_ITEMS)).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| sdk_error("Query", error))?;
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key))
    }

    /// Returns up to `limit` items of a range, and whether there are more.
    pub(crate) async fn page(&self, range: &SortRange, limit: usize) -> Result<(Vec<Item>, bool), StoreError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let (found, next) = self.query(range, limit + 1 - items.len(), start.take()).await?;
            items.extend(found);
            start = next;
            if start.is_none() || items.len() > limit {
                let more = items.len() > limit;
                items.truncate(limit);
                return Ok((items, more));
            }
        }
    }

    /// Returns up to 100 items by their keys, in any order. Missing items are left out.
    pub(crate) async fn batch_get(&self, wanted: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        batch::get(&self.client, &self.table, wanted).await
    }

    /// Returns the current channels of some ids: see [`of_key`].
    pub(crate) async fn channels(
        &self,
        ids: impl Iterator<Item = &ChannelId>,
    ) -> Result<BTreeMap<ChannelId, Channel>, StoreError> {
        // DynamoDB refuses a request that names an item twice.
        let ids: BTreeSet<&ChannelId> = ids.collect();
        let items = self.batch_get(ids.into_iter().map(|id| self.keys.meta(id)).collect()).await?;
        let channels = items.into_iter().map(|item| {
            let channel = read_channel(BATCH_GET, &self.keys, item)?;
            Ok((channel.channel_id.clone(), channel))
        });
        channels.collect()
    }

    /// Adds the instructions beside these channels, by one batch. Items that are gone were removed since the channels
    /// were read.
    pub(super) async fn read_instructions(&self, channels: &mut [Channel]) -> Result<(), StoreError> {
        let unread = channels.iter().filter(|channel| channel.agent.instructions.is_unread());
        let wanted: Vec<Item> = unread.map(|channel| self.keys.instructions(&channel.key())).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.batch_get(wanted).await?;
        let found: BTreeMap<_, _> = found.iter().map(|item| (place_of(item), instructions_of(item))).collect();
        for channel in channels.iter_mut().filter(|channel| channel.agent.instructions.is_unread()) {
            let place = place_of(&self.keys.instructions(&channel.key()));
            channel.agent.instructions = found.get(&place).cloned().unwrap_or_default();
        }
        Ok(())
    }
}

/// Returns the channel of a key, if its id still leads to this incarnation.
pub(super) fn of_key<'a>(found: &'a BTreeMap<ChannelId, Channel>, key: &ChannelKey) -> Option<&'a Channel> {
    found.get(&key.channel_id).filter(|channel| channel.incarnation == key.incarnation)
}

/// Returns the two parts of an item's key.
pub(super) fn place_of(item: &Item) -> (Option<String>, Option<String>) {
    let part = |name| text(item, name).map(str::to_owned);
    (part("channel_id"), part("sk"))
}

pub(super) fn read_seq(listed: &Item) -> Seq {
    number(listed, "read_seq").and_then(|seq| u64::try_from(seq).ok()).map(Seq::new).unwrap_or_default()
}

pub(super) fn listed_channel(item: &Item) -> Result<ChannelKey, StoreError> {
    keys::listed_channel(text(item, "sk").unwrap_or_default()).map_err(|error| decode_error("Query", error))
}
