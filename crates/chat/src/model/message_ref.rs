//! A message that a request is about, and the caller.

use crate::model::{
    id::{ChannelId, UserId},
    trace::TraceContext,
};

/// Who revises which message.
#[derive(Debug, Clone)]
pub struct MessageRef {
    /// The channel.
    pub channel_id: ChannelId,
    /// The message's number.
    pub seq: u64,
    /// Its author, or a moderator of the channel.
    pub caller: UserId,
    /// The trace of the request, to follow the change to the sockets.
    pub trace: Option<TraceContext>,
}
