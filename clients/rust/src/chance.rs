//! Random numbers of a client, and its waits between attempts.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(30);

/// Returns the longest wait before attempt `attempt`, counted from 0. A wait is a random part of it (full jitter).
#[must_use]
pub fn longest_wait(attempt: u32) -> Duration {
    BASE.saturating_mul(1 << attempt.min(16)).min(CAP)
}

/// A sequence of random numbers (`SplitMix64`), the same for the same seed. Not for secrets.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Creates the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from 0 up to and including `most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        let number = self.number();
        most.checked_add(1).map_or(number, |count| number % count)
    }

    /// Returns a wait before attempt `attempt`, in milliseconds.
    pub fn wait(&mut self, attempt: u32) -> u64 {
        self.up_to(milliseconds(longest_wait(attempt)))
    }

    /// Returns a key for a request, in the form of a random UUID.
    pub fn key(&mut self) -> String {
        let (high, low) = (self.number(), self.number());
        let (version, variant) = ((high & 0xfff) | 0x4000, (low >> 50) | 0x8000);
        format!(
            "{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            low & 0xffff_ffff_ffff
        )
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Returns a duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_spread_over_it() {
        let mut chance = Chance::new(7);
        let longest = |chance: &mut Chance, attempt| (0..1_000).map(|_| chance.wait(attempt)).max().unwrap();
        assert!((450..=500).contains(&longest(&mut chance, 0)));
        assert!((1_800..=2_000).contains(&longest(&mut chance, 2)));
        assert!((27_000..=30_000).contains(&longest(&mut chance, 40)));
        assert!((0..1_000).any(|_| chance.wait(0) < 50), "a wait may be short: full jitter");
    }

    #[test]
    fn keys_are_uuids() {
        let mut chance = Chance::new(1);
        let (one, other) = (chance.key(), chance.key());
        assert_ne!(one, other);
        for key in [one, other] {
            let parts: Vec<&str> = key.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{key}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{key}");
        }
    }
}
