//! Counts of one delivery.

use tracing::Span;

use crate::model::trace::integer;

/// Outcome of a delivery in counts of sockets, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushReport {
    /// Sockets that received all frames.
    pub delivered: usize,
    /// Sockets that were gone, or whose connection had expired.
    pub gone: usize,
    /// Sockets whose frames were requeued.
    pub requeued: usize,
    /// Sockets whose frames were dropped. Their clients detect the gap in `seq`.
    pub failed: usize,
    /// Retries of pushes, over all frames.
    pub retried: usize,
}

impl PushReport {
    /// Returns the number of all sockets.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.delivered + self.gone + self.requeued + self.failed
    }

    /// Returns the report, unless every socket received all frames at the first attempt. Then its number says everything.
    #[must_use]
    pub fn unusual(self) -> Option<Self> {
        (self.delivered < self.sockets() || self.retried > 0).then_some(self)
    }

    /// Records the counts on a span that has these fields.
    pub(crate) fn record(&self, span: &Span) {
        span.record("switchboard.pushes.delivered", integer(self.delivered));
        span.record("switchboard.pushes.gone", integer(self.gone));
        span.record("switchboard.pushes.requeued", integer(self.requeued));
        span.record("switchboard.pushes.failed", integer(self.failed));
        span.record("switchboard.pushes.retried", integer(self.retried));
    }
}

impl std::ops::AddAssign for PushReport {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.gone += other.gone;
        self.requeued += other.requeued;
        self.failed += other.failed;
        self.retried += other.retried;
    }
}
