//! Gates of channels, and pending ends.

use super::{Rule, State, StoredGate};
use crate::model::{
    connection::Gate, incarnation::ChannelKey, limits::GATE_DURATION, pending_end::PendingEnd, time::Timestamp,
};

impl State {
    /// Returns the gate of a channel at a time.
    #[must_use]
    pub fn gate(&self, key: &ChannelKey, now: Timestamp) -> Gate {
        let stored = self.gates.get(key).filter(|gate| gate.expires_at > now);
        let blocked = self.blocked.get(key).into_iter().flatten();
        Gate {
            closed: stored.is_some_and(|gate| gate.closed),
            private: stored.is_some_and(|gate| gate.private),
            blocked: blocked.filter(|(_, until)| **until > now).map(|(user, _)| user.clone()).collect(),
        }
    }

    pub(super) fn set_gate(&mut self, key: &ChannelKey, now: Timestamp, set: impl FnOnce(&mut StoredGate)) {
        let expires_at = now.plus(GATE_DURATION);
        let gate = self.gates.entry(key.clone()).or_insert(StoredGate { closed: false, private: false, expires_at });
        gate.expires_at = expires_at;
        set(gate);
    }

    pub(super) fn record_end(&mut self, pending: Option<PendingEnd>) {
        if let Some(pending) = pending.filter(|_| !self.lacks(Rule::PendingRecorded)) {
            self.pending.insert(pending.id, pending);
        }
    }
}
