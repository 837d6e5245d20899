//! Dispatches pushes to another function.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::model::{
    connection::Subscription,
    error::StoreError,
    id::{ConnectionId, UserId},
    incarnation::ChannelKey,
    time::Timestamp,
};

/// Another function that goes on with a batch, asynchronously.
pub trait FanOut: Send + Sync {
    /// Hands `batch` over; once this has returned, it is the other's to finish.
    fn dispatch(&self, batch: &PushBatch) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A connection that is to receive frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Its user.
    pub user_id: UserId,
    /// [`Subscription::member`].
    #[serde(default)]
    pub member: bool,
    /// Tells it from another that got the same id.
    pub connected_at: Timestamp,
    /// From when on it must not receive any more.
    pub expires_at: Timestamp,
    /// Index of the first frame that it has not received.
    #[serde(default)]
    pub next_frame: usize,
}

impl From<Subscription> for Recipient {
    fn from(subscription: Subscription) -> Self {
        let Subscription { connection_id, user_id, connected_at, expires_at, member } = subscription;
        Self { connection_id, user_id, member, connected_at, expires_at, next_frame: 0 }
    }
}

/// Frames of one channel and who is to receive them: the payload of `SendMessageFunction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushBatch {
    /// The channel.
    pub channel: ChannelKey,
    /// The frames, in order.
    pub frames: Vec<String>,
    /// Who receives them.
    pub recipients: Vec<Recipient>,
    /// How often it was handed over because of failing sockets.
    #[serde(default)]
    pub attempt: u32,
}
