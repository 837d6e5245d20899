//! Number of a channel's last change: `changes#<channel id>` / `last` in `chat_channels`, see
//! [`crate::dynamodb::keys`].
//!
//! The item has the key of the id alone, so that one batch reads it beside the channel. It names the incarnation that
//! it counts for. If it is absent, or counts for another incarnation, the number is 0.

use aws_sdk_dynamodb::Client;
use chat::model::{channel::Channel, error::StoreError, id::ChannelId, incarnation::Incarnation, rev::Rev};

use crate::dynamodb::{
    batch::{self, BATCH_GET},
    instructions::read_channel,
    item::{Item, attribute, n, number, text},
    keys::Keys,
    transaction::{OPERATION, Write},
};

const LAST: &str = "SET #rev = :next, incarnation = :incarnation";
const IS_LAST: &str = "incarnation = :incarnation AND #rev = :last";
const NONE_YET: &str = "attribute_not_exists(#rev) OR incarnation <> :incarnation";

/// Returns the channel that currently has an id, and the number of its last change, by one strongly consistent read.
pub(crate) async fn channel_with_rev(
    client: &Client,
    table: &str,
    keys: &Keys,
    id: &ChannelId,
) -> Result<Option<(Channel, Rev)>, StoreError> {
    let (meta, last) = (keys.meta(id), keys.last_change(id));
    let found = batch::get(client, table, vec![meta.clone(), last]).await?;
    let (metas, lasts): (Vec<Item>, Vec<Item>) =
        found.into_iter().partition(|item| item.get("channel_id") == meta.get("channel_id"));
    let Some(item) = metas.into_iter().next() else { return Ok(None) };
    let channel = read_channel(BATCH_GET, keys, item)?;
    let rev = last_rev(lasts.first(), channel.incarnation);
    Ok(Some((channel, rev)))
}

/// Returns the number in the item of a last change, for this incarnation of its channel.
pub(crate) fn last_rev(item: Option<&Item>, incarnation: Incarnation) -> Rev {
    let of_channel = item.filter(|item| text(item, "incarnation") == Some(incarnation.to_string().as_str()));
    of_channel.map(rev).unwrap_or_default()
}

/// Returns the number in an item: of a channel's last change, or of a message's.
pub(crate) fn rev(item: &Item) -> Rev {
    number(item, "rev").and_then(|rev| u64::try_from(rev).ok()).map(Rev::new).unwrap_or_default()
}

/// Returns the write of a channel's next number, on condition that `last` is the number of its last change.
pub(crate) fn advance(
    table: &str,
    key: Item,
    incarnation: Incarnation,
    last: Rev,
    next: Rev,
) -> Result<Write, StoreError> {
    let write = Write::update(table, key, LAST)
        .name("rev", "rev")
        .value("next", n(next))
        .value("incarnation", attribute(OPERATION, incarnation)?)
        .showing_old();
    // DynamoDB refuses a value that no expression uses.
    Ok(if last == Rev::ZERO { write.when(NONE_YET) } else { write.when(IS_LAST).value("last", n(last)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::item::s;

    #[test]
    fn a_number_counts_for_its_own_incarnation_only() {
        let [one, other] =
            ["01arz3ndektsv4rrffq69g5fa1", "01arz3ndektsv4rrffq69g5fa2"].map(|text| text.parse().unwrap());
        let item = |rev: &str| {
            let number = aws_sdk_dynamodb::types::AttributeValue::N(rev.to_owned());
            Item::from([("rev".to_owned(), number), ("incarnation".to_owned(), s("01arz3ndektsv4rrffq69g5fa1"))])
        };
        assert_eq!(last_rev(Some(&item("7")), one), Rev::new(7));
        assert_eq!(last_rev(Some(&item("7")), other), Rev::ZERO);
        assert_eq!(last_rev(None, one), Rev::ZERO);
        assert_eq!(last_rev(Some(&Item::new()), one), Rev::ZERO);
    }
}
