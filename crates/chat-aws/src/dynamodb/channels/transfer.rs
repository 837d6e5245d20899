//! Exports and imports of channels and members: see [`crate::dynamodb::transfer`].

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use chat::{
    model::{
        channel::{Channel, Member},
        error::StoreError,
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        rev::Rev,
        seq::Seq,
    },
    ports::{
        channel_store::{ChannelStore, MemberPage},
        channel_transfer::{ChannelIds, Published},
        clock::SystemClock,
    },
};

use super::DynamoChannels;
use crate::{
    dynamodb::{
        batch, instructions,
        item::{Item, attribute, n, read, s, text},
        keys, last_change,
        pace::Pace,
        transaction::{OPERATION, Part, Ran, Transaction, Write},
    },
    sdk::{decode_error, sdk_error},
};

/// Separator of the parts of a position in the list of all channels. No key contains it.
const POSITION_SEPARATOR: char = '\n';

impl DynamoChannels {
    /// Reads the next 1 MB of the table, and returns the ids of its channels.
    pub(crate) async fn scan_ids(&self, after: Option<&str>, pace: &Pace) -> Result<ChannelIds, StoreError> {
        let start = after
            .and_then(|after| after.split_once(POSITION_SEPARATOR))
            .map(|(partition, sort)| Item::from([("channel_id".to_owned(), s(partition)), ("sk".to_owned(), s(sort))]));
        pace.reads.wait(&SystemClock).await;
        let page = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("sk = :meta")
            .expression_attribute_values(":meta", s(keys::META))
            .projection_expression("channel_id")
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| sdk_error("Scan", error))?;
        let units = page.consumed_capacity.as_ref().and_then(|capacity| capacity.capacity_units);
        pace.reads.take(&SystemClock, units.unwrap_or(0.0));
        let ids =
            page.items.iter().flatten().map(|item| keys::channel_id(text(item, "channel_id").unwrap_or_default()));
        let ids = ids.collect::<Result<_, _>>().map_err(|error| decode_error("Scan", error))?;
        let next = page
            .last_evaluated_key
            .and_then(|key| Some(format!("{}{POSITION_SEPARATOR}{}", text(&key, "channel_id")?, text(&key, "sk")?)));
        Ok(ChannelIds { ids, next })
    }

    pub(crate) async fn exported_channel(&self, id: &ChannelId) -> Result<Option<(Channel, Rev)>, StoreError> {
        let found = last_change::channel_with_rev(&self.client, &self.table, &self.keys, id).await?;
        let Some((channel, rev)) = found else { return Ok(None) };
        let mut channels = [channel];
        self.read_instructions(&mut channels).await?;
        let [channel] = channels;
        Ok(Some((channel, rev)))
    }

    /// Returns a page of members with their read marks. Counts one unit for each of the two items of a member.
    pub(crate) async fn exported_members(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
        pace: &Pace,
    ) -> Result<Vec<(Member, Seq)>, StoreError> {
        pace.reads.wait(&SystemClock).await;
        let MemberPage { members, .. } = self.members(channel, after, limit).await?;
        let wanted: Vec<_> = members.iter().map(|member| (channel.clone(), member.user_id.clone())).collect();
        let marks = self.read_marks(&wanted).await?;
        pace.reads.take(&SystemClock, f64::from(u32::try_from(2 * members.len()).unwrap_or(u32::MAX)));
        let marked = members.into_iter().zip(&wanted).map(|(member, place)| {
            let mark = marks.get(place).copied().unwrap_or_default();
            (member, mark)
        });
        Ok(marked.collect())
    }

    pub(crate) async fn import(
        &self,
        channel: &ChannelKey,
        members: &[(Member, Seq)],
        pace: &Pace,
    ) -> Result<(), StoreError> {
        let mut requests = Vec::new();
        for (member, read_seq) in members {
            requests.push(batch::put(self.place().member_item(channel, member)?)?);
            requests.push(batch::put(self.listed_item(channel, member, *read_seq))?);
            if member.added_by.is_none() {
                requests.push(batch::put(self.keys.chosen(&member.user_id, channel, member.joined_at))?);
            }
        }
        batch::write_within(&self.client, &self.table, requests, &pace.writes).await
    }

    pub(crate) async fn publish_imported(
        &self,
        channel: &Channel,
        owners: usize,
        rev: Rev,
    ) -> Result<Published, StoreError> {
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, self.put_new(self.meta_item(channel)?).showing_old())?;
        transaction.add(Part::Other, Write::put(&self.table, self.place().new_access(channel, owners)?))?;
        instructions::change(&mut transaction, &self.table, &self.keys, None, channel)?;
        let count = Write::update(&self.table, self.keys.created(&channel.created_by), "ADD #channels :one")
            .name("channels", "channels")
            .value("one", n(1));
        transaction.add(Part::Created, count)?;
        self.list_publicly(&mut transaction, None, Some(channel))?;
        if rev > Rev::ZERO {
            let mut last = self.keys.last_change(&channel.channel_id);
            last.insert("rev".to_owned(), n(rev));
            last.insert("incarnation".to_owned(), attribute(OPERATION, channel.incarnation)?);
            transaction.add(Part::Changes, Write::put(&self.table, last))?;
        }
        let refused = match self.run(transaction).await? {
            Ran::Done => return Ok(Published::Done),
            Ran::Refused(refused) => refused,
        };
        let Some(item) = refused.item(Part::Channel) else {
            return Err(decode_error(OPERATION, "the channel was neither created nor there"));
        };
        let current: Channel = read(OPERATION, self.keys.plain(item.clone()))?;
        Ok(if current.incarnation == channel.incarnation { Published::Done } else { Published::Taken })
    }
}
