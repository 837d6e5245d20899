//! One call of the model: its pieces become a draft, and the draft a reply.

use std::{pin::pin, time::Duration};

use futures::StreamExt;

use super::{Agent, Question, ReplyOutcome, reply_draft::ReplyDraft, retry_later, unwanted::Unwanted};
use crate::{
    model::{
        agent_data::ReplyStatus,
        error::Result,
        limits::{
            CONTENT_BYTES, DELTA_INTERVAL, DRAFT_STORE_INTERVALS, LEASE_RENEWAL_INTERVAL, MIN_PARTIAL_REPLY_DURATION,
            MODEL_FIRST_TEXT_TIMEOUT, MODEL_IDLE_TIMEOUT,
        },
        text::content::{is_blank, is_refused},
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
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GenerationEnd {
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

/// Times at which a generation stores text, renews its lease and reads its question, by [`Clock::monotonic`].
struct Pace {
    /// Number of pieces stored.
    pieces: usize,
    /// Earliest time of the next piece.
    store_at: Duration,
    /// Time of the next check of the lease and the question.
    check_at: Duration,
    /// `true` if a piece has renewed the lease since the last check.
    is_renewed: bool,
}

impl Pace {
    fn new(now: Duration) -> Self {
        Self { pieces: 0, store_at: now, check_at: now + LEASE_RENEWAL_INTERVAL, is_renewed: false }
    }

    /// Counts a piece that was stored.
    fn stored(&mut self, now: Duration) {
        let interval = DRAFT_STORE_INTERVALS.get(self.pieces).copied().unwrap_or(LEASE_RENEWAL_INTERVAL);
        self.store_at = now + interval;
        self.pieces += 1;
        self.is_renewed = true;
    }

    /// Returns the wait until the next tick: a piece that is due is not stored later than necessary.
    fn wait(&self, now: Duration) -> Duration {
        let until_store = self.store_at.saturating_sub(now);
        if until_store.is_zero() { DELTA_INTERVAL } else { until_store.min(DELTA_INTERVAL) }
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
    /// Calls the model once, and stores its reply. Returns the model's error if there is nothing to store. The draft then
    /// has its text stored, if it can be continued.
    pub(super) async fn call_model(
        &self,
        question: &Question<'_>,
        prompt: &Prompt,
        draft: &mut ReplyDraft<'_, Sink>,
    ) -> Result<Result<ReplyOutcome, ModelError>> {
        draft.begin_call(self.clock.now());
        let end = match self.run(question, prompt, draft).await {
            Ok(end) => end,
            Err(error) => {
                self.leave(question, draft).await;
                return Err(error);
            }
        };
        let error = match end {
            GenerationEnd::Complete { truncated } if draft.has_text() => {
                let status = if truncated { ReplyStatus::Truncated } else { ReplyStatus::Complete };
                return self.store_reply(question, draft, prompt, status).await.map(Ok);
            }
            GenerationEnd::Complete { .. } => ModelError::Malformed("the reply is empty".to_owned()),
            GenerationEnd::Cancelled => return self.end_cancelled(question, draft, prompt).await.map(Ok),
            GenerationEnd::Unwanted(reason) => {
                self.record_usage(question, draft, prompt).await;
                return Ok(Ok(self.end_unwanted(question, draft, reason).await));
            }
            GenerationEnd::DeadlineReached if self.is_partial_reply(draft) => {
                return self.store_reply(question, draft, prompt, ReplyStatus::Truncated).await.map(Ok);
            }
            GenerationEnd::LeaseLost | GenerationEnd::DeadlineReached => {
                self.record_usage(question, draft, prompt).await;
                self.leave(question, draft).await;
                return Err(retry_later());
            }
            GenerationEnd::Failed(error) => error,
        };
        if draft.call.reported_usage.is_some() || !draft.written().is_empty() {
            self.record_usage(question, draft, prompt).await;
        }
        let channel_id = &question.key.channel.channel_id;
        tracing::warn!(%channel_id, seq = question.key.seq.get(), %error, "model call failed");
        Ok(Err(error))
    }

    /// Runs the model. If another call is to continue the draft, also stores the rest of the text.
    async fn run(
        &self,
        question: &Question<'_>,
        prompt: &Prompt,
        draft: &mut ReplyDraft<'_, Sink>,
    ) -> Result<GenerationEnd> {
        let end = self.generate(question, prompt.clone(), draft).await?;
        let is_continued = match &end {
            GenerationEnd::Failed(error) => error.is_transient(),
            GenerationEnd::DeadlineReached => !self.is_partial_reply(draft),
            _ => false,
        };
        if !is_continued || !self.can_continue(question, draft) {
            return Ok(end);
        }
        Ok(self.store_text(question, draft).await?.unwrap_or(end))
    }

    /// Returns whether the text is stored as an incomplete reply when the invocation ends: another generation would take
    /// as long.
    fn is_partial_reply(&self, draft: &ReplyDraft<'_, Sink>) -> bool {
        draft.has_text() && draft.call.started.until(self.clock.now()) >= MIN_PARTIAL_REPLY_DURATION
    }

    /// Runs the model, stores the draft and shows it.
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
        let mut pace = Pace::new(self.clock.monotonic());
        let mut tick = pin!(self.clock.sleep(DELTA_INTERVAL));
        let mut heard = self.clock.now();
        loop {
            // Biased order: a model that never pauses leaves time for the other branch, and a run can be repeated.
            tokio::select! {
                biased;
                () = &mut tick => {
                    if let Some(end) = self.tick(question, draft, &mut pace, heard).await? {
                        return Ok(end);
                    }
                    tick.set(self.clock.sleep(pace.wait(self.clock.monotonic())));
                }
                piece = pieces.next() => {
                    heard = self.clock.now();
                    if let Some(end) = self.take_piece(question, piece, draft).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Stores and shows the pending text, and checks the lease and the question, as far as they are due. A reply that is
    /// complete before the first tick is not shown as a draft. `heard` is the time of the model's last piece.
    async fn tick(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        pace: &mut Pace,
        heard: Timestamp,
    ) -> Result<Option<GenerationEnd>> {
        let now = self.clock.monotonic();
        if !draft.has_pending() {
            draft.show_thinking().await;
        } else if now >= pace.store_at {
            if let Some(end) = self.store_text(question, draft).await? {
                return Ok(Some(end));
            }
            pace.stored(now);
        }
        if now < pace.check_at {
            return Ok(None);
        }
        pace.check_at = now + LEASE_RENEWAL_INTERVAL;
        let is_renewed = std::mem::take(&mut pace.is_renewed);
        self.keep_lease(question, draft, heard, is_renewed).await
    }

    /// Renews the lease during a generation, unless a piece of the draft has renewed it. Returns the generation's end if
    /// it must not continue. `heard` is the time of the model's last piece.
    async fn keep_lease(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
        heard: Timestamp,
        is_renewed: bool,
    ) -> Result<Option<GenerationEnd>> {
        let now = self.clock.now();
        if now >= self.stop_at() {
            return Ok(Some(GenerationEnd::DeadlineReached));
        }
        if heard.until(now) >= MODEL_IDLE_TIMEOUT {
            let error = ModelError::Unavailable("it sent nothing in time".to_owned());
            return Ok(Some(GenerationEnd::Failed(error)));
        }
        if is_blank(draft.written()) && draft.call.started.until(now) >= MODEL_FIRST_TEXT_TIMEOUT {
            // The model has read the prompt, even if it reports no usage.
            draft.call.reported_usage = Some(draft.call.reported_usage.unwrap_or_default());
            let error = ModelError::Oversized("it sent no text in time".to_owned());
            return Ok(Some(GenerationEnd::Failed(error)));
        }
        if !is_renewed {
            match self.renew_lease(question, LeaseRenewal::Keep).await? {
                None => return Ok(Some(GenerationEnd::LeaseLost)),
                Some(ReplyLease { cancelled: true, .. }) => return Ok(Some(GenerationEnd::Cancelled)),
                Some(_) => {}
            }
        }
        Ok(self.unwanted(question).await.map(GenerationEnd::Unwanted))
    }

    /// Adds a piece of the model to the draft. Returns the generation's end if the piece is the last one.
    async fn take_piece(
        &self,
        question: &Question<'_>,
        piece: Option<Result<Piece, ModelError>>,
        draft: &mut ReplyDraft<'_, Sink>,
    ) -> Result<Option<GenerationEnd>> {
        let text = match piece {
            None => return Ok(Some(GenerationEnd::Complete { truncated: draft.call.is_truncated })),
            Some(Err(error)) => return Ok(Some(GenerationEnd::Failed(error))),
            Some(Ok(Piece::Usage(used))) => {
                draft.call.reported_usage = Some(used);
                return Ok(None);
            }
            Some(Ok(Piece::Alive)) => return Ok(None),
            Some(Ok(Piece::Truncated)) => {
                draft.call.is_truncated = true;
                return Ok(None);
            }
            Some(Ok(Piece::Retracted)) => return self.retract(question, draft).await,
            Some(Ok(Piece::Text(text))) => text,
        };
        let room = CONTENT_BYTES.saturating_sub(draft.text.len());
        let fits = text.floor_char_boundary(room);
        // Messages must not contain control characters, so they are removed from the model's text.
        let clean: String = text[..fits].chars().filter(|c| !is_refused(*c)).collect();
        draft.add(&clean);
        Ok((fits < text.len()).then_some(GenerationEnd::Complete { truncated: true }))
    }
}
