//! Draft of a reply: its text, as far as it is generated, stored and shown.
//!
//! Subscribers see only text that is stored: as a piece of the draft, or as the message.

use crate::{
    app::agent::context::counted_usage,
    model::{
        draft::{Delta, DraftStatus},
        id::MessageId,
        incarnation::ChannelKey,
        seq::Seq,
        text::content::is_blank,
        time::Timestamp,
    },
    ports::{
        draft_sink::DraftSink,
        language_model::{Prompt, Usage},
        reply_leases::{DraftPiece, MessageKey},
    },
};

/// Draft of a reply. One or more calls of the model generate it.
pub(crate) struct ReplyDraft<'a, Sink> {
    sink: &'a Sink,
    channel: ChannelKey,
    /// Next frame: its text is generated, and neither stored nor shown.
    next: Delta,
    /// `true` once subscribers have seen a frame of the draft.
    is_shown: bool,
    /// Complete text so far.
    pub(crate) text: String,
    /// Call of the model.
    pub(crate) call: ModelCall,
}

/// One call of the model for a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelCall {
    /// Tokens that the model has reported.
    pub(crate) reported_usage: Option<Usage>,
    /// `true` once the model has reported that it ends the reply at one of its limits.
    pub(crate) is_truncated: bool,
    /// `true` once the tokens of the call are recorded.
    pub(crate) is_recorded: bool,
    /// Time at which the call began.
    pub(crate) started: Timestamp,
    /// Length of the text before the call, in bytes.
    begins_at: usize,
}

impl ModelCall {
    /// Returns a call that continues a text of this length, in bytes.
    fn new(begins_at: usize, started: Timestamp) -> Self {
        Self { reported_usage: None, is_truncated: false, is_recorded: false, started, begins_at }
    }
}

impl<'a, Sink: DraftSink> ReplyDraft<'a, Sink> {
    /// Returns a draft without text.
    pub(crate) fn new(sink: &'a Sink, question: &MessageKey, draft_id: MessageId, now: Timestamp) -> Self {
        let next = Delta {
            channel_id: question.channel.channel_id.clone(),
            draft_id,
            reply_to: question.seq,
            status: DraftStatus::Thinking,
            position: 0,
            text: String::new(),
            seq: None,
        };
        let (channel, text) = (question.channel.clone(), String::new());
        Self { sink, channel, next, is_shown: false, text, call: ModelCall::new(0, now) }
    }

    /// Returns a draft of another worker, as far as it is stored. Subscribers have seen it.
    pub(crate) fn left(
        sink: &'a Sink,
        question: &MessageKey,
        draft_id: MessageId,
        text: String,
        now: Timestamp,
    ) -> Self {
        let mut draft = Self::new(sink, question, draft_id, now);
        draft.next.position = text.chars().count();
        draft.is_shown = true;
        draft.text = text;
        draft
    }

    pub(crate) fn id(&self) -> MessageId {
        self.next.draft_id
    }

    /// Begins another call of the model, which continues the text.
    pub(crate) fn begin_call(&mut self, now: Timestamp) {
        self.call = ModelCall::new(self.text.len(), now);
    }

    /// Returns `true` if the text has a visible character.
    pub(crate) fn has_text(&self) -> bool {
        !is_blank(&self.text)
    }

    /// Returns `true` if a part of the text is stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.next.position > 0
    }

    /// Returns the text of the current call.
    pub(crate) fn written(&self) -> &str {
        self.text.get(self.call.begins_at..).unwrap_or_default()
    }

    /// Returns the tokens of the call. A number that the model has not reported is estimated.
    pub(crate) fn usage(&self, prompt: &Prompt) -> Usage {
        counted_usage(self.call.reported_usage, prompt, self.written())
    }

    pub(crate) fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.next.text.push_str(text);
    }

    /// Returns `true` if some text is to be stored before it is shown.
    pub(crate) fn has_pending(&self) -> bool {
        !self.next.text.is_empty()
    }

    /// Returns the text that is to be stored before it is shown, if there is any.
    pub(crate) fn pending(&self) -> Option<DraftPiece> {
        let Delta { draft_id, position, ref text, .. } = self.next;
        self.has_pending().then(|| DraftPiece { draft_id, position, text: text.clone() })
    }

    /// Shows that the model is thinking, if subscribers have seen nothing of the draft.
    pub(crate) async fn show_thinking(&mut self) {
        if !self.is_shown && !self.has_pending() {
            self.show(DraftStatus::Thinking).await;
        }
    }

    /// Shows the pending text, which is stored.
    pub(crate) async fn show_stored(&mut self) {
        self.show(DraftStatus::Writing).await;
    }

    /// Discards the text, which is no part of the reply, and begins another draft. If subscribers have seen this one, it
    /// ends as failed.
    pub(crate) async fn replace(&mut self, draft_id: MessageId) {
        self.end(DraftStatus::Failed, None).await;
        self.text.clear();
        self.call.begins_at = 0;
        self.next.draft_id = draft_id;
        self.next.status = DraftStatus::Thinking;
        self.next.position = 0;
        self.next.text.clear();
    }

    /// Shows the final status. If the reply is stored as the message `seq`, also shows the rest of the text. A draft that
    /// no subscriber has seen ends unseen.
    pub(crate) async fn end(&mut self, status: DraftStatus, seq: Option<Seq>) {
        if !self.is_shown {
            return;
        }
        if seq.is_none() {
            self.next.text.clear();
        }
        self.next.seq = seq;
        self.show(status).await;
        self.is_shown = false;
    }

    async fn show(&mut self, status: DraftStatus) {
        self.is_shown = true;
        self.next.status = status;
        self.sink.show(&self.channel, &self.next).await;
        self.next.position += self.next.text.chars().count();
        self.next.text.clear();
    }
}
