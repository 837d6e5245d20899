//! Bounds of the capacity units that a command of operators takes per second, so that requests of clients have room.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chat::ports::clock::Clock;

/// Maximum capacity units per second, for reads and for writes. Clones share what they have taken.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    pub(crate) reads: Budget,
    pub(crate) writes: Budget,
}

impl Pace {
    /// Returns bounds of so many units per second. `None`: unlimited.
    #[must_use]
    pub fn new(read_units: Option<u32>, write_units: Option<u32>) -> Self {
        Self { reads: Budget::new(read_units), writes: Budget::new(write_units) }
    }
}

/// Bound of one kind of units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Budget(Option<Arc<Taken>>);

#[derive(Debug)]
struct Taken {
    per_second: f64,
    /// Time when the units that were taken are within the bound.
    free_at: Mutex<Duration>,
}

impl Budget {
    fn new(per_second: Option<u32>) -> Self {
        Self(
            per_second
                .filter(|units| *units > 0)
                .map(|units| Arc::new(Taken { per_second: f64::from(units), free_at: Mutex::default() })),
        )
    }

    /// Returns whether the units are bounded, so that responses have to name them.
    pub(crate) fn is_bounded(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until the units that were taken are within the bound.
    pub(crate) async fn wait(&self, clock: &impl Clock) {
        let Some(taken) = &self.0 else { return };
        let free_at = *taken.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = free_at.saturating_sub(clock.monotonic());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    /// Takes units. A call takes them after its response, since only that names them.
    pub(crate) fn take(&self, clock: &impl Clock, units: f64) {
        let Some(taken) = &self.0 else { return };
        let duration = Duration::try_from_secs_f64(units / taken.per_second).unwrap_or_default();
        let mut free_at = taken.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(clock.monotonic()).saturating_add(duration);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use chat::model::time::Timestamp;

    use super::*;

    /// Clock that moves only during sleeps.
    #[derive(Default)]
    struct Sleeping(AtomicU64);

    impl Clock for Sleeping {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }

        async fn sleep(&self, duration: Duration) {
            self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::Relaxed);
        }

        fn random(&self) -> u128 {
            0
        }
    }

    #[tokio::test]
    async fn calls_take_no_more_units_per_second_than_the_bound() {
        let (clock, pace) = (Sleeping::default(), Pace::new(Some(50), None));
        let shared = pace.clone();
        for _ in 0..10 {
            pace.reads.wait(&clock).await;
            shared.reads.take(&clock, 25.0);
        }
        // Nine waits of half a second; the units of the last call hold up no one.
        assert_eq!(clock.monotonic(), Duration::from_millis(4_500));
        pace.writes.take(&clock, 1_000_000.0);
        pace.writes.wait(&clock).await;
        assert_eq!(clock.monotonic(), Duration::from_millis(4_500), "writes are not bounded");
        assert!(pace.reads.is_bounded() && !pace.writes.is_bounded());
    }

    #[tokio::test]
    async fn unused_time_is_no_credit() {
        let (clock, pace) = (Sleeping::default(), Pace::new(None, Some(10)));
        clock.sleep(Duration::from_mins(1)).await;
        for _ in 0..2 {
            pace.writes.wait(&clock).await;
            pace.writes.take(&clock, 10.0);
        }
        assert_eq!(clock.monotonic(), Duration::from_secs(61));
    }
}
