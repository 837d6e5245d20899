//! Reply leases.

use super::{Decision, Effect, Rule, State, StoredLease};
use crate::{
    model::{access::Authority, incarnation::ChannelKey, seq::Seq, time::Timestamp},
    ports::reply_leases::{Acquire, CancelResult, LeaseOwner, LeaseRenewal, MessageKey, ReplyLease},
};

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
        let question = question.clone();
        (Acquire::Acquired(claim), Some(Effect::LeaseAcquired { question, owner, until }))
    }

    pub(crate) fn renew_lease(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        renewal: LeaseRenewal,
    ) -> Decision<Option<ReplyLease>> {
        let stored =
            self.stored_lease(question).filter(|stored| stored.owner == Some(owner) || self.lacks(Rule::ClaimHeld));
        let Some(stored) = stored else { return (None, None) };
        let calls = stored.claim.calls + renewal.calls();
        let question = question.clone();
        (Some(ReplyLease { calls, ..stored.claim }), Some(Effect::LeaseRenewed { question, until, renewal }))
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
        if self.held_until(question, now).is_none() {
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
        stored.claim.calls += renewal.calls();
    }

    pub(super) fn reply_cancelled(&mut self, question: MessageKey) {
        self.lease_entry(question).claim.cancelled = true;
    }
}
