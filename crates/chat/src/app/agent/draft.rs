//! Drafts: replies while they are generated, as subscribers see them.

use crate::{
    model::{
        draft::{Delta, DraftStatus},
        id::MessageId,
        incarnation::ChannelKey,
        limits::DELTA_BYTES,
    },
    ports::{clock::Clock, draft_sink::DraftSink},
};

/// Draft of a reply that is being generated.
pub(crate) struct ReplyDraft<'a, Sink> {
    sink: &'a Sink,
    channel: ChannelKey,
    next: Delta,
    /// Complete text so far.
    pub(crate) text: String,
}

impl<'a, Sink: DraftSink> ReplyDraft<'a, Sink> {
    pub(crate) fn new(sink: &'a Sink, channel: ChannelKey, reply_to: u64, clock: &impl Clock) -> Self {
        let next = Delta {
            channel_id: channel.channel_id.clone(),
            draft_id: MessageId::generate(clock.seed()),
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

    /// Adds text. Returns `true` if the pending text reaches [`DELTA_BYTES`] and should be shown at once.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.next.text.push_str(text);
        self.next.text.len() >= DELTA_BYTES
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.next.text.is_empty()
    }

    /// Shows the text that was added since the last call.
    pub(crate) async fn show(&mut self, status: DraftStatus) {
        self.next.status = status;
        self.sink.show(&self.channel, &self.next).await;
        self.next.position += self.next.text.chars().count();
        self.next.text.clear();
    }

    /// Shows the final status, and the `seq` of the stored message if there is one.
    pub(crate) async fn end(mut self, status: DraftStatus, seq: Option<u64>) {
        self.next.seq = seq;
        self.show(status).await;
    }
}
