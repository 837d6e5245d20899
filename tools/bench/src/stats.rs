//! Statistics of measurements.

use std::time::Duration;

use serde::Serialize;

/// Measurements of one value, in one unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

/// Summary of a sample.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Summary {
    /// Number of measurements.
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Sample {
    /// Creates a sample in milliseconds.
    pub(crate) fn milliseconds(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self(durations.into_iter().map(milliseconds).collect())
    }

    /// Creates a sample in microseconds.
    pub(crate) fn microseconds(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self(durations.into_iter().map(microseconds).collect())
    }

    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self(values.into_iter().collect())
    }

    /// Returns the summary. All values are `NaN` if there is no measurement.
    pub(crate) fn summary(mut self) -> Summary {
        self.0.sort_unstable_by(f64::total_cmp);
        Summary {
            count: self.0.len(),
            p50: quantile(&self.0, 50),
            p99: quantile(&self.0, 99),
            max: self.0.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl Summary {
    /// Returns the median of each quantile over several rounds, so that one disturbed round does not decide. The count
    /// is the sum, and the maximum is that of all rounds.
    pub(crate) fn median_of(rounds: &[Self]) -> Self {
        let median = |quantile: fn(&Self) -> f64| Sample::of(rounds.iter().map(quantile)).summary().p50;
        Self {
            count: rounds.iter().map(|round| round.count).sum(),
            p50: median(|round| round.p50),
            p99: median(|round| round.p99),
            max: rounds.iter().map(|round| round.max).fold(f64::NAN, f64::max),
        }
    }
}

/// Returns the smallest value that `percent` of all do not exceed ("nearest rank").
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Returns the number per second.
pub(crate) fn rate(count: usize, elapsed: Duration) -> f64 {
    real(count) / elapsed.as_secs_f64()
}

/// Converts a count to a real number.
pub(crate) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measurements() {
        let summary = Sample::of((1..=200).rev().map(f64::from)).summary();
        assert_eq!((summary.count, summary.p50, summary.p99, summary.max), (200, 100.0, 198.0, 200.0));
        let one = Sample::of([7.0]).summary();
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
        assert!(Sample::default().summary().p50.is_nan());
    }

    #[test]
    fn one_bad_round_does_not_decide() {
        let rounds = [[1.0, 3.0], [2.0, 900.0], [2.5, 4.0]].map(|round| Sample::of(round).summary());
        let median = Summary::median_of(&rounds);
        assert_eq!((median.count, median.p50, median.p99, median.max), (6, 2.0, 4.0, 900.0));
        assert!(Summary::median_of(&[]).p99.is_nan());
    }
}
