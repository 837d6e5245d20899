//! Storing the end of a question: a reply or a notice, under one key.

use std::time::Duration;

use super::{Agent, Question, ReplyOutcome, STOPPED, reply_draft::ReplyDraft, unwanted::Unwanted};
use crate::{
    app::send::{SendCache, SendMessage, SendResult, send},
    model::{
        agent_data::{AgentData, ReplyStatus},
        draft::DraftStatus,
        error::Result,
        id::UserId,
        message::{ContentType, Message, NewMessage, Role},
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        draft_sink::DraftSink,
        language_model::{LanguageModel, Prompt},
        message_store::{MessageStore, RecordKey},
        rate_limiter::RateLimiter,
        reply_leases::ReplyLeases,
    },
};

impl<Channels, Messages, Model, Sink, Time> Agent<'_, Channels, Messages, Model, Sink, Time>
where
    Channels: ChannelStore + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Model: LanguageModel,
    Sink: DraftSink,
    Time: Clock,
{
    /// Stores a draft as the reply, and then shows the rest of the text with the final status.
    pub(super) async fn store_reply(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        prompt: &Prompt,
        status: ReplyStatus,
    ) -> Result<ReplyOutcome> {
        let usage = draft.usage(prompt);
        self.record_usage(question, draft, prompt).await;
        let data = AgentData {
            status,
            draft_id: Some(draft.id()),
            model: Some(self.model.name(prompt.model.as_deref())),
            input_tokens: Some(usage.input_tokens),
            output_tokens: Some(usage.output_tokens),
            duration_ms: Some(millis(draft.call.started.until(self.clock.now()))),
        };
        let sent = match self.send(question, Role::Agent, draft.text.clone(), data).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(reason)) => return Ok(self.end_unwanted(question, draft, reason).await),
            Err(error) => {
                self.leave(question, draft).await;
                return Err(error);
            }
        };
        let is_cancelled = status == ReplyStatus::Cancelled;
        let shown = if is_cancelled { DraftStatus::Cancelled } else { DraftStatus::Done };
        draft.end(shown, Some(sent.message().seq)).await;
        tracing::info!(
            channel_id = %question.stored.message.channel_id,
            seq = question.stored.message.seq.get(),
            reply_seq = sent.message().seq.get(),
            input_tokens = usage.input_tokens,
            output_tokens = usage.output_tokens,
            duration_ms = millis(draft.call.started.until(self.clock.now())),
            %status,
            "reply stored"
        );
        Ok(ReplyOutcome::Replied(sent.message().clone()))
    }

    /// Ends a reply that a user has cancelled: with the text so far, or with a notice if there is none.
    pub(super) async fn end_cancelled(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        prompt: &Prompt,
    ) -> Result<ReplyOutcome> {
        if draft.has_text() {
            return self.store_reply(question, draft, prompt, ReplyStatus::Cancelled).await;
        }
        self.post_failure_notice(question, draft, STOPPED, ReplyStatus::Cancelled).await
    }

    /// Records the tokens that a call used, whether it succeeded or not, once.
    pub(super) async fn record_usage(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        prompt: &Prompt,
    ) {
        if std::mem::replace(&mut draft.call.is_recorded, true) {
            return;
        }
        let usage = draft.usage(prompt);
        let (user, tokens) = (&question.stored.message.sender_id, usage.input_tokens + usage.output_tokens);
        if let Err(error) = self.channels.record_tokens(user, tokens, self.clock.now()).await {
            tracing::warn!(%error, "recording tokens failed");
        }
    }

    /// Posts a notice that there is no reply, and ends the draft.
    pub(super) async fn post_failure_notice(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        notice: &str,
        status: ReplyStatus,
    ) -> Result<ReplyOutcome> {
        let data = AgentData::of_status(status);
        match self.send(question, Role::System, notice.to_owned(), data).await {
            Ok(Ok(sent)) => {
                let is_cancelled = status == ReplyStatus::Cancelled;
                draft.end(if is_cancelled { DraftStatus::Cancelled } else { DraftStatus::Failed }, None).await;
                Ok(ReplyOutcome::Failed(sent.message().clone()))
            }
            Ok(Err(reason)) => Ok(self.end_unwanted(question, draft, reason).await),
            Err(error) => {
                self.leave(question, draft).await;
                Err(error)
            }
        }
    }

    /// Appends the reply or the notice, unless the store finds that it is unwanted.
    async fn send(
        &self,
        question: &Question<'_>,
        role: Role,
        content: String,
        data: AgentData,
    ) -> Result<Result<SendResult, Unwanted>> {
        let stored = question.stored;
        let Message { channel_id, seq, thread_seq, .. } = &stored.message;
        let message = SendMessage {
            channel_id: channel_id.clone(),
            sender_id: UserId::agent(),
            role,
            draft: NewMessage {
                content,
                content_type: ContentType::Markdown,
                reply_to: Some(*seq),
                // A reply begins no thread.
                thread_seq: *thread_seq,
                metadata: None,
            },
            agent: Some(data),
            record_key: Some(RecordKey::Reply { seq: *seq }),
            incarnation: Some(stored.incarnation),
            // Replies have their own budgets.
            bucket: None,
            trace: stored.trace.clone(),
        };
        match send(self.messages, self.clock, message, &mut SendCache::default()).await {
            Ok(sent) => Ok(Ok(sent)),
            Err(error) => Unwanted::of(error).map(Err),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
