//! CloudWatch's embedded metric format ("Specification: Embedded metric format" in the CloudWatch guide). CloudWatch
//! creates metrics from log lines.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{Recorded, recorder};

/// Maximum number of values of one metric in one line (the page named above).
const VALUES: usize = 100;

/// The destination of metrics as log lines: a namespace of CloudWatch, or none.
#[derive(Debug, Clone)]
pub(crate) struct CloudWatch {
    namespace: Option<String>,
}

impl CloudWatch {
    pub(crate) fn new(namespace: Option<String>) -> Self {
        Self { namespace }
    }

    /// Logs the metrics recorded since the last call, and returns them.
    pub(crate) fn flush(&self) -> Vec<Recorded> {
        let recorded = recorder::take();
        if let Some(namespace) = &self.namespace {
            for line in lines(namespace, &recorded, SystemTime::now()) {
                println!("{line}");
            }
        }
        recorded
    }
}

/// Returns the lines with the metrics of an invocation. A line contains each metric once. A further line is needed for
/// another value of a dimension, or for more than 100 values.
fn lines(namespace: &str, recorded: &[Recorded], now: SystemTime) -> Vec<String> {
    let parts = recorded.iter().flat_map(|one| one.values.chunks(VALUES).map(move |values| (one, values)));
    let mut lines: Vec<Vec<(&Recorded, &[f64])>> = Vec::new();
    for (one, values) in parts {
        let is_new = |line: &&mut Vec<(&Recorded, &[f64])>| {
            line.iter().all(|(other, _)| other.metric.name != one.metric.name && fit(one, other))
        };
        match lines.iter_mut().find(is_new) {
            Some(line) => line.push((one, values)),
            None => lines.push(vec![(one, values)]),
        }
    }
    lines.iter().map(|line| write(namespace, line, now)).collect()
}

/// Returns whether two metrics fit in one line, which has one value per dimension.
fn fit(one: &Recorded, other: &Recorded) -> bool {
    match (&one.dimension, &other.dimension) {
        (Some((name, value)), Some((other_name, other_value))) => name != other_name || value == other_value,
        _ => true,
    }
}

fn write(namespace: &str, line: &[(&Recorded, &[f64])], now: SystemTime) -> String {
    let mut members = Map::new();
    let mut directives: Vec<(Option<&str>, Vec<Value>)> = Vec::new();
    for (Recorded { metric, dimension, .. }, values) in line {
        let value = if let [value] = values { number(*value) } else { values.iter().copied().map(number).collect() };
        members.insert(metric.name.to_owned(), value);
        let name = dimension.as_ref().map(|(name, value)| {
            members.insert((*name).to_owned(), value.as_str().into());
            *name
        });
        let definition = json!({ "Name": metric.name, "Unit": metric.cloudwatch_unit() });
        match directives.iter_mut().find(|(dimension, _)| *dimension == name) {
            Some((_, definitions)) => definitions.push(definition),
            None => directives.push((name, vec![definition])),
        }
    }
    let directives: Vec<Value> = directives
        .into_iter()
        .map(|(dimension, metrics)| {
            let dimensions: Vec<&str> = dimension.into_iter().collect();
            json!({ "Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics })
        })
        .collect();
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let timestamp = u64::try_from(millis).unwrap_or(u64::MAX);
    members.insert("_aws".to_owned(), json!({ "Timestamp": timestamp, "CloudWatchMetrics": directives }));
    Value::Object(members).to_string()
}

/// Returns whole numbers without a fraction, others with three decimal places.
fn number(value: f64) -> Value {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and well inside the range of i64")]
        return json!(rounded as i64);
    }
    json!(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{AGENT_REPLIES, MESSAGES_APPENDED, MODEL_TOKENS, Metric, STREAM_LAG};

    fn recorded(metric: &Metric, dimension: Option<&str>, values: &[f64]) -> Recorded {
        let dimension = metric.dimensions.first().copied().zip(dimension.map(str::to_owned));
        Recorded { metric: *metric, dimension, values: values.to_vec() }
    }

    fn parsed(recorded: &[Recorded]) -> Vec<Value> {
        let lines =
            lines("Switchboard/test", recorded, UNIX_EPOCH + std::time::Duration::from_millis(1_795_600_000_123));
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_invocation_is_one_line() {
        let lines = parsed(&[
            recorded(&MESSAGES_APPENDED, None, &[2.0]),
            recorded(&STREAM_LAG, None, &[12.3456, 7.0]),
            recorded(&AGENT_REPLIES, Some("replied"), &[1.0]),
        ]);
        let expected = json!({
            "_aws": { "Timestamp": 1_795_600_000_123_u64, "CloudWatchMetrics": [
                { "Namespace": "Switchboard/test", "Dimensions": [[]], "Metrics": [
                    { "Name": "switchboard.messages.appended", "Unit": "Count" },
                    { "Name": "switchboard.stream.lag", "Unit": "Milliseconds" },
                ] },
                { "Namespace": "Switchboard/test", "Dimensions": [["outcome"]], "Metrics": [
                    { "Name": "switchboard.agent.replies", "Unit": "Count" },
                ] },
            ] },
            "switchboard.messages.appended": 2,
            "switchboard.stream.lag": [12.346, 7],
            "switchboard.agent.replies": 1,
            "outcome": "replied",
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn a_line_holds_each_metric_once_and_a_hundred_values() {
        let lines = parsed(&[
            recorded(&MODEL_TOKENS, Some("input"), &[30.0]),
            recorded(&MODEL_TOKENS, Some("output"), &[9.0]),
            recorded(&STREAM_LAG, None, &[1.0; 150]),
        ]);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["gen_ai.token.type"], &lines[1]["gen_ai.token.type"]),
            (&json!("input"), &json!("output"))
        );
        let lags = |line: &Value| line["switchboard.stream.lag"].as_array().unwrap().len();
        assert_eq!((lags(&lines[0]), lags(&lines[1])), (100, 50));
        assert!(parsed(&[]).is_empty());
    }
}
