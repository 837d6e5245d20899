//! Drafts across calls of the model and across workers: stored piece by piece, and continued from the stored text.
//!
//! A model that [continues](LanguageModel::continues) replies gets the stored text as the prefix of the next call. The
//! draft keeps its id and its position. Another model begins another draft.

use super::{Agent, Question, ReplyOutcome, generation::GenerationEnd, reply_draft::ReplyDraft, unwanted::Unwanted};
use crate::{
    model::{draft::DraftStatus, error::Result, id::MessageId, limits::LEASE_DURATION, time::Timestamp},
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        draft_sink::DraftSink,
        language_model::LanguageModel,
        message_store::MessageStore,
        rate_limiter::RateLimiter,
        reply_leases::{DraftPiece, PieceStored, ReplyLease, ReplyLeases, StoredDraft},
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
    /// Returns the draft that another worker has left without its end, as far as it is stored.
    pub(super) async fn left_draft(
        &self,
        question: &Question<'_>,
        lease: &ReplyLease,
    ) -> Result<Option<ReplyDraft<'_, Sink>>> {
        if lease.draft_id.is_none() {
            return Ok(None);
        }
        let now = self.clock.now();
        let found = self.channels.draft(&question.key, now).await?;
        let Some(StoredDraft { draft_id: Some(draft_id), status: None, text, .. }) = found else { return Ok(None) };
        // A released lease has no time of a renewal: then every socket gets the whole text.
        let renewed_at = lease.renewed_at.unwrap_or(Timestamp::from_millis(0));
        self.drafts.resume(&question.key.channel, draft_id, &text, renewed_at).await;
        Ok(Some(ReplyDraft::left(self.drafts, &question.key, draft_id, text, now)))
    }

    /// Returns a draft without text.
    pub(super) fn new_draft(&self, question: &Question<'_>) -> ReplyDraft<'_, Sink> {
        ReplyDraft::new(self.drafts, &question.key, self.new_draft_id(), self.clock.now())
    }

    pub(super) fn new_draft_id(&self) -> MessageId {
        MessageId::generate(self.clock.seed())
    }

    /// Returns whether the next call of the model, by this worker or another one, continues a draft.
    pub(super) fn can_continue(&self, question: &Question<'_>, draft: &ReplyDraft<'_, Sink>) -> bool {
        draft.has_text() && self.model.continues(question.model)
    }

    /// Stores the pending text of a draft, which renews the lease, and then shows it. Returns the generation's end if
    /// nothing could be stored.
    pub(super) async fn store_text(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
    ) -> Result<Option<GenerationEnd>> {
        let Some(piece) = draft.pending() else { return Ok(None) };
        let end = self.store_piece(question, &piece).await?;
        if end.is_none() {
            draft.show_stored().await;
        }
        Ok(end)
    }

    async fn store_piece(&self, question: &Question<'_>, piece: &DraftPiece) -> Result<Option<GenerationEnd>> {
        let now = self.clock.now();
        let until = now.plus(LEASE_DURATION);
        Ok(match self.channels.store_piece(&question.key, question.owner, until, piece, now).await? {
            PieceStored::Stored => None,
            PieceStored::Cancelled => Some(GenerationEnd::Cancelled),
            PieceStored::LeaseLost => Some(GenerationEnd::LeaseLost),
        })
    }

    /// Discards the text so far, which turned out to be reasoning, and begins another draft.
    pub(super) async fn retract(
        &self,
        question: &Question<'_>,
        draft: &mut ReplyDraft<'_, Sink>,
    ) -> Result<Option<GenerationEnd>> {
        let draft_id = self.new_draft_id();
        let end = if draft.is_stored() {
            // From here on no worker continues the reasoning: the lease names the next draft.
            self.store_piece(question, &DraftPiece { draft_id, position: 0, text: String::new() }).await?
        } else {
            None
        };
        if end != Some(GenerationEnd::LeaseLost) {
            draft.replace(draft_id).await;
        }
        Ok(end)
    }

    /// Leaves a draft to the next worker. A draft that cannot be continued ends as failed.
    pub(super) async fn leave(&self, question: &Question<'_>, draft: &mut ReplyDraft<'_, Sink>) {
        if !self.can_continue(question, draft) {
            draft.end(DraftStatus::Failed, None).await;
        }
    }

    /// Ends the draft that a worker has left of a reply which has become unwanted before another worker could continue
    /// it. Waits for a worker that still holds the lease.
    pub(super) async fn end_left_draft(&self, question: &Question<'_>, reason: Unwanted) -> Result<ReplyOutcome> {
        let found = self.channels.draft(&question.key, self.clock.now()).await?;
        if found.is_none_or(|found| found.draft_id.is_none() || found.status.is_some()) {
            return Ok(ReplyOutcome::NotWanted);
        }
        let Some(lease) = self.acquire_lease(question).await? else { return Ok(ReplyOutcome::Answered) };
        if let Some(mut draft) = self.left_draft(question, &lease).await? {
            return Ok(self.end_unwanted(question, &mut draft, reason).await);
        }
        // The worker before has ended the draft. If the release fails, the lease expires.
        let _ = self.channels.release(&question.key, question.owner).await;
        Ok(ReplyOutcome::NotWanted)
    }
}
