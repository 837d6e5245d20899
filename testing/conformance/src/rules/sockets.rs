//! Checks of connections.

use super::{Judge, Rule};
use crate::{
    gateway::{Connection, Gateway},
    plan::Kind,
};

/// Failures before which the limit of the wait has reached 30 seconds.
const GROWING: usize = 5;
/// Waits at the limit that are compared. They sum up to 9 seconds or less once in a million runs.
const COMPARED: usize = 6;
const LEAST_SUM_MS: u64 = 9_000;
/// Number of waits that are not random if they differ by `ALIKE_WITHIN_MS` at most. A fetch of a token is part of a wait.
const ALIKE: usize = 4;
const ALIKE_WITHIN_MS: u64 = 100;
const LONGEST_WAIT_MS: u64 = 65_000;

/// Observations of handshakes.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    failed_at: Option<u64>,
    waits: Vec<u64>,
    /// Reason of a `closing` frame that excludes another connection.
    refusal: Option<String>,
}

impl Judge {
    /// Checks an attempt to connect: a handshake, or the request of its ticket.
    pub(crate) fn attempts(&mut self, kind: Kind, now: u64) {
        if let Some(reason) = &self.connecting.refusal {
            let text = format!("connects again after closing with reconnect false ({reason})");
            self.find(Rule::NoRetryAfterRefusal, text);
        }
        let Some(failed_at) = self.connecting.failed_at.take() else { return };
        if kind != Kind::Outage {
            return;
        }
        self.connecting.waits.push(now - failed_at);
        let waits = self.connecting.waits.clone();
        let (count, wait) = (waits.len(), now - failed_at);
        let rest = waits.get(GROWING..).unwrap_or_default();
        if wait > LONGEST_WAIT_MS {
            self.find(Rule::Backoff, format!("waits {wait} ms after failure {count}; at most 30 seconds"));
        }
        if rest.len() == COMPARED && rest.iter().sum::<u64>() < LEAST_SUM_MS {
            self.find(Rule::Backoff, format!("the waits do not grow: {waits:?}"));
        }
        let last = rest.len().checked_sub(ALIKE).and_then(|from| rest.get(from..)).unwrap_or_default();
        let spread = last.iter().max().zip(last.iter().min()).map(|(most, least)| most - least);
        if spread.is_some_and(|spread| spread <= ALIKE_WITHIN_MS) {
            self.find(Rule::Backoff, format!("the waits are not random: {waits:?}"));
        }
    }

    /// Takes note of a failed attempt.
    pub(crate) fn attempt_failed(&mut self, now: u64) {
        self.connecting.failed_at = Some(now);
    }

    /// Takes note of an opened socket, or of an event after which a client may connect at once.
    pub(crate) fn attempts_begin_again(&mut self) {
        self.connecting.failed_at = None;
        self.connecting.waits.clear();
    }

    /// Takes note of a `closing` frame that excludes another connection.
    pub(crate) fn refused(&mut self, reason: &str) {
        self.connecting.refusal = Some(reason.to_owned());
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.connecting.refusal.is_some()
    }

    /// Takes note of a socket that ended by its age or its token while the network worked.
    pub(crate) fn not_renewed(&mut self, connection: &Connection, reason: &str) {
        self.find(Rule::Renewal, format!("the socket {} ends by {reason}", connection.id));
    }

    /// Checks that open sockets receive all channels.
    pub(crate) fn check_live(&mut self, gateway: &Gateway, live: &[&Connection]) {
        let is_received = |id: &String| live.iter().any(|connection| connection.channels.contains(id));
        let missing: Vec<&String> =
            gateway.channels.keys().filter(|id| gateway.is_readable(id) && !is_received(id)).collect();
        if let Some(first) = missing.first() {
            let text = format!("no open socket receives {} of the channels, the first of them {first}", missing.len());
            self.find(Rule::Live, text);
        }
    }
}
