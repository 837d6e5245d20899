//! Metrics: the one list for the functions, the dashboard and the alarms.
//!
//! A value is recorded once, at its origin. At the end of an invocation, its values are logged in CloudWatch's embedded
//! metric format. They are also exported through OTLP, if there is a collector.

mod emf;
mod otlp;
mod recorder;

pub(crate) use emf::CloudWatch;
pub(crate) use otlp::Instruments;
pub(crate) use recorder::Recorded;
pub use recorder::{count, count_by, observe, observe_by};

/// The aggregation of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// Single values with a distribution.
    Histogram,
}

/// A metric: the same name in OTLP and in CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// Counter or histogram.
    pub kind: Kind,
    /// The unit, in the notation of UCUM that OpenTelemetry uses.
    pub unit: &'static str,
    /// Attributes in OTLP, dimensions in CloudWatch.
    pub dimensions: &'static [&'static str],
    /// The meaning of one value.
    pub meaning: &'static str,
}

impl Metric {
    const fn counter(name: &'static str, unit: &'static str, meaning: &'static str) -> Self {
        Self { name, kind: Kind::Counter, unit, dimensions: &[], meaning }
    }

    const fn histogram(name: &'static str, unit: &'static str, meaning: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, unit, dimensions: &[], meaning }
    }

    const fn by(self, dimensions: &'static [&'static str]) -> Self {
        Self { dimensions, ..self }
    }

    /// Returns the unit of the values in CloudWatch ("MetricDatum" in the CloudWatch API reference).
    #[must_use]
    pub fn cloudwatch_unit(&self) -> &'static str {
        match self.unit {
            "ms" => "Milliseconds",
            "s" => "Seconds",
            _ => "Count",
        }
    }
}

/// `POST` requests of messages with the response 201 or 200.
pub const MESSAGES_ACCEPTED: Metric =
    Metric::counter("switchboard.messages.accepted", "{message}", "a POST of a message returned 201 or 200");

/// Messages stored, by users and by the agent.
pub const MESSAGES_APPENDED: Metric =
    Metric::counter("switchboard.messages.appended", "{message}", "a new message was written, replies included");

/// Lost races for a channel's next `seq`.
pub const APPEND_CONFLICTS: Metric = Metric::counter(
    "switchboard.append.conflicts",
    "{conflict}",
    "an attempt to append lost a race for the channel's next number",
);

/// Sockets that received all their frames.
pub const PUSHES_DELIVERED: Metric =
    Metric::counter("switchboard.pushes.delivered", "{push}", "a socket received all its frames");

/// Sockets that were closed already.
pub const PUSHES_GONE: Metric = Metric::counter("switchboard.pushes.gone", "{push}", "a socket was gone or expired");

/// Retries of a push.
pub const PUSHES_RETRIED: Metric =
    Metric::counter("switchboard.pushes.retried", "{push}", "a push failed and was retried");

/// Sockets whose frames were dropped.
pub const PUSHES_FAILED: Metric = Metric::counter(
    "switchboard.pushes.failed",
    "{push}",
    "frames of a socket were dropped; its client detects the gap",
);

/// Sockets that were requeued to another invocation.
pub const PUSHES_HANDED_OVER: Metric = Metric::counter(
    "switchboard.pushes.requeued",
    "{connection}",
    "frames of a socket were requeued to another invocation",
);

/// Time from commit to pick-up.
pub const STREAM_LAG: Metric =
    Metric::histogram("switchboard.stream.lag", "ms", "from the commit of a message to its pick-up by a worker");

/// Sockets that receive the messages of one channel.
pub const FAN_OUT_SIZE: Metric =
    Metric::histogram("switchboard.fan_out.size", "{connection}", "sockets that receive the messages of one channel");

/// Duration of the delivery of one channel's messages.
pub const FAN_OUT_DURATION: Metric =
    Metric::histogram("switchboard.fan_out.duration", "ms", "from the query of the subscriptions to the last push");

/// Time from the write of a message to the end of its push.
pub const PUSH_LATENCY: Metric = Metric::histogram(
    "switchboard.push.latency",
    "ms",
    "from the write of a message to the end of its push to the sockets of a channel",
);

/// Messages that the agent has processed.
pub const AGENT_REPLIES: Metric = Metric::counter(
    "switchboard.agent.replies",
    "{reply}",
    "the agent finished a message: replied, failed or cancelled",
)
.by(&["outcome"]);

/// Tokens of one model call.
pub const MODEL_TOKENS: Metric =
    Metric::histogram("gen_ai.client.token.usage", "{token}", "tokens of one model call: input and output")
        .by(&["gen_ai.token.type"]);

/// Duration of a model call.
pub const MODEL_DURATION: Metric =
    Metric::histogram("gen_ai.client.operation.duration", "s", "one model call, to its last token");

/// Opened connections.
pub const CONNECTIONS_OPENED: Metric =
    Metric::counter("switchboard.connections.opened", "{connection}", "a connection was accepted");

/// Closed connections.
pub const CONNECTIONS_CLOSED: Metric =
    Metric::counter("switchboard.connections.closed", "{connection}", "a connection was closed and removed");

/// Spans that were not exported.
pub const SPANS_DROPPED: Metric = Metric::counter(
    "switchboard.telemetry.spans_dropped",
    "{span}",
    "a span was lost: the queue was full, or the collector did not take or rejected it",
);

/// All metrics.
pub const METRICS: &[Metric] = &[
    MESSAGES_ACCEPTED,
    MESSAGES_APPENDED,
    APPEND_CONFLICTS,
    PUSHES_DELIVERED,
    PUSHES_GONE,
    PUSHES_RETRIED,
    PUSHES_FAILED,
    PUSHES_HANDED_OVER,
    STREAM_LAG,
    FAN_OUT_SIZE,
    FAN_OUT_DURATION,
    PUSH_LATENCY,
    AGENT_REPLIES,
    MODEL_TOKENS,
    MODEL_DURATION,
    CONNECTIONS_OPENED,
    CONNECTIONS_CLOSED,
    SPANS_DROPPED,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_metric_has_a_name_of_its_own_and_says_what_it_means() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(METRICS.iter().all(|metric| !metric.meaning.is_empty() && !metric.unit.is_empty()));
    }

    #[test]
    fn the_documented_ones_are_these() {
        let text = include_str!("../../../../docs/reference/telemetry.md");
        let (_, section) = text.split_once("## Metrics\n").unwrap();
        let documented: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |metric: &Metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            let dimensions: Vec<String> = metric.dimensions.iter().map(|name| format!("`{name}`")).collect();
            let (name, unit, meaning) = (metric.name, metric.unit, metric.meaning);
            format!("| `{name}` | {kind} | `{unit}` | {} | {meaning} |", dimensions.join(", "))
        };
        assert_eq!(documented, METRICS.iter().map(row).collect::<Vec<_>>());
    }
}
