//! Time and chance, injected.

use std::{
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};

use crate::model::id::Seed;
use crate::model::time::Timestamp;

/// Time and chance as the domain needs them: [`SystemClock`] in production, a scripted one in tests.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Time since a fixed moment. It never goes back, and no correction of the machine's clock moves it.
    fn monotonic(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// 128 random bits.
    fn random(&self) -> u128;

    /// What a new id is made of.
    fn seed(&self) -> Seed {
        Seed { now: self.now(), random: self.random() }
    }

    /// A random duration up to `most`: full jitter, so that those who collided do not collide again.
    fn jitter(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "any 64 of the random bits will do")]
        let random = self.random() as u64;
        Duration::from_micros(random % micros.saturating_add(1))
    }
}

/// The machine's clock and its random numbers.
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

/// Between attempts at a change of a channel, its members or its messages when others change them at the same time.
pub(crate) const CHANGE_BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(10), most: Duration::from_millis(200) };

/// Waits longer and longer between attempts, each time a random part of the bound.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Bound of the first wait; doubled for each further one.
    pub first: Duration,
    /// Bound of every wait.
    pub most: Duration,
}

impl Backoff {
    /// How long to wait before attempt `attempt + 1`; the first attempt is 0.
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

    /// A token may end in a year of five digits: some issuers write milliseconds where seconds are meant.
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
