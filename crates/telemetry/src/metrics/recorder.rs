//! The values recorded since the end of the last invocation.

use std::sync::{Mutex, PoisonError};

use super::{Kind, Metric};

/// Values of one metric with one attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) metric: Metric,
    /// The name and the value of the dimension, if the metric has one.
    pub(crate) dimension: Option<(&'static str, String)>,
    /// The sum of a counter, or each value of a histogram.
    pub(crate) values: Vec<f64>,
}

static RECORDED: Mutex<Vec<Recorded>> = Mutex::new(Vec::new());

/// Adds `many` to a metric without a dimension.
pub fn count(metric: &Metric, many: usize) {
    if many > 0 {
        record(metric, None, as_f64(many));
    }
}

/// Adds 1 to a metric with a dimension.
pub fn count_by(metric: &Metric, value: &str) {
    record(metric, Some(value), 1.0);
}

/// Records a value of a metric without a dimension.
pub fn observe(metric: &Metric, value: f64) {
    record(metric, None, value);
}

/// Records a value of a metric with a dimension.
pub fn observe_by(metric: &Metric, dimension: &str, value: f64) {
    record(metric, Some(dimension), value);
}

/// Returns all recorded values, and clears them.
pub(crate) fn take() -> Vec<Recorded> {
    std::mem::take(&mut RECORDED.lock().unwrap_or_else(PoisonError::into_inner))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_f64(many: usize) -> f64 {
    many as f64
}

fn record(metric: &Metric, dimension: Option<&str>, value: f64) {
    let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    add(&mut recorded, metric, dimension, value);
}

fn add(recorded: &mut Vec<Recorded>, metric: &Metric, dimension: Option<&str>, value: f64) {
    let dimension = metric.dimensions.first().copied().zip(dimension);
    let known = recorded.iter_mut().find(|known| {
        known.metric.name == metric.name
            && known.dimension.as_ref().map(|(_, value)| value.as_str()) == dimension.map(|(_, value)| value)
    });
    match (known, metric.kind) {
        (None, _) => recorded.push(Recorded {
            metric: *metric,
            dimension: dimension.map(|(name, value)| (name, value.to_owned())),
            values: vec![value],
        }),
        (Some(known), Kind::Histogram) => known.values.push(value),
        (Some(known), Kind::Counter) => known.values.iter_mut().take(1).for_each(|sum| *sum += value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{AGENT_REPLIES, FAN_OUT_SIZE, PUSHES_GONE};

    #[test]
    fn counters_add_up_and_histograms_keep_each_value() {
        let mut recorded = Vec::new();
        for value in [1.0, 2.0] {
            add(&mut recorded, &PUSHES_GONE, None, value);
            add(&mut recorded, &FAN_OUT_SIZE, None, value);
        }
        for outcome in ["replied", "failed", "replied"] {
            add(&mut recorded, &AGENT_REPLIES, Some(outcome), 1.0);
        }
        let seen: Vec<_> = recorded
            .iter()
            .map(|one| (one.metric.name, one.dimension.as_ref().map(|(_, value)| value.as_str()), one.values.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                (PUSHES_GONE.name, None, vec![3.0]),
                (FAN_OUT_SIZE.name, None, vec![1.0, 2.0]),
                (AGENT_REPLIES.name, Some("replied"), vec![2.0]),
                (AGENT_REPLIES.name, Some("failed"), vec![1.0]),
            ]
        );
    }
}
