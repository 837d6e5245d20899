//! Reads of the parts of messages that lists of channels show and count.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use chat::model::{
    error::StoreError,
    incarnation::ChannelKey,
    preview::{MessageOutline, MessagePreview},
    seq::Seq,
    time::Timestamp,
};

use super::{DynamoMessages, reads::is_live};
use crate::{
    dynamodb::{
        batch::{self, BATCH_GET},
        item::{Item, n, read, s, text},
        keys,
    },
    sdk::{decode_error, sdk_error},
};

/// Attributes of a preview, and those of its key and its expiry.
const PREVIEW: &str = "channel_id, seq, #version, sender_id, #role, content, content_type, created_at, thread_seq, \
                       deleted_at, expires_at";

/// Attributes of an outline, and that of its expiry.
const OUTLINE: &str = "seq, sender_id, deleted_at, expires_at";

impl DynamoMessages {
    pub(super) async fn read_previews(
        &self,
        wanted: &[(ChannelKey, Seq)],
        now: Timestamp,
    ) -> Result<Vec<(ChannelKey, MessagePreview)>, StoreError> {
        // DynamoDB refuses a request that names an item twice. A channel whose name changes while the list of public
        // channels is read may be listed twice.
        let wanted: BTreeSet<&(ChannelKey, Seq)> = wanted.iter().collect();
        let wanted = wanted.into_iter().map(|(channel, seq)| self.keys.message(channel, *seq)).collect();
        let attributes = KeysAndAttributes::builder()
            .projection_expression(PREVIEW)
            .expression_attribute_names("#role", "role")
            .expression_attribute_names("#version", "version");
        let found = batch::get_attributes(&self.client, &self.events, wanted, attributes).await?;
        let previews = found.into_iter().filter(|item| is_live(item, now)).map(|item| {
            let (_, channel) = keys::channel_key(text(&item, "channel_id").unwrap_or_default())
                .map_err(|error| decode_error(BATCH_GET, error))?;
            Ok((channel, read(BATCH_GET, item)?))
        });
        previews.collect()
    }

    /// Looks at the newest `limit` messages between two `seq`. A query page ends at 1 MB, which 32 messages can fill.
    pub(super) async fn read_outlines(
        &self,
        channel: &ChannelKey,
        after: Seq,
        before: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<MessageOutline>, StoreError> {
        let (first, last) = (after.next(), Seq::new(before.get().saturating_sub(1)));
        let (mut outlines, mut looked_at, mut start) = (Vec::new(), 0, None::<Item>);
        // DynamoDB refuses a range whose end precedes its beginning.
        while first <= last && looked_at < usize::from(limit) {
            let rest = usize::from(limit) - looked_at;
            let page = self
                .client
                .query()
                .table_name(&self.events)
                .key_condition_expression("channel_id = :channel AND seq BETWEEN :first AND :last")
                .expression_attribute_values(":channel", s(self.keys.channel(channel)))
                .expression_attribute_values(":first", n(first))
                .expression_attribute_values(":last", n(last))
                .projection_expression(OUTLINE)
                .scan_index_forward(false)
                .limit(i32::try_from(rest).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| sdk_error("Query", error))?;
            let items = page.items.unwrap_or_default();
            looked_at += items.len();
            for item in items.into_iter().filter(|item| is_live(item, now)) {
                outlines.push(read("Query", item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(outlines)
    }
}
