//! Port that shows drafts.

use std::future::Future;

use crate::model::{draft::Delta, incarnation::ChannelKey};

/// Receiver of drafts. Best effort: the agent does not wait for a slow socket.
pub trait DraftSink: Send + Sync {
    /// Shows a piece of a draft to the audience of `channel`.
    fn show(&self, channel: &ChannelKey, delta: &Delta) -> impl Future<Output = ()> + Send;
}
