//! Waits between the attempts at one contended write: an append, or a change of a message.
//!
//! An attempt that used a value which was only read too early is repeated at once. After a lost race, the next attempt
//! waits with jitter.

use std::{mem, time::Duration};

use crate::{
    model::{
        limits::{APPEND_ATTEMPTS, APPEND_DURATION},
        time::Timestamp,
    },
    ports::clock::Clock,
};

/// Upper bound of the wait after the first lost race, in percent of the failed attempt's duration. Each further loss
/// shrinks it by a quarter, down to [`LAST_WAIT`]. Writers that lost often wait least, which prevents starvation. The
/// floor limits failing attempts under contention.
pub(crate) const FIRST_WAIT: u32 = 600;

/// Lower bound of [`FIRST_WAIT`] after many losses, in percent.
const LAST_WAIT: u32 = 200;

/// Minimum and maximum of the duration that an attempt counts with. The clock has whole milliseconds, and one response
/// may be late.
pub(crate) const ATTEMPT_DURATION: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Attempts at one write: up to [`APPEND_ATTEMPTS`], within [`APPEND_DURATION`].
#[derive(Debug)]
pub(crate) struct Contention<'a, Time> {
    clock: &'a Time,
    /// Time at which the first attempt began.
    started: Timestamp,
    /// Time at which the last attempt began.
    began: Timestamp,
    /// Number of attempts so far.
    attempts: u32,
    /// Upper bound of the next wait, in percent.
    wait: u32,
    /// Whether an attempt was behind since the last wait.
    was_behind: bool,
}

impl<'a, Time: Clock> Contention<'a, Time> {
    pub(crate) fn new(clock: &'a Time) -> Self {
        let now = clock.now();
        Self { clock, started: now, began: now, attempts: 0, wait: FIRST_WAIT, was_behind: false }
    }

    /// Begins the next attempt: the first one at once, and each other one after a wait, unless it may begin `at_once`.
    /// Returns `false` if the attempts or the time are over.
    pub(crate) async fn begin(&mut self, at_once: bool) -> bool {
        if self.attempts == APPEND_ATTEMPTS {
            return false;
        }
        if self.attempts > 0 && !at_once {
            let (least, most) = ATTEMPT_DURATION;
            let took = self.began.until(self.clock.now()).clamp(least, most);
            self.clock.sleep(self.clock.jitter(took * self.wait / 100)).await;
            self.wait = (self.wait * 3 / 4).max(LAST_WAIT);
            self.was_behind = false;
            if self.clock.now() >= self.started.plus(APPEND_DURATION) {
                return false;
            }
        }
        self.attempts += 1;
        self.began = self.clock.now();
        true
    }

    /// Begins the next attempt with the value that the store returned for one which was behind. The first such attempt
    /// after a read or a wait begins at once: its value was only read too early. A further one has lost a race.
    /// Returns `false` if the attempts or the time are over.
    pub(crate) async fn begin_behind(&mut self) -> bool {
        let lost_race = mem::replace(&mut self.was_behind, true);
        self.begin(!lost_race).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    #[tokio::test]
    async fn the_first_attempt_does_not_wait_and_those_after_a_lost_race_do() {
        let clock = TestClock::new(1);
        let mut contention = Contention::new(&clock);
        let started = clock.now();
        assert!(contention.begin(false).await && contention.begin(true).await);
        assert_eq!(clock.now(), started);
        clock.sleep(Duration::from_millis(20)).await;
        let lost = clock.now();
        // The second and the third attempt take no time, and count with 1 ms.
        for most in [120, 5, 4] {
            let began = clock.now();
            assert!(contention.begin(false).await);
            assert!(began.until(clock.now()) <= Duration::from_millis(most), "up to {most} ms");
        }
        assert!(clock.now() > lost, "a random wait of seed 1 is not 0");
    }

    #[tokio::test]
    async fn a_value_that_was_read_too_early_is_replaced_at_once_and_a_lost_race_is_waited_for() {
        for seed in 0..20 {
            let clock = TestClock::new(seed);
            let mut contention = Contention::new(&clock);
            assert!(contention.begin(false).await);
            let mut waited = Duration::ZERO;
            for round in 0..10 {
                let began = clock.now();
                assert!(contention.begin_behind().await);
                assert_eq!(clock.now(), began, "seed {seed}, round {round}: at once");
                clock.sleep(Duration::from_millis(30)).await;
                let began = clock.now();
                assert!(contention.begin_behind().await);
                waited += began.until(clock.now());
            }
            assert!(waited > Duration::ZERO, "seed {seed}");
        }
    }

    #[tokio::test]
    async fn attempts_and_time_are_limited() {
        let clock = TestClock::new(1);
        let mut contention = Contention::new(&clock);
        for _ in 0..APPEND_ATTEMPTS {
            assert!(contention.begin(true).await);
        }
        assert!(!contention.begin(true).await && !contention.begin_behind().await, "no attempt is left");

        let mut contention = Contention::new(&clock);
        assert!(contention.begin(false).await);
        clock.sleep(APPEND_DURATION).await;
        assert!(!contention.begin(false).await, "the time is over");
    }
}
