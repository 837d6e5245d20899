//! The clock of a mapping's polls, so that a local run can deliver as late and as much at once as Lambda does.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Interval between two polls without a read interval: Lambda polls a shard four times a second ("Polling and batching
/// streams").
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum delay of the first poll. On AWS it may take minutes ("Create an event source mapping"), too long for tests.
const START_DELAY: Duration = Duration::from_secs(2);

/// Maximum number of polls that a mapping leaves out in a row. Another mapping of the stream overtakes it meanwhile.
const SKIPPED_POLLS: u32 = 4;

/// Polls of one mapping that are out of phase with those of all others, by a seed.
#[derive(Debug)]
pub(super) struct Phase {
    interval: Duration,
    offset: Duration,
    start_delay: Duration,
    chance: StdRng,
}

impl Phase {
    /// Creates the polls of `mapping`. An `interval` of zero stands for that of Lambda.
    pub(super) fn new(seed: u64, mapping: &str, interval: Duration) -> Self {
        let interval = if interval.is_zero() { POLL_INTERVAL } else { interval };
        let mut hasher = DefaultHasher::new();
        (seed, mapping).hash(&mut hasher);
        let mut chance = StdRng::seed_from_u64(hasher.finish());
        let offset = interval.mul_f64(chance.random_range(0.0..1.0));
        let start_delay = START_DELAY.mul_f64(chance.random_range(0.0..1.0));
        Self { interval, offset, start_delay, chance }
    }

    /// Returns the delay of the first poll.
    pub(super) fn start_delay(&self) -> Duration {
        self.start_delay
    }

    /// Returns the time until the next poll, `passed` after the start. One in four polls is late by some intervals.
    pub(super) fn until_poll(&mut self, passed: Duration) -> Duration {
        let late = if self.chance.random_ratio(1, 4) { self.chance.random_range(1..=SKIPPED_POLLS) } else { 0 };
        until_next(self.interval, passed + self.offset) + self.interval * late
    }
}

/// Returns the time from `passed` to the next multiple of `interval`.
pub(super) fn until_next(interval: Duration, passed: Duration) -> Duration {
    let over = passed.as_nanos() % interval.as_nanos().max(1);
    interval.saturating_sub(Duration::from_nanos_u128(over))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the start and the first polls of a mapping.
    fn polls(seed: u64, mapping: &str) -> Vec<Duration> {
        let mut phase = Phase::new(seed, mapping, Duration::ZERO);
        let mut polls = vec![phase.start_delay()];
        let mut passed = Duration::ZERO;
        for _ in 0..100 {
            passed += phase.until_poll(passed);
            polls.push(passed);
        }
        polls
    }

    #[test]
    fn a_seed_repeats_its_polls_and_mappings_are_out_of_phase() {
        let agent = polls(1, "AgentEvents");
        assert_eq!(polls(1, "AgentEvents"), agent);
        for other in [polls(1, "DeliveryEvents"), polls(2, "AgentEvents")] {
            assert!(agent.iter().zip(&other).all(|(one, other)| one != other));
        }
    }

    #[test]
    fn polls_are_at_most_five_intervals_apart_and_not_all_equal() {
        let polls = polls(7, "AgentEvents");
        assert!(polls[0] <= START_DELAY);
        let pauses: Vec<Duration> = polls[1..].windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        assert!(pauses.iter().all(|pause| *pause <= POLL_INTERVAL * (SKIPPED_POLLS + 1)), "{pauses:?}");
        let late = pauses.iter().filter(|pause| **pause > POLL_INTERVAL).count();
        assert!((5..=60).contains(&late), "{late}");
    }
}
