//! Amount of each second, and the largest of them.

use std::time::Duration;

/// Sum of the current second, and the largest sum of one second. Seconds begin with the clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    second: u64,
    sum: f64,
    peak: f64,
    total: f64,
}

impl Meter {
    /// Adds an amount, which may be negative.
    pub(super) fn add(&mut self, now: Duration, amount: f64) {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.sum = 0.0;
        }
        self.sum += amount;
        self.total += amount;
        self.peak = self.peak.max(self.sum);
    }

    pub(super) fn peak(&self) -> f64 {
        self.peak
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_one_second() {
        let mut meter = Meter::default();
        for (millis, amount) in [(0, 1.0), (999, 2.0), (1_000, 2.5), (5_000, 1.0)] {
            meter.add(Duration::from_millis(millis), amount);
        }
        assert!((meter.peak() - 3.0).abs() < 1e-9 && (meter.total() - 6.5).abs() < 1e-9, "{meter:?}");
    }
}
