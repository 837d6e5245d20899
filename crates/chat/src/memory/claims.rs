//! Reply leases, token usage and token buckets in memory.

use super::{
    Call, Hook, MemoryStore,
    state::{reply_bucket, send_bucket},
};
use crate::{
    model::{
        access::Authority,
        draft::DraftStatus,
        error::StoreError,
        id::UserId,
        incarnation::ChannelKey,
        seq::Seq,
        time::Timestamp,
        token_bucket::{Bucket, Taken},
    },
    ports::{
        rate_limiter::{LimitedAction, RateLimiter},
        reply_leases::{
            Acquire, CancelResult, DraftPiece, LeaseOwner, LeaseRenewal, MessageKey, PieceStored, ReplyLease,
            ReplyLeases, StoredDraft,
        },
    },
};

impl<H: Hook> ReplyLeases for MemoryStore<H> {
    async fn acquire(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Acquire, StoreError> {
        self.change(Call::AcquireLease, |state| state.claim(question, owner, until, now)).await
    }

    async fn renew(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        renewal: LeaseRenewal,
    ) -> Result<Option<ReplyLease>, StoreError> {
        self.change(Call::RenewClaim, |state| state.renew_lease(question, owner, until, renewal)).await
    }

    async fn release(&self, question: &MessageKey, owner: LeaseOwner) -> Result<(), StoreError> {
        ReplyLeases::renew(self, question, owner, Timestamp::from_millis(0), LeaseRenewal::Keep).await?;
        Ok(())
    }

    async fn store_piece(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        piece: &DraftPiece,
        now: Timestamp,
    ) -> Result<PieceStored, StoreError> {
        self.change(Call::StorePiece, |state| state.store_piece(question, owner, until, piece, now)).await
    }

    async fn end_draft(&self, question: &MessageKey, owner: LeaseOwner, status: DraftStatus) -> Result<(), StoreError> {
        self.change(Call::EndDraft, |state| state.end_draft(question, owner, status)).await
    }

    async fn draft(&self, question: &MessageKey, now: Timestamp) -> Result<Option<StoredDraft>, StoreError> {
        let Some(named) = self.call(Call::Draft, |state| state.named_draft(question, now)).await? else {
            return Ok(None);
        };
        let Some(draft_id) = named.draft_id else { return Ok(Some(named)) };
        let text = self.call(Call::DraftPieces, |state| state.draft_text(question, draft_id, now)).await?;
        Ok(Some(StoredDraft { text, ..named }))
    }

    async fn held(&self, channel: &ChannelKey, questions: &[Seq], now: Timestamp) -> Result<Vec<Seq>, StoreError> {
        self.call(Call::HeldLeases, |state| state.held_leases(channel, questions, now)).await
    }

    async fn cancel(
        &self,
        by: &Authority<'_>,
        question: &MessageKey,
        now: Timestamp,
    ) -> Result<CancelResult, StoreError> {
        self.change(Call::Cancel, |state| state.cancel(by, question, now)).await
    }

    async fn tokens_used(&self, user: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let place = (user.clone(), day(now));
        self.call(Call::Spent, |state| state.spent.get(&place).copied().unwrap_or_default()).await
    }

    async fn record_tokens(&self, user: &UserId, tokens: u64, now: Timestamp) -> Result<(), StoreError> {
        let place = (user.clone(), day(now));
        self.call(Call::Spend, |state| *state.spent.entry(place.clone()).or_default() += tokens).await
    }
}

/// Returns the day of a time, in UTC.
fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

fn place(user: &UserId, action: &LimitedAction<'_>) -> (Option<UserId>, String) {
    let name = match action {
        LimitedAction::Send => return send_bucket(user),
        LimitedAction::Reply(channel) => return reply_bucket(channel),
        LimitedAction::Typing(channel) => format!("{}#{channel}", action.name()),
        _ => action.name().to_owned(),
    };
    (Some(user.clone()), name)
}

impl<H: Hook> RateLimiter for MemoryStore<H> {
    async fn take(
        &self,
        user: &UserId,
        action: &LimitedAction<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let place = place(user, action);
        self.call(Call::TakeToken, |state| {
            let taken = bucket.take(state.buckets.get(&place).copied(), now);
            if let Ok(full_at) = taken {
                state.buckets.insert(place.clone(), full_at);
            }
            taken
        })
        .await
    }
}
