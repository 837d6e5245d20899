//! Port that dispatches push batches to another function.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::model::{
    connection::{ConnectionKey, Subscription},
    error::StoreError,
    id::{ConnectionId, UserId},
    incarnation::ChannelKey,
    time::Timestamp,
};

/// Maximum number of recipients of a dispatched batch.
pub const SHARD_CONNECTIONS: usize = 500;

/// Maximum size of the frames of a dispatched batch, in bytes. An asynchronous invocation takes 1 MB ("Lambda
/// quotas"). The rest is for the recipients.
pub const SHARD_BYTES: usize = 600_000;

/// Dispatcher of push batches to another function, which processes them asynchronously.
pub trait FanOut: Send + Sync {
    /// Dispatches `batch`. After this has returned, the other function is responsible for it.
    fn dispatch(&self, batch: &PushBatch) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Connection that is to receive frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields")]
pub struct Recipient {
    /// The connection.
    #[serde(flatten)]
    pub connection: ConnectionKey,
    /// Its user.
    pub user_id: UserId,
    /// [`Subscription::member`].
    pub member: bool,
    /// Time from which the connection must not receive frames.
    pub expires_at: Timestamp,
    /// Index of the first frame that the connection has not received. Default: 0.
    pub next_frame: usize,
}

/// The fields of a recipient in JSON. A flattened structure would be buffered before it is read.
#[derive(Deserialize)]
struct Fields {
    connection_id: ConnectionId,
    connected_at: Timestamp,
    user_id: UserId,
    #[serde(default)]
    member: bool,
    expires_at: Timestamp,
    #[serde(default)]
    next_frame: usize,
}

impl From<Fields> for Recipient {
    fn from(fields: Fields) -> Self {
        let Fields { connection_id, connected_at, user_id, member, expires_at, next_frame } = fields;
        Self { connection: ConnectionKey { id: connection_id, connected_at }, user_id, member, expires_at, next_frame }
    }
}

impl From<Subscription> for Recipient {
    fn from(subscription: Subscription) -> Self {
        let Subscription { connection, user_id, expires_at, member } = subscription;
        Self { connection, user_id, member, expires_at, next_frame: 0 }
    }
}

/// Frames of one channel and their recipients: the payload of `SendMessageFunction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushBatch {
    /// The channel.
    pub channel: ChannelKey,
    /// Frames, in order.
    pub frames: Vec<String>,
    /// Recipients.
    pub recipients: Vec<Recipient>,
    /// Number of earlier attempts that failed for these recipients. Default: 0.
    pub attempt: u32,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recipient_in_json_holds_the_fields_of_its_connection_key() {
        let json = json!({
            "connection_id": "x=",
            "user_id": "alice",
            "member": true,
            "connected_at": "2026-11-24T00:00:00.000Z",
            "expires_at": "2026-11-24T02:00:00.000Z",
            "next_frame": 2,
        });
        let recipient: Recipient = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(recipient.connection.id.as_str(), "x=");
        assert_eq!(serde_json::to_value(&recipient).unwrap(), json);
    }
}
