//! Schedules: the circumstances of a run, which its seed determines.

use crate::dice::Dice;

const MINUTE_MS: i64 = 60_000;
const DAY_SECONDS: u64 = 86_400;

/// The emphasis of a schedule. Consecutive seeds have different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames are lost, doubled and late.
    Frames,
    /// Sockets are cut, and handshakes fail.
    Cuts,
    /// Requests fail with each status, or get no response.
    Requests,
    /// Replies are written, taken over and finished, and their frames are lost.
    Drafts,
    /// The user sends while responses are lost or refused.
    Sends,
    /// No handshake succeeds for some minutes.
    Outage,
    /// Some hours pass with a wrong clock and tokens of minutes to a month.
    Hours,
    /// 250 channels.
    Many,
    /// Records of changes expire.
    Expired,
    /// Sockets stop without a close.
    HalfOpen,
    /// The server closes sockets, and hides a channel.
    Closing,
    /// Nothing fails, and frames overtake each other within a moment, or one is lost.
    Overtaken,
    /// Everything at once.
    Mixed,
}

const KINDS: [Kind; 13] = [
    Kind::Frames,
    Kind::Cuts,
    Kind::Requests,
    Kind::Drafts,
    Kind::Sends,
    Kind::Outage,
    Kind::Hours,
    Kind::Many,
    Kind::Expired,
    Kind::HalfOpen,
    Kind::Closing,
    Kind::Overtaken,
    Kind::Mixed,
];

/// Faults in percent of their opportunities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) frame_lost: u64,
    pub(crate) frame_doubled: u64,
    pub(crate) frame_late: u64,
    pub(crate) request_lost: u64,
    pub(crate) response_lost: u64,
    pub(crate) unauthorized: u64,
    pub(crate) limited: u64,
    pub(crate) failing: u64,
    pub(crate) slow: u64,
    pub(crate) handshake_fails: u64,
    pub(crate) token_fails: u64,
    pub(crate) refused_send: u64,
}

/// The circumstances of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) channels: Vec<String>,
    /// Number of channels that the client opens: the first ones.
    pub(crate) opened: usize,
    /// Error of the device's clock.
    pub(crate) offset_ms: i64,
    pub(crate) token_seconds: u64,
    pub(crate) faults: Faults,
}

impl Plan {
    pub(crate) fn new(seed: u64, dice: &mut Dice) -> Self {
        let count = u64::try_from(KINDS.len()).unwrap_or(1);
        let kind = usize::try_from(seed % count).ok().and_then(|at| KINDS.get(at)).copied().unwrap_or(Kind::Mixed);
        let count = if kind == Kind::Many { 250 } else { dice.between(1, 4) };
        let offsets = [0, 0, -61, 61, -7, 7, -600, 600].map(|minutes: i64| minutes * MINUTE_MS);
        let tokens = [300, 900, 3600, 3600, DAY_SECONDS, 30 * DAY_SECONDS];
        Self {
            kind,
            channels: (1..=count).map(|number| format!("room-{number:03}")).collect(),
            opened: if dice.chance(50) { 1 } else { 2 },
            offset_ms: dice.pick(&offsets).copied().unwrap_or(0),
            token_seconds: dice.pick(&tokens).copied().unwrap_or(3600),
            faults: faults(kind),
        }
    }

    /// Returns the channels that the client opens.
    pub(crate) fn open_channels(&self) -> Vec<String> {
        self.channels.iter().take(self.opened).cloned().collect()
    }

    /// Returns the time for recovery after the faults have ended. A half-open socket is found by its pings.
    pub(crate) fn calm_ms(&self, is_last: bool) -> u64 {
        match self.kind {
            Kind::Hours if is_last => 5 * 60 * 60 * 1000,
            Kind::HalfOpen | Kind::Mixed => 12 * 60 * 1000,
            _ => 150 * 1000,
        }
    }
}

fn faults(kind: Kind) -> Faults {
    let none = Faults::default();
    match kind {
        Kind::Frames => Faults { frame_lost: 25, frame_doubled: 25, frame_late: 25, slow: 20, ..none },
        Kind::Cuts => Faults { handshake_fails: 30, slow: 20, frame_lost: 10, ..none },
        Kind::Requests => Faults {
            request_lost: 10,
            response_lost: 10,
            unauthorized: 8,
            limited: 15,
            failing: 15,
            slow: 20,
            frame_lost: 30,
            token_fails: 20,
            ..none
        },
        Kind::Drafts => Faults { frame_lost: 25, frame_doubled: 15, frame_late: 20, slow: 15, ..none },
        Kind::Sends => Faults {
            request_lost: 15,
            response_lost: 20,
            limited: 15,
            failing: 10,
            refused_send: 6,
            slow: 20,
            unauthorized: 4,
            ..none
        },
        Kind::Expired => Faults { frame_lost: 40, slow: 20, ..none },
        Kind::Closing => Faults { slow: 10, frame_lost: 10, ..none },
        Kind::Mixed => Faults {
            frame_lost: 15,
            frame_doubled: 10,
            frame_late: 15,
            request_lost: 5,
            response_lost: 5,
            unauthorized: 3,
            limited: 5,
            failing: 5,
            slow: 10,
            handshake_fails: 15,
            token_fails: 5,
            refused_send: 2,
        },
        Kind::Many => Faults { frame_lost: 10, ..none },
        Kind::Outage | Kind::Hours | Kind::HalfOpen | Kind::Overtaken => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_seeds_have_all_kinds() {
        let kinds: Vec<Kind> = (0..13).map(|seed| Plan::new(seed, &mut Dice::new(seed)).kind).collect();
        assert_eq!(kinds, KINDS);
        let many = Plan::new(7, &mut Dice::new(7));
        assert_eq!((many.channels.len(), many.open_channels().len() <= 2), (250, true));
    }
}
