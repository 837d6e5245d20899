//! Alarms and dashboard of the real template: each of their metrics is emitted.

use std::collections::{BTreeMap, BTreeSet};

use emulator::stack::Stack;
use serde_json::Value;

use super::{backend, backend_stack, deployment, repository};

/// Metrics of AWS with their dimensions: "Types of metrics for Lambda functions", "Available CloudWatch metrics for
/// Amazon SQS", "Amazon API Gateway dimensions and metrics".
const DOCUMENTED: [(&str, &[&str], &[&str]); 3] = [
    (
        "AWS/Lambda",
        &["FunctionName"],
        &["Errors", "Throttles", "Duration", "ConcurrentExecutions", "IteratorAge", "DestinationDeliveryFailures"],
    ),
    ("AWS/SQS", &["QueueName"], &["ApproximateNumberOfMessagesVisible"]),
    ("AWS/ApiGateway", &["ApiName", "Stage"], &["Count", "4XXError", "5XXError", "Latency"]),
];

/// Headings of the run book.
const ANCHORS: [&str; 10] = [
    "iterator-age",
    "queue-not-empty",
    "lost-records",
    "sending-burn",
    "push-burn",
    "function-errors",
    "throttles",
    "slow-sending",
    "failed-pushes",
    "spans-dropped",
];

/// A series of an alarm or a widget.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    namespace: String,
    name: String,
    dimensions: BTreeMap<String, String>,
}

/// Returns the resolved properties of all resources of a type, by logical id.
fn of_type(kind: &str) -> BTreeMap<String, Value> {
    let resources = backend().resolved(&deployment()).unwrap();
    let chosen = resources.into_iter().filter(|(_, resource)| resource["Type"] == kind);
    chosen.map(|(id, mut resource)| (id, resource["Properties"].take())).collect()
}

fn alarms() -> BTreeMap<String, Value> {
    of_type("AWS::CloudWatch::Alarm")
}

/// Returns the alarms that combine others.
fn composite_alarms() -> BTreeMap<String, Value> {
    of_type("AWS::CloudWatch::CompositeAlarm")
}

fn metric(value: &Value) -> Metric {
    let dimensions = value["Dimensions"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Metric {
        namespace: text(&value["Namespace"]),
        name: text(&value["MetricName"]),
        dimensions: dimensions.map(|one| (text(&one["Name"]), text(&one["Value"]))).collect(),
    }
}

fn of_alarm(alarm: &Value) -> Vec<Metric> {
    match alarm["Metrics"].as_array() {
        None => vec![metric(alarm)],
        Some(metrics) => {
            metrics.iter().filter_map(|one| one.get("MetricStat")).map(|one| metric(&one["Metric"])).collect()
        }
    }
}

/// Returns the series of every widget ("Dashboard body structure and syntax": namespace, name, pairs of dimensions,
/// options).
fn of_dashboard() -> Vec<Metric> {
    let resources = backend().resolved(&deployment()).unwrap();
    let dashboard = resources.values().find(|resource| resource["Type"] == "AWS::CloudWatch::Dashboard").unwrap();
    let body: Value = serde_json::from_str(dashboard["Properties"]["DashboardBody"].as_str().unwrap()).unwrap();
    let series = body["widgets"].as_array().unwrap().iter().flat_map(|widget| {
        assert_eq!(widget["properties"]["region"], "eu-west-1");
        widget["properties"]["metrics"].as_array().unwrap()
    });
    series
        .map(|series| {
            let texts: Vec<String> =
                series.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let (pairs, rest) = texts[2..].as_chunks::<2>();
            assert!(rest.is_empty(), "{texts:?}");
            Metric {
                namespace: texts[0].clone(),
                name: texts[1].clone(),
                dimensions: pairs.iter().cloned().map(|[name, value]| (name, value)).collect(),
            }
        })
        .collect()
}

fn check(stack: &Stack, metric: &Metric) {
    let dimensions: Vec<&str> = metric.dimensions.keys().map(String::as_str).collect();
    let known = DOCUMENTED.iter().find(|(namespace, ..)| *namespace == metric.namespace);
    let (_, expected, names) = known.unwrap_or_else(|| panic!("no function emits {metric:?}"));
    assert_eq!(dimensions, *expected, "{metric:?}");
    assert!(names.contains(&metric.name.as_str()), "{metric:?}");
    let named = |value: &String| {
        stack.functions.iter().any(|function| function.name == *value)
            || stack.queues.iter().any(|queue| queue.name == *value)
            || [stack.rest_api.stage.as_str(), "switchboard-rest"].contains(&value.as_str())
    };
    assert!(metric.dimensions.values().all(named), "{metric:?}");
}

#[test]
fn every_alarm_and_widget_names_a_metric_that_is_emitted() {
    let mut series: Vec<Metric> = alarms().values().flat_map(of_alarm).collect();
    series.extend(of_dashboard());
    assert!(series.len() > 60);
    let stack = backend_stack();
    let (of_aws, own): (Vec<_>, Vec<_>) = series.iter().partition(|metric| metric.namespace.starts_with("AWS/"));
    for metric in of_aws {
        check(&stack, metric);
    }
    for metric in &own {
        assert_eq!(metric.namespace, stack.functions[0].environment["METRICS_NAMESPACE"], "{metric:?}");
        let emitted = telemetry::metrics::METRICS.iter().find(|emitted| emitted.name == metric.name);
        let emitted = emitted.unwrap_or_else(|| panic!("no function emits {metric:?}"));
        let dimensions: Vec<&str> = metric.dimensions.keys().map(String::as_str).collect();
        assert_eq!(dimensions, emitted.dimensions, "{metric:?}");
    }
    // All emitted metrics are shown.
    let shown: BTreeSet<&str> = own.iter().map(|metric| metric.name.as_str()).collect();
    let emitted: BTreeSet<&str> = telemetry::metrics::METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, emitted);
}

#[test]
fn every_alarm_leads_to_a_heading_of_the_run_book() {
    let book = std::fs::read_to_string(repository().join("docs/guides/operate.md")).unwrap();
    for anchor in ANCHORS {
        assert!(book.lines().any(|line| line.strip_prefix("### ") == Some(anchor)), "{anchor}");
    }
}

#[test]
fn every_alarm_says_what_to_do_and_tells_somebody() {
    let mut named = BTreeSet::new();
    let composite = composite_alarms();
    let rules: String = composite.values().map(|alarm| alarm["AlarmRule"].as_str().unwrap()).collect();
    for (id, alarm) in alarms() {
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{id}");
        // A window of a composite alarm notifies by it.
        let is_window = rules.contains(&format!("ALARM(\"switchboard-{id}\")"));
        assert_eq!(alarm.get("AlarmActions").is_none(), is_window, "{id}");
    }
    for (id, alarm) in alarms().into_iter().chain(composite) {
        let description = alarm["AlarmDescription"].as_str().unwrap();
        let (what, anchor) = description.split_once(" See docs/guides/operate.md#").unwrap();
        assert!(what.ends_with('.'), "{id}");
        assert!(ANCHORS.contains(&anchor), "{id}: {anchor}");
        named.insert(anchor.to_owned());
        for action in ["AlarmActions", "OKActions"].into_iter().filter(|action| alarm.get(action).is_some()) {
            assert_eq!(alarm[action][0], "arn:aws:sns:eu-west-1:000000000000:switchboard-AlarmsTopic", "{id}");
        }
        assert_eq!(alarm.get("AlarmActions").is_some(), alarm.get("OKActions").is_some(), "{id}");
    }
    assert_eq!(named, ANCHORS.map(str::to_owned).into());
}

#[test]
fn every_function_queue_and_reader_is_watched() {
    let stack = backend_stack();
    let alarms = alarms();
    let of = |namespace: &str, name: &str| -> BTreeSet<String> {
        let series = alarms.values().flat_map(of_alarm);
        let chosen = series.filter(|metric| metric.namespace == namespace && metric.name == name);
        chosen.flat_map(|metric| metric.dimensions.into_values()).collect()
    };
    let functions: BTreeSet<String> = stack.functions.iter().map(|function| function.name.clone()).collect();
    assert_eq!(of("AWS/Lambda", "Errors"), functions);
    assert_eq!(of("AWS/Lambda", "Throttles"), functions);
    let readers = stack.event_source_mappings.iter().map(|mapping| mapping.function.clone()).collect();
    assert_eq!(of("AWS/Lambda", "IteratorAge"), readers);
    let queues = stack.queues.iter().map(|queue| queue.name.clone()).collect();
    assert_eq!(of("AWS/SQS", "ApproximateNumberOfMessagesVisible"), queues);
    // A sum must include all its metrics.
    for (id, alarm) in &alarms {
        let Some(metrics) = alarm["Metrics"].as_array() else { continue };
        if !metrics[0]["Expression"].as_str().unwrap().starts_with("SUM(") {
            continue;
        }
        let ids: Vec<&str> = metrics.iter().skip(1).map(|metric| metric["Id"].as_str().unwrap()).collect();
        assert_eq!(metrics[0]["Expression"], format!("SUM([{}])", ids.join(", ")), "{id}");
    }
}
