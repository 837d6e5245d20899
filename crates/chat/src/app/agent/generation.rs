//! One call of the model: its pieces become a draft, and the draft a reply.

use std::pin::pin;

use futures::StreamExt;

use super::{Agent, Question, ReplyOutcome, STOPPED, draft::ReplyDraft, retry_later, unwanted::Unwanted};
use crate::{
    model::{
        agent_data::ReplyStatus,
        draft::DraftStatus,
        error::Result,
        limits::{
            CONTENT_BYTES, DELTA_INTERVAL, LEASE_DURATION, LEASE_RENEWAL_INTERVAL, MIN_PARTIAL_REPLY_DURATION,
            MODEL_FIRST_TEXT_TIMEOUT, MODEL_IDLE_TIMEOUT,
        },
        text::content::is_refused,
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        draft_sink::DraftSink,
        language_model::{LanguageModel, ModelError, Piece, Prompt},
        message_store::MessageStore,
        rate_limiter::RateLimiter,
        reply_leases::{LeaseRenewal, ReplyLease, ReplyLeases},
    },
};

/// End of a generation.
enum GenerationEnd {
    Complete {
        truncated: bool,
    },
    Cancelled,
    Failed(ModelError),
    /// No message is to be stored.
    Unwanted(Unwanted),
    /// Another worker has acquired the reply lease.
    LeaseLost,
    /// The invocation is about to end.
    DeadlineReached,
}

impl<Channels, Messages, Model, Sink, Time> Agent<'_, Channels, Messages, Model, Sink, Time>
where
    Channels: ChannelStore + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Model: LanguageModel,
    Sink: DraftSink,
    Time: Clock,
{
    /// Calls the model once, and stores its reply. Returns the model's error if there is nothing to store.
    pub(super) async fn call_model(
        &self,
        question: &Question<'_>,
        prompt: &Prompt,
    ) -> Result<Result<ReplyOutcome, ModelError>> {
        let mut draft = ReplyDraft::new(self.drafts, &question.key, self.clock);
        let end = match self.generate(question, prompt.clone(), &mut draft).await {
            Ok(end) => end,
            Err(error) => {
                draft.end(DraftStatus::Failed, None).await;
                return Err(error);
            }
        };
        let error = match end {
            GenerationEnd::Complete { truncated } if draft.has_text() => {
                let status = if truncated { ReplyStatus::Truncated } else { ReplyStatus::Complete };
                return self.store_reply(question, draft, prompt, status).await.map(Ok);
            }
            GenerationEnd::Complete { .. } => ModelError::Malformed("the reply is empty".to_owned()),
            GenerationEnd::Cancelled if draft.has_text() => {
                return self.store_reply(question, draft, prompt, ReplyStatus::Cancelled).await.map(Ok);
            }
            GenerationEnd::Cancelled => {
                draft.end(DraftStatus::Cancelled, None).await;
                return self.post_failure_notice(question, STOPPED, ReplyStatus::Cancelled).await.map(Ok);
            }
            GenerationEnd::Unwanted(reason) => {
                self.record_usage(question, draft.usage(prompt)).await;
                return Ok(Ok(self.end_unwanted(question, draft, reason).await));
            }
            // A repeated generation would take as long.
            GenerationEnd::DeadlineReached
                if draft.has_text() && draft.started.until(self.clock.now()) >= MIN_PARTIAL_REPLY_DURATION =>
            {
                return self.store_reply(question, draft, prompt, ReplyStatus::Truncated).await.map(Ok);
            }
            GenerationEnd::LeaseLost | GenerationEnd::DeadlineReached => {
                self.record_usage(question, draft.usage(prompt)).await;
                draft.end(DraftStatus::Failed, None).await;
                return Err(retry_later());
            }
            GenerationEnd::Failed(error) => error,
        };
        if draft.reported_usage.is_some() || !draft.text.is_empty() {
            self.record_usage(question, draft.usage(prompt)).await;
        }
        draft.end(DraftStatus::Failed, None).await;
        let channel_id = &question.key.channel.channel_id;
        tracing::warn!(%channel_id, seq = question.key.seq.get(), %error, "model call failed");
        Ok(Err(error))
    }

    /// Runs the model, and shows the draft.
    async fn generate(
        &self,
        question: &Question<'_>,
        prompt: Prompt,
        draft: &mut ReplyDraft<'_, Sink>,
    ) -> Result<GenerationEnd> {
        let mut pieces = pin!(futures::stream::once(self.model.reply(prompt)).flat_map(|reply| match reply {
            Ok(pieces) => pieces,
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }));
        let mut tick = pin!(self.clock.sleep(DELTA_INTERVAL));
        let mut renewal = pin!(self.clock.sleep(LEASE_RENEWAL_INTERVAL));
        let mut heard = self.clock.now();
        loop {
            // Biased order: a model that never pauses leaves time for the other branches, and a run can be repeated.
            tokio::select! {
                biased;
                () = &mut tick => {
                    // A reply that arrives within the first interval is not shown as a draft.
                    draft.show_progress().await;
                    tick.set(self.clock.sleep(DELTA_INTERVAL));
                }
                () = &mut renewal => {
                    if let Some(end) = self.keep_lease(question, draft, heard).await? {
                        return Ok(end);
                    }
                    renewal.set(self.clock.sleep(LEASE_RENEWAL_INTERVAL));
                }
                piece = pieces.next() => {
                    heard = self.clock.now();
                    if let Some(end) = take_piece(piece, draft, self.clock).await {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Renews the lease during a generation. Returns the generation's end if it must not continue. `heard` is the time
    /// of the model's last piece.
    async fn keep_lease(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        heard: Timestamp,
    ) -> Result<Option<GenerationEnd>> {
        let now = self.clock.now();
        if now >= self.stop_at() {
            return Ok(Some(GenerationEnd::DeadlineReached));
        }
        if heard.until(now) >= MODEL_IDLE_TIMEOUT {
            let error = ModelError::Unavailable("it sent nothing in time".to_owned());
            return Ok(Some(GenerationEnd::Failed(error)));
        }
        if !draft.has_text() && draft.started.until(now) >= MODEL_FIRST_TEXT_TIMEOUT {
            // The model has read the prompt, even if it reports no usage.
            draft.reported_usage = Some(draft.reported_usage.unwrap_or_default());
            let error = ModelError::Oversized("it sent no text in time".to_owned());
            return Ok(Some(GenerationEnd::Failed(error)));
        }
        let renewed =
            self.channels.renew(&question.key, question.owner, now.plus(LEASE_DURATION), LeaseRenewal::Keep).await?;
        Ok(match renewed {
            None => Some(GenerationEnd::LeaseLost),
            Some(ReplyLease { cancelled: true, .. }) => Some(GenerationEnd::Cancelled),
            Some(_) => self.unwanted(question).await.map(GenerationEnd::Unwanted),
        })
    }
}

/// Adds a piece of the model to the draft. Returns the generation's end if the piece is the last one.
async fn take_piece(
    piece: Option<Result<Piece, ModelError>>,
    draft: &mut ReplyDraft<'_, impl DraftSink>,
    clock: &impl Clock,
) -> Option<GenerationEnd> {
    let text = match piece {
        None => return Some(GenerationEnd::Complete { truncated: draft.is_truncated }),
        Some(Err(error)) => return Some(GenerationEnd::Failed(error)),
        Some(Ok(Piece::Usage(used))) => {
            draft.reported_usage = Some(used);
            return None;
        }
        Some(Ok(Piece::Alive)) => return None,
        Some(Ok(Piece::Truncated)) => {
            draft.is_truncated = true;
            return None;
        }
        Some(Ok(Piece::Retracted)) => {
            draft.discard(clock).await;
            return None;
        }
        Some(Ok(Piece::Text(text))) => text,
    };
    let room = CONTENT_BYTES - draft.text.len();
    let fits = text.floor_char_boundary(room);
    // Messages must not contain control characters, so they are removed from the model's text.
    let clean: String = text[..fits].chars().filter(|c| !is_refused(*c)).collect();
    draft.add(&clean);
    if fits < text.len() {
        return Some(GenerationEnd::Complete { truncated: true });
    }
    draft.show_if_full().await;
    None
}
