//! Port for time and random numbers.

use std::{
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};

use crate::model::id::Seed;
use crate::model::time::Timestamp;

/// Time and random numbers: [`SystemClock`] in production, a scripted clock in tests.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns the time since a fixed moment. It never goes back, and corrections of the machine's clock do not affect
    /// it.
    fn monotonic(&self) -> Duration;

    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// Returns 128 random bits.
    fn random(&self) -> u128;

    /// Returns the seed of a new id.
    fn seed(&self) -> Seed {
        Seed { now: self.now(), random: self.random() }
    }

    /// Returns a random duration up to `most`: full jitter, so that colliding callers do not collide again.
    fn jitter(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "any 64 of the random bits will do")]
        let random = self.random() as u64;
        Duration::from_micros(random % micros.saturating_add(1))
    }
}

/// System clock and random numbers of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn random(&self) -> u128 {
        rand::random()
    }
}

/// Wait between attempts at a change of a channel, its members or its messages, when other writers change them too.
pub(crate) const CHANGE_BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(10), most: Duration::from_millis(200) };

/// Exponential back-off with full jitter: each wait is a random part of a growing bound.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Upper bound of the first wait. It doubles with each attempt.
    pub first: Duration,
    /// Upper bound of every wait.
    pub most: Duration,
}

impl Backoff {
    /// Returns the wait before attempt `attempt + 1`. The first attempt is 0.
    pub fn delay(&self, clock: &impl Clock, attempt: u32) -> Duration {
        clock.jitter(self.first.saturating_mul(1 << attempt.min(16)).min(self.most))
    }

    /// Waits before attempt `attempt + 1`.
    pub async fn pause(&self, clock: &impl Clock, attempt: u32) {
        clock.sleep(self.delay(clock, attempt)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_what_it_writes_with_milliseconds() {
        let timestamp = Timestamp::from_millis(1_796_000_000_120);
        assert_eq!(timestamp.to_string(), "2026-11-30T00:53:20.120Z");
        assert_eq!(timestamp.to_string().parse::<Timestamp>().unwrap(), timestamp);
    }

    /// Some issuers write milliseconds instead of seconds into tokens, which gives years of five digits.
    #[test]
    fn a_time_beyond_all_years_is_written_as_the_last() {
        for time in [Timestamp::from_secs(4_102_444_800_000), Timestamp::from_millis(i64::MAX)] {
            assert_eq!(time.to_string(), "9999-12-30T22:00:00.999Z");
            assert_eq!(serde_json::to_string(&time).unwrap(), r#""9999-12-30T22:00:00.999Z""#);
        }
        let first = Timestamp::from_millis(i64::MIN).to_string();
        assert_eq!(first.parse::<Timestamp>().unwrap().to_string(), first);
    }

    #[test]
    fn a_time_that_has_passed_is_no_time_away() {
        assert_eq!(Timestamp::from_secs(10).until(Timestamp::from_secs(4)), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(4).until(Timestamp::from_secs(10)), Duration::from_secs(6));
    }

    #[test]
    fn a_delay_never_exceeds_its_bound() {
        let backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(80) };
        for attempt in 0..200 {
            assert!(backoff.delay(&SystemClock, attempt) <= backoff.most);
        }
    }
}
