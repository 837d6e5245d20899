//! Items of idempotency records in `chat_channels`: see [`crate::dynamodb::keys`].

use chat::{
    model::{id::MessageId, seq::Seq, time::Timestamp},
    ports::message_store::{IdempotencyRecord, RecordKey},
};
use serde::{Deserialize, Serialize};

/// Idempotency record of a request or of a reply.
#[derive(Serialize, Deserialize)]
pub(super) struct RecordItem {
    pub(super) fingerprint: String,
    pub(super) message_id: MessageId,
    pub(super) seq: Seq,
    /// TTL: seconds since the Unix epoch.
    pub(super) expires_at: i64,
}

impl RecordItem {
    /// Returns the record of `key`.
    pub(super) fn record(self, key: &RecordKey) -> IdempotencyRecord {
        IdempotencyRecord {
            key: key.clone(),
            fingerprint: self.fingerprint,
            message_id: self.message_id,
            seq: self.seq,
            expires_at: Timestamp::from_secs(self.expires_at),
        }
    }
}
