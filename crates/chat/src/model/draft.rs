//! Frames of a draft.

use serde::Serialize;

use crate::model::{
    id::{ChannelId, MessageId},
    seq::Seq,
};

/// Status of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftStatus {
    /// The model is called, and has sent no text.
    Thinking,
    /// The model sends text.
    Writing,
    /// The reply is stored as the message [`Delta::seq`].
    Done,
    /// The reply is cancelled: by a user, by the deletion of its question, or since the agent is turned off. If
    /// [`Delta::seq`] is given, the text so far is stored.
    Cancelled,
    /// The draft is abandoned: the model failed, or the channel is archived. Another draft may follow.
    Failed,
}

/// Frame of a draft: `{"type":"message.delta","channel_id":"general","draft_id":"01…","reply_to":7,
/// "status":"writing","position":12,"text":" world"}`. Its text is stored before it is shown. The frame may be lost. Only
/// the final message counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "message.delta")]
pub struct Delta {
    /// The channel.
    pub channel_id: ChannelId,
    /// Id of the draft. The final message has it too, in its [`agent`](crate::model::message::Message::agent).
    pub draft_id: MessageId,
    /// `seq` of the message that gets the reply.
    pub reply_to: Seq,
    /// Status.
    pub status: DraftStatus,
    /// Number of characters (Unicode scalar values) of the draft before `text`. A client that has at least so many keeps
    /// that many and adds `text`. A client that has fewer missed a frame, and reads the
    /// progress of the reply.
    pub position: usize,
    /// Next part of the text.
    pub text: String,
    /// `seq` of the final message, if it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}
