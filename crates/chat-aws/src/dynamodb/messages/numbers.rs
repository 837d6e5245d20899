//! Numbers of changes: the items that a change writes beside its message, and the reads by them.

use std::collections::BTreeSet;

use chat::model::{
    access::Authority,
    error::StoreError,
    incarnation::ChannelKey,
    message::Message,
    rev::{ChangeNumber, Rev},
    seq::Seq,
    time::Timestamp,
};

use super::{DynamoMessages, reads::is_live};
use crate::{
    dynamodb::{
        authority::Access,
        batch::{self, BATCH_GET},
        item::{Item, n, number, text},
        keys, last_change,
        range_query::range_query,
        transaction::{Part, Refused, Transaction, Write},
    },
    sdk::sdk_error,
};

impl DynamoMessages {
    /// Returns the transaction of a change of the message `seq`: the write of the message, that of the channel's number,
    /// the change's record, and the conditions of the authority.
    pub(super) fn numbered(
        &self,
        by: &Authority<'_>,
        message: Write,
        seq: Seq,
        number: ChangeNumber,
    ) -> Result<Transaction, StoreError> {
        let (channel, rev) = (by.channel.key(), number.rev());
        let key = self.keys.last_change(&channel.channel_id);
        let last = last_change::advance(&self.channels, key, channel.incarnation, number.last, rev)?;
        let mut record = self.keys.change(&channel, rev);
        record.insert("seq".to_owned(), n(seq));
        record.insert("expires_at".to_owned(), n(number.expires_at.as_secs()));
        let mut transaction = Transaction::default();
        transaction.add(Part::Message, message)?;
        transaction.add(Part::Changes, last)?;
        transaction.add(Part::Record, Write::put(&self.channels, record))?;
        self.place().require(&mut transaction, by, Access::Kept, None)?;
        Ok(transaction)
    }

    /// Returns up to `limit` records of changes after `after`, in order, up to the first one that has expired by `now`.
    pub(super) async fn read_changes(
        &self,
        channel: &ChannelKey,
        after: Rev,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<(Rev, Seq)>, StoreError> {
        let range = self.keys.changes(channel, after);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let query = range_query(&self.client, &self.channels, &range).limit(limit.into());
        let page = query.send().await.map_err(|error| sdk_error("Query", error))?;
        Ok(page.items.iter().flatten().take_while(|item| is_live(item, now)).filter_map(record).collect())
    }

    /// Returns those of up to 100 messages that have not expired by `now`, each with the number of its last change, in
    /// any order.
    pub(super) async fn read_among(
        &self,
        channel: &ChannelKey,
        seqs: &[Seq],
        now: Timestamp,
    ) -> Result<Vec<(Rev, Message)>, StoreError> {
        // DynamoDB refuses a request that names an item twice.
        let seqs: BTreeSet<Seq> = seqs.iter().copied().collect();
        let wanted = seqs.into_iter().map(|seq| self.keys.message(channel, seq)).collect();
        let items = batch::get(&self.client, &self.events, wanted).await?;
        let live = items.into_iter().filter(|item| is_live(item, now));
        live.map(|item| Ok((last_change::rev(&item), self.read_message(BATCH_GET, item)?))).collect()
    }
}

/// Returns the number of the channel's last change, if only that refused the change.
pub(super) fn behind(refused: &Refused, by: &Authority<'_>) -> Option<Rev> {
    let current = || last_change::last_rev(refused.item(Part::Changes), by.channel.incarnation);
    refused.is_of(Part::Changes).then(current)
}

/// Reads the number and the `seq` in the record of a change.
fn record(item: &Item) -> Option<(Rev, Seq)> {
    let rev = keys::rev_of(text(item, "sk")?)?;
    let seq = u64::try_from(number(item, "seq")?).ok()?;
    Some((rev, Seq::new(seq)))
}
