//! Items of pending ends: `pending#` / `<id>` in `chat_channels`.

use chat::model::{
    error::StoreError,
    id::TenantId,
    parts::AudienceCursor,
    pending_end::{EndCause, PendingEnd},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    dynamodb::{
        item::{Item, read, text, write},
        keys::{self, Keys},
    },
    sdk::decode_error,
};

#[derive(Serialize, Deserialize)]
struct PendingItem {
    /// The channel key with its tenant.
    channel: String,
    #[serde(flatten)]
    cause: EndCause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<AudienceCursor>,
    /// Milliseconds since the Unix epoch.
    lease_until: i64,
}

/// Returns the item of a pending end.
pub(crate) fn item(operation: &'static str, keys: &Keys, pending: &PendingEnd) -> Result<Item, StoreError> {
    let fields = PendingItem {
        channel: keys.channel(&pending.channel),
        cause: pending.cause.clone(),
        after: pending.after.clone(),
        lease_until: pending.lease_until.as_millis(),
    };
    let mut item = write(operation, fields)?;
    item.extend(keys::pending(&pending.id));
    Ok(item)
}

/// Reads a pending end and its tenant.
pub(crate) fn from_item(operation: &'static str, item: Item) -> Result<(Option<TenantId>, PendingEnd), StoreError> {
    let id = text(&item, "sk").unwrap_or_default().parse().map_err(|error| decode_error(operation, error))?;
    let PendingItem { channel, cause, after, lease_until } = read(operation, item)?;
    let (tenant, channel) = keys::channel_key(&channel).map_err(|error| decode_error(operation, error))?;
    Ok((tenant, PendingEnd { id, channel, cause, after, lease_until: Timestamp::from_millis(lease_until) }))
}
