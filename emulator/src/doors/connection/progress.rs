//! The progress of a connection: the event that it waits for, and since when.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::doors::Limits;

/// Maximum idle time of a connection while others wait for its place. It is long enough for a client that is about to
/// send.
pub(super) const IDLE_IN_CROWD: Duration = Duration::from_secs(1);

/// Event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first byte.
    New { since: Instant },
    /// The rest of a request's head.
    Head { since: Instant },
    /// The next request.
    Idle { since: Instant },
    /// The response, including the request's body.
    Request,
    /// None: the connection is a socket with its own limits.
    Socket,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Time since which the client has not read.
    stuck_since: Option<Instant>,
    /// `true` if a body did not arrive in time.
    pub(super) is_body_late: bool,
}

/// State of a connection, shared by the parts that change it.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    state: Arc<Mutex<State>>,
    pub(super) limits: Limits,
}

/// Reason why a connection is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Idle,
    Write,
}

impl Progress {
    pub(super) fn new(limits: Limits) -> Self {
        let phase = Phase::New { since: Instant::now() };
        Self { state: Arc::new(Mutex::new(State { phase, stuck_since: None, is_body_late: false })), limits }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn received(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::New { .. } | Phase::Idle { .. }) {
            state.phase = Phase::Head { since: Instant::now() };
        }
    }

    pub(super) fn began(&self) {
        let mut state = self.state();
        state.phase = Phase::Request;
        state.is_body_late = false;
    }

    pub(super) fn answered(&self) {
        let mut state = self.state();
        if state.phase == Phase::Request {
            state.phase = Phase::Idle { since: Instant::now() };
        }
    }

    pub(super) fn wrote(&self, is_stuck: bool) {
        let mut state = self.state();
        // hyper takes a response's body before it has written it, so idle time starts with the write.
        if let Phase::Idle { since } = &mut state.phase {
            *since = Instant::now();
        }
        state.stuck_since = is_stuck.then(|| state.stuck_since.unwrap_or_else(Instant::now));
    }

    /// Returns the time at which the connection becomes overdue, and the reason.
    pub(super) fn due(&self, is_crowded: bool) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let idle = if is_crowded { self.limits.idle.min(IDLE_IN_CROWD) } else { self.limits.idle };
        let by_phase = match state.phase {
            Phase::New { since } => Some((since + self.limits.head, Overdue::Idle)),
            Phase::Head { since } => Some((since + self.limits.head, Overdue::Head)),
            Phase::Idle { since } => Some((since + idle, Overdue::Idle)),
            Phase::Request => None,
            Phase::Socket => return None,
        };
        let by_write = state.stuck_since.map(|since| (since + self.limits.write_pause, Overdue::Write));
        by_phase.into_iter().chain(by_write).min_by_key(|(due, _)| *due)
    }
}
