//! A reply while it is written, as subscribers see it.

use std::future::Future;

use serde::Serialize;

use crate::{
    clock::Clock,
    id::{ChannelId, MessageId},
    incarnation::ChannelKey,
    limits::DELTA_BYTES,
};

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

/// Where drafts are shown. Best effort: nobody waits for a socket that is slow.
pub trait DraftSink: Send + Sync {
    /// Shows a piece to those who listen to `channel`.
    fn show(&self, channel: &ChannelKey, delta: &Delta) -> impl Future<Output = ()> + Send;
}

/// A draft that is being written.
pub(crate) struct ReplyDraft<'a, Sink> {
    sink: &'a Sink,
    channel: ChannelKey,
    next: Delta,
    /// All words so far.
    pub(crate) text: String,
}

impl<'a, Sink: DraftSink> ReplyDraft<'a, Sink> {
    pub(crate) fn new(sink: &'a Sink, channel: ChannelKey, reply_to: u64, clock: &impl Clock) -> Self {
        let next = Delta {
            channel_id: channel.channel_id.clone(),
            draft_id: MessageId::generate(clock),
            reply_to,
            status: DraftStatus::Thinking,
            position: 0,
            text: String::new(),
            seq: None,
        };
        Self { sink, channel, next, text: String::new() }
    }

    pub(crate) fn id(&self) -> MessageId {
        self.next.draft_id
    }

    /// Adds words; whether there are enough to be shown at once.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.next.text.push_str(text);
        self.next.text.len() >= DELTA_BYTES
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.next.text.is_empty()
    }

    /// Shows what has been added since.
    pub(crate) async fn show(&mut self, status: DraftStatus) {
        self.next.status = status;
        self.sink.show(&self.channel, &self.next).await;
        self.next.position += self.next.text.chars().count();
        self.next.text.clear();
    }

    /// Shows how it ended.
    pub(crate) async fn end(mut self, status: DraftStatus, seq: Option<u64>) {
        self.next.seq = seq;
        self.show(status).await;
    }
}
