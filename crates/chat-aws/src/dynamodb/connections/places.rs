//! Places of subscriptions: the parts that a big channel's subscriptions are divided into.
//!
//! A partition takes 3,000 read and 1,000 write units a second ("Partitions and data distribution" in the DynamoDB
//! developer guide). So the subscriptions of a crowd have several partitions. Their number is stored twice, in one
//! transaction: in `chan#<key>` / `a-parts`, which a reader of the subscriptions reads with the gate, and in the list of
//! divided channels, which a writer reads. It only grows.
//!
//! - A reader always knows the current number, and reads that many partitions. A channel with one part has no such item,
//!   so its reader reads as many units as without parts.
//! - A writer uses the number that its environment has read in the last [`KNOWN_DURATION`]. An old number is smaller,
//!   and those parts are read too. So the list costs half a read unit in that time, and nothing for each channel.
//! - The connection's own item names the place of each of its subscriptions, and admits one place for each channel. So
//!   each subscription exists once, and is found again after a growth.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chat::{
    model::{
        connection::{Audience, ConnectionKey},
        error::StoreError,
        id::ConnectionId,
        incarnation::ChannelKey,
        parts::{AudienceCursor, Parts},
        time::Timestamp,
    },
    ports::{
        clock::{Clock, SystemClock},
        connection_store::AudiencePage,
    },
};

use super::{
    DynamoConnections, connection_id, living,
    subscriptions::{parts, read_audience},
};
use crate::dynamodb::{
    item::{Item, n, text},
    keys::{self, Place},
    transaction::{Part, Transaction, Write},
};

/// Maximum age of the list of divided channels by which a writer chooses a part.
const KNOWN_DURATION: Duration = Duration::from_secs(10);

/// Number of subscriptions in a part on average from which a channel gets twice as many parts: about 1 MB, which takes
/// 250 read units.
const PART_SUBSCRIPTIONS: usize = 5_000;

/// `expires_at` of items that do not expire: the end of the year 9999.
const NEVER: i64 = 253_402_300_799;

/// Numbers of parts of divided channels, by the channel's key with its tenant.
#[derive(Debug)]
pub(super) struct KnownParts {
    /// Maximum age of the list.
    duration: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Time of [`Clock::monotonic`].
    read_at: Option<Duration>,
    parts: HashMap<String, Parts>,
}

impl Default for KnownParts {
    fn default() -> Self {
        Self::for_at_most(KNOWN_DURATION)
    }
}

impl KnownParts {
    pub(super) fn for_at_most(duration: Duration) -> Self {
        Self { duration, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the list has to be read at `now`, and notes that it is.
    fn is_due(&self, now: Duration) -> bool {
        let mut known = self.lock();
        let is_due = known.read_at.is_none_or(|at| now.saturating_sub(at) >= self.duration);
        if is_due {
            known.read_at = Some(now);
        }
        is_due
    }
}

impl DynamoConnections {
    /// Returns the place into which a subscription is written, by the known number of parts.
    pub(super) fn place(&self, channel: &ChannelKey, id: &ConnectionId) -> Place {
        let parts = self.known.lock().parts.get(&self.keys.channel(channel)).copied().unwrap_or_default();
        Place { channel: channel.clone(), part: parts.part_of(id) }
    }

    /// Reads the list of divided channels, unless it was read a short time ago. After a failure the parts known before
    /// are used.
    pub(super) async fn learn_parts(&self) {
        if !self.known.is_due(SystemClock.monotonic()) {
            return;
        }
        match self.all(|| self.partition(keys::divided_channels()).consistent_read(false)).await {
            Ok(items) => {
                let read = |item: &Item| Some((text(item, "sk")?.to_owned(), parts(item)?));
                self.known.lock().parts = items.iter().filter_map(read).collect();
            }
            Err(error) => tracing::warn!(%error, "the divided channels were not read"),
        }
    }

    /// Returns the stored number of parts of a channel.
    pub(super) async fn stored_parts(&self, channel: &ChannelKey) -> Result<Parts, StoreError> {
        Ok(self.get(self.keys.parts(channel)).await?.as_ref().and_then(parts).unwrap_or_default())
    }

    /// Returns the place of a subscription that its connection's item names.
    pub(super) async fn recorded_place(
        &self,
        channel: &ChannelKey,
        connection: &ConnectionKey,
    ) -> Result<Option<Place>, StoreError> {
        let item = self.connection_item(&connection.id).await?;
        let item = item.filter(|item| item.tenant == self.tenant && item.connected_at == connection.connected_at);
        Ok(item.and_then(|item| item.channels.into_iter().find(|place| place.channel == *channel)))
    }

    /// Returns the places in which a subscription may be that its connection's item does not name.
    pub(super) async fn possible_places(
        &self,
        channel: &ChannelKey,
        connection: &ConnectionKey,
    ) -> Result<Vec<Place>, StoreError> {
        if let Some(place) = self.recorded_place(channel, connection).await? {
            return Ok(vec![place]);
        }
        let parts = self.stored_parts(channel).await?;
        let possible = Parts::possible_of(&connection.id).into_iter().filter(|part| *part < parts.count());
        Ok(possible.map(|part| Place { channel: channel.clone(), part }).collect())
    }

    /// Reads a page of a channel's audience, of at most `limit` items. The first one has the gate.
    pub(super) async fn page(
        &self,
        channel: &ChannelKey,
        at: Option<&AudienceCursor>,
        limit: Option<i32>,
        now: Timestamp,
    ) -> Result<AudiencePage, StoreError> {
        let mut cursor = at.cloned().unwrap_or_else(|| AudienceCursor::start(Parts::ONE));
        let place = Place { channel: channel.clone(), part: cursor.part };
        let mut start = cursor.after.take().map(|id| self.keys.subscription(&place, &id));
        let mut audience = Audience::default();
        let next = loop {
            let query = living(self.partition(self.keys.part(&place)), now).set_limit(limit);
            let query = query.set_exclusive_start_key(start.take());
            let Some(last) = read_audience(query, &mut audience, &mut cursor.parts).await? else {
                break cursor.next_part();
            };
            if let Ok(after) = connection_id(&last) {
                break Some(AudienceCursor { after: Some(after), ..cursor.clone() });
            }
            // The page ends before the first subscription.
            start = Some(last);
        };
        let Audience { gate, subscriptions } = audience;
        Ok(AudiencePage { gate, subscriptions, parts: cursor.parts, next })
    }

    /// Stores the number of parts that this many subscriptions need, if it is larger than `read` and than the stored one.
    pub(super) async fn divide_into(
        &self,
        channel: &ChannelKey,
        read: Parts,
        subscriptions: usize,
    ) -> Result<(), StoreError> {
        let wanted = Parts::for_subscriptions(subscriptions, PART_SUBSCRIPTIONS);
        if wanted <= read {
            return Ok(());
        }
        let mut transaction = Transaction::default();
        for key in [self.keys.parts(channel), self.keys.divided_channel(channel)] {
            let update = Write::update(&self.table, key, "SET #parts = :parts, expires_at = :never")
                .when("attribute_not_exists(#parts) OR #parts < :parts")
                .name("parts", "parts")
                .value("parts", n(wanted.count()))
                .value("never", n(NEVER));
            transaction.add(Part::Other, update)?;
        }
        // If it is refused, another delivery has stored as many.
        transaction.run(&self.client).await?;
        self.known.lock().parts.insert(self.keys.channel(channel), wanted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_divided_channels_is_read_again_after_a_while() {
        let known = KnownParts::default();
        let at = |seconds| known.is_due(Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 10, 11, 19, 20].map(at), [true, false, false, true, false, false, true]);
    }
}
