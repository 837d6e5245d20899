//! Pieces of a reply that is being written.

use serde::Serialize;

use crate::model::id::{ChannelId, MessageId};

/// How far a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftStatus {
    /// The model has been asked.
    Thinking,
    /// Words come.
    Writing,
    /// It is stored, as the message [`Delta::seq`].
    Done,
    /// A user stopped it; what there was is stored.
    Cancelled,
    /// It will not be completed; another draft may follow.
    Failed,
}

/// A frame about a draft: `{"type":"message.delta","channel_id":"general","draft_id":"01…","reply_to":7,
/// "status":"writing","position":12,"text":" world"}`. It is not stored and may be lost; the message is the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "message.delta")]
pub struct Delta {
    /// The channel.
    pub channel_id: ChannelId,
    /// The draft; also in the metadata of the message that it becomes.
    pub draft_id: MessageId,
    /// `seq` of the message that is answered.
    pub reply_to: u64,
    /// How far it is.
    pub status: DraftStatus,
    /// Characters (Unicode scalar values) of the draft before `text`: where that is not what a client has, it lost a piece
    /// or got one twice.
    pub position: usize,
    /// The next words.
    pub text: String,
    /// Number of the message that the draft became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}
