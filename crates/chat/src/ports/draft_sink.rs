//! Port that shows drafts.

use std::future::Future;

use crate::model::{draft::Delta, id::MessageId, incarnation::ChannelKey, time::Timestamp};

/// Receiver of drafts. Best effort: the agent does not wait for a slow socket.
pub trait DraftSink: Send + Sync {
    /// Shows a piece of a draft to the audience of `channel`.
    fn show(&self, channel: &ChannelKey, delta: &Delta) -> impl Future<Output = ()> + Send;

    /// Goes on with a draft that another worker has shown up to the end of `text`. That worker last renewed its lease at
    /// `renewed_at`. Shows nothing.
    fn resume(
        &self,
        channel: &ChannelKey,
        draft_id: MessageId,
        text: &str,
        renewed_at: Timestamp,
    ) -> impl Future<Output = ()> + Send;
}
