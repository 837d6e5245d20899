//! Shows the pieces of a draft.

use std::future::Future;

use crate::model::{draft::Delta, incarnation::ChannelKey};

/// Where drafts are shown. Best effort: nobody waits for a socket that is slow.
pub trait DraftSink: Send + Sync {
    /// Shows a piece to those who listen to `channel`.
    fn show(&self, channel: &ChannelKey, delta: &Delta) -> impl Future<Output = ()> + Send;
}
