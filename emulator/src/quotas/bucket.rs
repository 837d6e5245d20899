//! Token bucket.

use std::{num::NonZeroU32, time::Duration};

/// Tolerance of fractions of tokens, which are sums of binary fractions.
const ROUNDING: f64 = 1e-6;

/// Bucket that gains `rate` tokens a second and holds at most its capacity. A new one is full.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: f64,
    capacity: f64,
    tokens: f64,
    /// Time of the last refill.
    at: Duration,
}

impl Bucket {
    pub(super) fn new(rate: NonZeroU32, capacity: NonZeroU32, now: Duration) -> Self {
        let capacity = f64::from(capacity.get());
        Self { rate: f64::from(rate.get()), capacity, tokens: capacity, at: now }
    }

    /// Takes one token. Returns `false` if there is none.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let has_one = self.tokens >= 1.0 - ROUNDING;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// Takes tokens if any is left. The balance may become negative. Returns `false` if none is left.
    pub(super) fn take_into_debt(&mut self, tokens: f64, now: Duration) -> bool {
        self.refill(now);
        let has_any = self.tokens > ROUNDING;
        if has_any {
            self.tokens -= tokens;
        }
        has_any
    }

    /// Takes tokens without a check. A negative number gives them back.
    pub(super) fn charge(&mut self, tokens: f64, now: Duration) {
        self.refill(now);
        self.tokens = (self.tokens - tokens).min(self.capacity);
    }

    pub(super) fn is_full(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.tokens >= self.capacity - ROUNDING
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: u32, capacity: u32) -> Bucket {
        Bucket::new(NonZeroU32::new(rate).unwrap(), NonZeroU32::new(capacity).unwrap(), Duration::ZERO)
    }

    #[test]
    fn it_admits_its_capacity_and_then_its_rate() {
        let mut bucket = bucket(10_000, 5_000);
        let mut admitted = 0;
        for millis in 0..10_000 {
            let now = Duration::from_millis(millis);
            admitted += (0..20).filter(|_| bucket.take(now)).count();
        }
        assert!((104_980..=104_990).contains(&admitted), "{admitted}");
    }

    #[test]
    fn debt_is_paid_before_the_next_token() {
        let mut bucket = bucket(100, 100);
        assert!(bucket.take_into_debt(250.0, Duration::ZERO));
        assert!(!bucket.take_into_debt(1.0, Duration::from_millis(1_500)));
        assert!(bucket.take_into_debt(1.0, Duration::from_millis(1_510)));
        assert!(!bucket.is_full(Duration::from_secs(2)));
        assert!(bucket.is_full(Duration::from_secs(3)));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = bucket(1, 1);
        assert!(bucket.take(Duration::from_secs(5)));
        assert!(!bucket.take(Duration::ZERO));
        assert!(!bucket.take(Duration::from_secs(5)));
        assert!(bucket.take(Duration::from_secs(6)));
    }
}
