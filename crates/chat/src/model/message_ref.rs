//! Reference to a message, with the caller.

use crate::model::{
    id::{ChannelId, UserId},
    seq::Seq,
    trace::TraceContext,
};

/// Message that a request is about, and its caller.
#[derive(Debug, Clone)]
pub struct MessageRef {
    /// The channel.
    pub channel_id: ChannelId,
    /// `seq` of the message.
    pub seq: Seq,
    /// User who sent the request.
    pub caller: UserId,
    /// Trace context of the request. It connects the change with its deliveries.
    pub trace: Option<TraceContext>,
}
