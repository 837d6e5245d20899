//! Progress of a reply, for readers that have missed its frames.

use crate::{
    app::{
        access::{authorize_read, require_still_readable},
        channel_messages::ChannelMessages,
    },
    model::{
        agent_data::ReplyStatus,
        draft::DraftStatus,
        error::{ChatError, Result},
        id::{ChannelId, MessageId, UserId},
        limits::QUESTION_DURATION,
        message::{Message, Role},
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{MessageStore, RecordKey},
        reply_leases::{MessageKey, ReplyLeases, StoredDraft},
    },
};

/// Reply to a question, as far as it is stored. Frames of the same draft continue the text at `position`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyProgress {
    /// Status.
    pub status: DraftStatus,
    /// Id of the draft, if a model has been called.
    pub draft_id: Option<MessageId>,
    /// Number of characters (Unicode scalar values) of the text.
    pub position: usize,
    /// Text so far, or that of the stored reply.
    pub text: String,
    /// `seq` of the stored reply or notice.
    pub seq: Option<Seq>,
}

impl<Channels, Messages, Time> ChannelMessages<'_, Channels, Messages, Time>
where
    Channels: ChannelStore + ReplyLeases,
    Messages: MessageStore,
    Time: Clock,
{
    /// Returns the progress of the agent's reply to a message of a channel that `user` may read.
    ///
    /// # Errors
    /// Those of [`authorize_read`], [`ChatError::MessageNotFound`], and [`ChatError::ReplyNotFound`] when the message has
    /// no reply and none is being written.
    pub async fn reply_progress(&self, channel: &ChannelId, user: &UserId, seq: Seq) -> Result<ReplyProgress> {
        let key = authorize_read(self.channels, channel, user).await?.key();
        let found = self.messages.message(&key, seq, self.clock.now()).await?;
        let question = found.filter(|message| message.deleted_at.is_none()).ok_or(ChatError::MessageNotFound)?;
        let record = self.messages.idempotency_record(&key, &RecordKey::Reply { seq }).await?;
        let now = self.clock.now();
        let progress = if let Some(record) = record {
            self.messages.message(&key, record.seq, now).await?.map(of_message)
        } else {
            let draft = self.channels.draft(&MessageKey { channel: key.clone(), seq }, now).await?;
            draft.and_then(|draft| of_draft(draft, &question, now))
        };
        let progress = progress.ok_or(ChatError::ReplyNotFound)?;
        require_still_readable(self.channels, &key, user).await?;
        Ok(progress)
    }
}

/// Returns the progress of a reply that is stored as this message, or of which this message is the notice.
fn of_message(message: Message) -> ReplyProgress {
    let is_reply = message.role == Role::Agent;
    let status = match message.agent.as_ref().map(|data| data.status) {
        Some(ReplyStatus::Complete | ReplyStatus::Truncated) => DraftStatus::Done,
        Some(ReplyStatus::Cancelled) => DraftStatus::Cancelled,
        // A deletion removes the data.
        None if is_reply => DraftStatus::Done,
        Some(ReplyStatus::Failed | ReplyStatus::OverBudget) | None => DraftStatus::Failed,
    };
    let draft_id = message.agent.and_then(|data| data.draft_id);
    let text = if is_reply && message.deleted_at.is_none() { message.content } else { String::new() };
    ReplyProgress { status, draft_id, position: text.chars().count(), text, seq: Some(message.seq) }
}

/// Returns the progress of a reply that is not stored as a message. A reply that no worker has finished in time does not
/// exist.
fn of_draft(draft: StoredDraft, question: &Message, now: Timestamp) -> Option<ReplyProgress> {
    let StoredDraft { draft_id, status, text, held } = draft;
    if status.is_none() && !held && question.created_at.until(now) >= QUESTION_DURATION {
        return None;
    }
    let status = status.unwrap_or(if text.is_empty() { DraftStatus::Thinking } else { DraftStatus::Writing });
    Some(ReplyProgress { status, draft_id, position: text.chars().count(), text, seq: None })
}
