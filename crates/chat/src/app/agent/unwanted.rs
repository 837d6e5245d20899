//! Replies without a message: nothing is stored for their questions.

use super::{Agent, Question, ReplyOutcome, reply_draft::ReplyDraft};
use crate::{
    model::{
        channel::{AgentMode, Channel},
        draft::DraftStatus,
        error::{ChatError, Result},
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        draft_sink::DraftSink,
        language_model::LanguageModel,
        message_store::MessageStore,
        rate_limiter::RateLimiter,
        reply_leases::{MessageKey, ReplyLeases},
    },
};

/// Reason for which a call stores neither a reply nor a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// The question has a reply or a notice of another call.
    Answered,
    /// The question is deleted, or it or the root of its thread has expired.
    QuestionDeleted,
    /// The agent of the channel is turned off, or does not reply to such a message any longer.
    AgentOff,
    /// The channel is archived.
    ChannelArchived,
    /// The channel is deleted.
    ChannelDeleted,
}

impl Unwanted {
    /// Returns the reason that the error of an append states.
    ///
    /// # Errors
    /// The given error, if it is another one.
    pub(super) fn of(error: ChatError) -> Result<Self> {
        match error {
            ChatError::IdempotencyKeyReused => Ok(Self::Answered),
            ChatError::MessageNotFound => Ok(Self::QuestionDeleted),
            ChatError::AgentOff => Ok(Self::AgentOff),
            ChatError::ChannelArchived => Ok(Self::ChannelArchived),
            ChatError::ChannelNotFound => Ok(Self::ChannelDeleted),
            error => Err(error),
        }
    }

    /// Returns the reason for which a channel gets no replies, if there is one.
    pub(super) fn in_channel(channel: &Channel) -> Option<Self> {
        if channel.archived_at.is_some() {
            return Some(Self::ChannelArchived);
        }
        (channel.agent.mode == AgentMode::Off).then_some(Self::AgentOff)
    }

    /// Returns the final status of the draft. Returns `None` for a deleted channel: its subscribers get no more frames.
    fn draft_status(self) -> Option<DraftStatus> {
        match self {
            Self::QuestionDeleted | Self::AgentOff => Some(DraftStatus::Cancelled),
            Self::Answered | Self::ChannelArchived => Some(DraftStatus::Failed),
            Self::ChannelDeleted => None,
        }
    }

    pub(super) fn outcome(self) -> ReplyOutcome {
        if self == Self::Answered { ReplyOutcome::Answered } else { ReplyOutcome::NotWanted }
    }
}

impl<Channels, Messages, Model, Sink, Time> Agent<'_, Channels, Messages, Model, Sink, Time>
where
    Channels: ChannelStore + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Model: LanguageModel,
    Sink: DraftSink,
    Time: Clock,
{
    /// Returns the reason why a reply that is being generated is unwanted, if there is one. Failed reads are logged
    /// only, because the append checks the same conditions.
    pub(super) async fn unwanted(&self, question: &Question<'_>) -> Option<Unwanted> {
        let MessageKey { channel: key, seq } = &question.key;
        let channel = self.channels.channel(&key.channel_id);
        let message = self.messages.message(key, *seq, self.clock.now());
        let (channel, message) = match futures::future::try_join(channel, message).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, channel_id = %key.channel_id, seq = seq.get(), "rereading a question failed");
                return None;
            }
        };
        let Some(channel) = channel.filter(|channel| channel.key() == *key) else {
            return Some(Unwanted::ChannelDeleted);
        };
        if let Some(reason) = Unwanted::in_channel(&channel) {
            return Some(reason);
        }
        let is_there = message.is_some_and(|message| message.deleted_at.is_none());
        (!is_there).then_some(Unwanted::QuestionDeleted)
    }

    /// Ends a draft whose reply is unwanted. The status is stored before it is shown.
    pub(super) async fn end_unwanted(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        reason: Unwanted,
    ) -> ReplyOutcome {
        let MessageKey { channel, seq } = &question.key;
        if let Some(status) = reason.draft_status() {
            if let Err(error) = self.channels.end_draft(&question.key, question.owner, status).await {
                tracing::warn!(%error, channel_id = %channel.channel_id, seq = seq.get(), "ending a draft failed");
            }
            draft.end(status, None).await;
        }
        tracing::info!(channel_id = %channel.channel_id, seq = seq.get(), ?reason, "reply was not stored");
        reason.outcome()
    }
}
