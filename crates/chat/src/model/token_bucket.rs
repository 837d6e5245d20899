//! Token buckets (GCRA): one timestamp is the whole state.

use std::time::Duration;

use crate::model::time::Timestamp;

/// Result of taking a token: the time when the bucket is full after that, or the wait until the next token.
pub type Taken = Result<Timestamp, Duration>;

/// State of a bucket after a request, as its user may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Name of the limited action.
    pub action: &'static str,
    /// The bucket.
    pub bucket: Bucket,
    /// Number of tokens left.
    pub left: u32,
    /// Time until the bucket is full, or, if no token is left, until the next token.
    pub reset: Duration,
}

/// Token bucket of `burst` tokens, which regains one after each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Interval between two tokens.
    pub every: Duration,
    /// Number of tokens in a full bucket; at least 1.
    pub burst: u32,
}

impl Bucket {
    /// Returns a bucket of `per_minute` tokens that fills within a minute.
    #[must_use]
    pub fn per_minute(per_minute: u32) -> Self {
        let burst = per_minute.max(1);
        Self { every: Duration::from_mins(1) / burst, burst }
    }

    /// Returns a bucket of `burst` tokens that fills at `per_second`.
    #[must_use]
    pub fn per_second(per_second: u32, burst: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1) }
    }

    /// Returns how far in the future the bucket may be full, so that it still has a token.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        self.every.saturating_mul(self.burst.saturating_sub(1))
    }

    /// Takes a token at `now` from a bucket that is full at `full_at` (`None`: full already). Returns the time when the
    /// bucket is full after that.
    ///
    /// # Errors
    /// The wait until the next token.
    pub fn take(&self, full_at: Option<Timestamp>, now: Timestamp) -> Taken {
        let full_at = full_at.map_or(now, |full_at| full_at.max(now));
        let wait = self.wait(full_at, now);
        if wait.is_zero() { Ok(full_at.plus(self.every)) } else { Err(wait) }
    }

    /// Returns the number of tokens at `now` in a bucket that is full at `full_at`.
    #[must_use]
    pub fn left(&self, full_at: Timestamp, now: Timestamp) -> u32 {
        let taken = now.until(full_at).as_nanos().div_ceil(self.every.as_nanos().max(1));
        self.burst.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// Returns the wait for a token at `now`, if the bucket is full at `full_at`.
    #[must_use]
    pub fn wait(&self, full_at: Timestamp, now: Timestamp) -> Duration {
        now.until(full_at).saturating_sub(self.tolerance())
    }

    /// Returns the state at `now` of a bucket that is full at `full_at`.
    #[must_use]
    pub fn quota(self, action: &'static str, full_at: Timestamp, now: Timestamp) -> Quota {
        let left = self.left(full_at, now);
        let reset = if left == 0 { self.wait(full_at, now) } else { now.until(full_at) };
        Quota { action, bucket: self, left, reset }
    }

    /// Returns the state of a bucket that has its next token after `wait`.
    #[must_use]
    pub fn exhausted(self, action: &'static str, wait: Duration) -> Quota {
        Quota { action, bucket: self, left: 0, reset: wait }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In any period the bucket admits at most its burst plus the tokens that it regained.
        #[test]
        fn a_bucket_lets_through_its_burst_and_its_rate(
            steps in proptest::collection::vec(0_u64..400, 1..200),
            every in 1_u64..500,
            burst in 1_u32..20,
        ) {
            let bucket = Bucket { every: Duration::from_millis(every), burst };
            let start = Timestamp::from_secs(1_800_000_000);
            let (mut now, mut full_at, mut taken) = (start, start, 0_u64);
            for step in steps {
                now = now.plus(Duration::from_millis(step));
                match bucket.take(Some(full_at), now) {
                    Ok(next) => {
                        full_at = next;
                        taken += 1;
                    }
                    Err(wait) => {
                        prop_assert!(bucket.take(Some(full_at), now.plus(wait)).is_ok(), "the wait is long enough");
                    }
                }
            }
            let elapsed = u64::try_from(start.until(now).as_millis()).unwrap();
            prop_assert!(taken <= u64::from(burst) + elapsed / every);
            prop_assert!(taken >= 1);
        }

        /// As many tokens as are left can be taken at once, and the next one after the reset of an empty bucket.
        #[test]
        fn what_is_left_can_be_taken(every in 1_u64..500, burst in 1_u32..20, already in 0_u32..20, later in 0_u64..400) {
            let bucket = Bucket { every: Duration::from_millis(every), burst };
            let start = Timestamp::from_secs(1_800_000_000);
            let mut full_at = start;
            for _ in 0..already.min(burst) {
                full_at = bucket.take(Some(full_at), start).unwrap();
            }
            let now = start.plus(Duration::from_millis(later));
            let quota = bucket.quota("send", full_at, now);
            prop_assert!(quota.left <= burst);
            for _ in 0..quota.left {
                full_at = bucket.take(Some(full_at), now).unwrap();
            }
            let wait = bucket.take(Some(full_at), now).unwrap_err();
            let empty = bucket.quota("send", full_at.max(now), now);
            prop_assert_eq!(empty, bucket.exhausted("send", wait));
            prop_assert!(bucket.take(Some(full_at), now.plus(wait)).is_ok());
        }
    }
}
