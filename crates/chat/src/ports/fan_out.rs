//! Port that dispatches push batches to another function.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::model::{
    connection::Subscription,
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
pub struct Recipient {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Its user.
    pub user_id: UserId,
    /// [`Subscription::member`].
    #[serde(default)]
    pub member: bool,
    /// Time when the connection was opened. It distinguishes the connection from another one with the same id.
    pub connected_at: Timestamp,
    /// Time from which the connection must not receive frames.
    pub expires_at: Timestamp,
    /// Index of the first frame that the connection has not received. Default: 0.
    #[serde(default)]
    pub next_frame: usize,
}

impl From<Subscription> for Recipient {
    fn from(subscription: Subscription) -> Self {
        let Subscription { connection_id, user_id, connected_at, expires_at, member } = subscription;
        Self { connection_id, user_id, member, connected_at, expires_at, next_frame: 0 }
    }
}

/// Frames of one channel and their recipients: the payload of `SendMessageFunction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushBatch {
    /// The channel.
    pub channel: ChannelKey,
    /// Frames, in order.
    pub frames: Vec<String>,
    /// Recipients.
    pub recipients: Vec<Recipient>,
    /// Number of earlier attempts that failed for these recipients. Default: 0.
    #[serde(default)]
    pub attempt: u32,
}
