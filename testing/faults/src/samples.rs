//! Repeated samples of the processes' memory and handles, and a check for growth.

use std::time::Duration;

use crate::machine::Machine;

/// Limits of growth beyond which a resource leaks: a factor, and an absolute allowance for normal variation.
const MEMORY_GROWTH: (f64, f64) = (1.25, 8.0);
const HANDLES_GROWTH: (f64, f64) = (1.1, 20.0);

/// One sample of the processes.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Messages so far, in thousands.
    messages: f64,
    runner_mib: f64,
    runner_handles: f64,
    /// Largest memory of a function.
    function_mib: f64,
    function_handles: f64,
}

/// All samples.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Sample>);

/// Development of one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Series {
    /// Mean of the second and third tenth, when caches are warm.
    pub(crate) first: f64,
    /// Mean of the last tenth.
    pub(crate) last: f64,
    /// Slope of the regression line from the second tenth on, per 1,000 messages.
    pub(crate) slope: f64,
    pub(crate) unit: &'static str,
    /// Maximum allowed value of `last`.
    pub(crate) allowed: f64,
}

impl Samples {
    /// Takes a sample.
    pub(crate) async fn take(&mut self, machine: &Machine, messages: usize) {
        let Some(runner) = machine.runner().await else { return };
        let functions = machine.functions().await;
        let most = |all: Vec<u64>| number(all.into_iter().max().unwrap_or_default());
        self.0.push(Sample {
            messages: number(u64::try_from(messages).unwrap_or_default()) / 1_000.0,
            runner_mib: number(runner.resident_kib().unwrap_or_default()) / 1_024.0,
            runner_handles: number(runner.handles().unwrap_or_default()),
            function_mib: most(functions.iter().filter_map(crate::process::Process::resident_kib).collect()) / 1_024.0,
            function_handles: most(functions.iter().filter_map(crate::process::Process::handles).collect()),
        });
    }

    /// Returns the series by name; `None` if there are too few samples.
    pub(crate) fn series(&self) -> [(&'static str, Option<Series>); 4] {
        let of = |value: fn(&Sample) -> f64, unit, growth| {
            let points: Vec<(f64, f64)> = self.0.iter().map(|sample| (sample.messages, value(sample))).collect();
            series(&points, unit, growth)
        };
        [
            ("memory of the runner", of(|sample| sample.runner_mib, "MiB", MEMORY_GROWTH)),
            ("handles of the runner", of(|sample| sample.runner_handles, "open", HANDLES_GROWTH)),
            ("memory of the largest function", of(|sample| sample.function_mib, "MiB", MEMORY_GROWTH)),
            ("handles of the function with most", of(|sample| sample.function_handles, "open", HANDLES_GROWTH)),
        ]
    }
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn mean(points: &[(f64, f64)], value: impl Fn(&(f64, f64)) -> f64) -> f64 {
    points.iter().map(value).sum::<f64>() / number(u64::try_from(points.len().max(1)).unwrap_or(1))
}

fn series(points: &[(f64, f64)], unit: &'static str, (share, besides): (f64, f64)) -> Option<Series> {
    let tenth = points.len() / 10;
    if tenth == 0 {
        return None;
    }
    let warm = &points[tenth..];
    let (x, y) = (mean(warm, |point| point.0), mean(warm, |point| point.1));
    let spread: f64 = warm.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = warm.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let first = mean(&points[tenth..2 * tenth], |point| point.1);
    let last = mean(&points[points.len() - tenth..], |point| point.1);
    let slope = if spread > 0.0 { together / spread } else { 0.0 };
    Some(Series { first, last, slope, unit, allowed: first * share + besides })
}

/// Returns the median and the 99th percentile.
pub(crate) fn median_and_p99(all: &mut [Duration]) -> (Duration, Duration) {
    all.sort_unstable();
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
    (at(50).unwrap_or_default(), at(99).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_what_grows_is_too_much() {
        let flat: Vec<(f64, f64)> = (0..100).map(|n| (f64::from(n), 50.0)).collect();
        let flat = series(&flat, "MiB", MEMORY_GROWTH).unwrap();
        assert!(flat.slope.abs() < 1e-9 && flat.last <= flat.allowed, "{flat:?}");
        let leak: Vec<(f64, f64)> = (0..100).map(|n| (f64::from(n), 50.0 + 2.0 * f64::from(n))).collect();
        let leak = series(&leak, "MiB", MEMORY_GROWTH).unwrap();
        assert!((leak.slope - 2.0).abs() < 1e-9 && leak.last > leak.allowed, "{leak:?}");
        assert!(series(&[(0.0, 0.0)], "MiB", MEMORY_GROWTH).is_none());
    }

    #[test]
    fn medians() {
        let mut all: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(median_and_p99(&mut all), (Duration::from_millis(101), Duration::from_millis(199)));
        assert_eq!(median_and_p99(&mut []), (Duration::ZERO, Duration::ZERO));
    }
}
