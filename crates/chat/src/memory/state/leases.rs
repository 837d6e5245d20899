//! Reply leases, and the drafts that they name.

use super::{Decision, Effect, Rule, State, StoredLease, StoredPiece};
use crate::{
    model::{
        access::Authority,
        draft::DraftStatus,
        id::MessageId,
        incarnation::ChannelKey,
        limits::{DRAFT_DURATION, LEASE_DURATION},
        seq::Seq,
        time::Timestamp,
    },
    ports::reply_leases::{
        Acquire, CancelResult, DraftPiece, LeaseOwner, LeaseRenewal, MessageKey, PieceStored, ReplyLease, StoredDraft,
    },
};

/// Time until which a released lease is held.
const RELEASED: Timestamp = Timestamp::from_millis(0);

impl State {
    /// Returns the time until which a worker holds the lease, if one holds it at `now`.
    fn held_until(&self, question: &MessageKey, now: Timestamp) -> Option<Timestamp> {
        self.stored_lease(question)?.until.filter(|until| *until > now)
    }

    fn stored_lease(&self, question: &MessageKey) -> Option<&StoredLease> {
        self.claims.get(&question.channel)?.get(&question.seq)
    }

    pub(crate) fn claim(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Acquire> {
        let stored = self.stored_lease(question);
        if let Some(until) = self.held_until(question, now)
            && !self.lacks(Rule::ClaimHeld)
        {
            return (Acquire::Held { until }, None);
        }
        let claim = stored.map(|stored| stored.claim).unwrap_or_default();
        let renewed_at = stored.and_then(|stored| stored.until).filter(|until| *until > RELEASED).map(renewed_at);
        let question = question.clone();
        (Acquire::Acquired(ReplyLease { renewed_at, ..claim }), Some(Effect::LeaseAcquired { question, owner, until }))
    }

    pub(crate) fn renew_lease(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        renewal: LeaseRenewal,
    ) -> Decision<Option<ReplyLease>> {
        let Some(stored) = self.lease_of(question, owner) else { return (None, None) };
        let renewed = after(stored.claim, renewal);
        (Some(renewed), Some(Effect::LeaseRenewed { question: question.clone(), until, renewal }))
    }

    /// Returns the lease, if `owner` holds it.
    fn lease_of(&self, question: &MessageKey, owner: LeaseOwner) -> Option<&StoredLease> {
        self.stored_lease(question).filter(|stored| stored.owner == Some(owner) || self.lacks(Rule::ClaimHeld))
    }

    pub(crate) fn store_piece(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        piece: &DraftPiece,
        now: Timestamp,
    ) -> Decision<PieceStored> {
        let Some(stored) = self.lease_of(question, owner) else { return (PieceStored::LeaseLost, None) };
        if stored.claim.cancelled {
            return (PieceStored::Cancelled, None);
        }
        let question = question.clone();
        let effect = if self.lacks(Rule::DraftStored) {
            Effect::LeaseRenewed { question, until, renewal: LeaseRenewal::Keep }
        } else {
            Effect::PieceStored { question, until, piece: piece.clone(), expires_at: now.plus(DRAFT_DURATION) }
        };
        (PieceStored::Stored, Some(effect))
    }

    pub(crate) fn end_draft(&self, question: &MessageKey, owner: LeaseOwner, status: DraftStatus) -> Decision<()> {
        let held = self.lease_of(question, owner);
        ((), held.map(|_| Effect::DraftEnded { question: question.clone(), status }))
    }

    /// Returns the draft that the lease names, without its text.
    pub(crate) fn named_draft(&self, question: &MessageKey, now: Timestamp) -> Option<StoredDraft> {
        let StoredLease { claim, draft_status, .. } = self.stored_lease(question)?;
        let held = self.held_until(question, now).is_some();
        Some(StoredDraft { draft_id: claim.draft_id, status: *draft_status, text: String::new(), held })
    }

    /// Returns the pieces of a draft that have not expired by `now`, joined from position 0 up to the first gap.
    pub(crate) fn draft_text(&self, question: &MessageKey, draft_id: MessageId, now: Timestamp) -> String {
        let (mut text, mut position) = (String::new(), 0);
        let Some(pieces) = self.drafts.get(&question.channel) else { return text };
        while let Some(piece) = pieces.get(&(question.seq, draft_id, position))
            && piece.expires_at > now
            && !piece.text.is_empty()
        {
            text.push_str(&piece.text);
            position += piece.text.chars().count();
        }
        text
    }

    pub(crate) fn held_leases(&self, channel: &ChannelKey, questions: &[Seq], now: Timestamp) -> Vec<Seq> {
        let leases = self.claims.get(channel).into_iter().flatten();
        let held = leases.filter(|(_, stored)| stored.until.is_some_and(|until| until > now));
        held.map(|(seq, _)| *seq).filter(|seq| questions.contains(seq)).collect()
    }

    pub(crate) fn cancel(&self, by: &Authority<'_>, question: &MessageKey, now: Timestamp) -> Decision<CancelResult> {
        if !self.holds(by, Rule::MessageAuthority) {
            return (CancelResult::Stale, None);
        }
        let is_between_workers =
            |stored: &StoredLease| stored.claim.draft_id.is_some() && stored.draft_status.is_none();
        if self.held_until(question, now).is_none() && !self.stored_lease(question).is_some_and(is_between_workers) {
            return (CancelResult::NoReply, None);
        }
        (CancelResult::Done, Some(Effect::ReplyCancelled { question: question.clone() }))
    }

    fn lease_entry(&mut self, question: MessageKey) -> &mut StoredLease {
        self.claims.entry(question.channel).or_default().entry(question.seq).or_default()
    }

    pub(super) fn lease_acquired(&mut self, question: MessageKey, owner: LeaseOwner, until: Timestamp) {
        let stored = self.lease_entry(question);
        (stored.owner, stored.until) = (Some(owner), Some(until));
    }

    pub(super) fn lease_renewed(&mut self, question: MessageKey, until: Timestamp, renewal: LeaseRenewal) {
        let stored = self.lease_entry(question);
        stored.until = Some(until);
        stored.claim = after(stored.claim, renewal);
        if matches!(renewal, LeaseRenewal::CallModel { .. }) {
            stored.draft_status = None;
        }
    }

    pub(super) fn piece_stored(
        &mut self,
        question: MessageKey,
        until: Timestamp,
        piece: DraftPiece,
        expires_at: Timestamp,
    ) {
        let DraftPiece { draft_id, position, text } = piece;
        let pieces = self.drafts.entry(question.channel.clone()).or_default();
        pieces.insert((question.seq, draft_id, position), StoredPiece { text, expires_at });
        let stored = self.lease_entry(question);
        stored.until = Some(until);
        stored.claim.draft_id = Some(draft_id);
        stored.draft_status = None;
    }

    pub(super) fn draft_ended(&mut self, question: MessageKey, status: DraftStatus) {
        let stored = self.lease_entry(question);
        stored.until = Some(RELEASED);
        stored.draft_status = Some(status);
    }

    pub(super) fn reply_cancelled(&mut self, question: MessageKey) {
        self.lease_entry(question).claim.cancelled = true;
    }
}

/// Returns a lease after a renewal.
fn after(lease: ReplyLease, renewal: LeaseRenewal) -> ReplyLease {
    let calls = lease.calls + renewal.calls();
    match renewal {
        LeaseRenewal::Keep => lease,
        LeaseRenewal::CallModel { draft_id } => ReplyLease { calls, draft_id: Some(draft_id), ..lease },
    }
}

/// Returns the time at which a lease was renewed that is held until `until`.
fn renewed_at(until: Timestamp) -> Timestamp {
    let duration = i64::try_from(LEASE_DURATION.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(until.as_millis().saturating_sub(duration))
}
