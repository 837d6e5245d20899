//! The counts of one delivery.

use tracing::Span;

use crate::model::trace::integer;

/// What came of a delivery, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushReport {
    /// Sockets that have everything.
    pub delivered: usize,
    /// Sockets that had vanished, or whose time was over.
    pub gone: usize,
    /// Sockets handed over to another invocation.
    pub requeued: usize,
    /// Sockets given up. Their clients find the gap by `seq`.
    pub failed: usize,
    /// Attempts beyond the first, at any frame.
    pub retried: usize,
}

impl PushReport {
    /// All sockets.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.delivered + self.gone + self.requeued + self.failed
    }

    /// Notes it on a span that has these fields.
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
