//! The OTLP receiver: accepted requests, responses, stored traces and forwarding.
//!
//! A binary of its own: the tests install the subscriber of the process and count lines of its log.

// Clippy's exception for tests does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use local::otlp::{Collector, Forwarder, Kind, Limits, MAX_BODY_BYTES, Received, Status};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span,
        span::{Event, Link, SpanKind},
        status::StatusCode as SpanStatus,
    },
};
use prost::Message;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::fmt::MakeWriter;

const PROTOBUF: &str = "application/x-protobuf";
const PATIENCE: Duration = Duration::from_secs(30);

/// Names and values.
type Headers = &'static [(&'static str, &'static str)];

/// A listening receiver.
struct Receiver {
    collector: Collector,
    url: String,
}

impl Receiver {
    async fn start(limits: Limits, forwarder: Option<Forwarder>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, limits, forwarder)
    }

    fn on(listener: TcpListener, limits: Limits, forwarder: Option<Forwarder>) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Collector::new(limits, forwarder);
        let router = collector.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { collector, url }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Response {
        let mut request = Client::new().post(format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn export(&self, spans: Vec<Span>) -> ExportTraceServiceResponse {
        let response =
            self.post("/v1/traces", &[("content-type", PROTOBUF)], of_service("chat", spans).encode_to_vec()).await;
        assert_eq!(response.status(), 200);
        decoded(response).await
    }
}

async fn decoded<M: Message + Default>(response: Response) -> M {
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    M::decode(response.bytes().await.unwrap()).unwrap()
}

/// The message of a rejection: field 2 of `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(string, tag = "2")]
    message: String,
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn span(trace: u8, id: u8, name: &str) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_790_000_000_000_000_000 + u64::from(id),
        end_time_unix_nano: 1_790_000_000_500_000_000,
        ..Default::default()
    }
}

fn about(channel_id: &str, seq: i64, span: Span) -> Span {
    let attributes = vec![text("switchboard.channel_id", channel_id), attribute("switchboard.seq", Any::IntValue(seq))];
    Span { attributes, ..span }
}

fn of_service(name: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope { name: "tests".to_owned(), ..Default::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: vec![text("service.name", name)], ..Default::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
            ..Default::default()
        }],
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn id_of(trace: u8) -> local::otlp::TraceId {
    format!("{trace:02x}").repeat(16).parse().unwrap()
}

#[tokio::test]
async fn everything_that_a_span_says_is_kept() {
    let receiver = Receiver::start(Limits::default(), None).await;
    let mut child = about("lobby", 7, span(1, 2, "DynamoDB.TransactWriteItems"));
    child.parent_span_id = vec![1; 8];
    child.kind = SpanKind::Client.into();
    child.status = Some(opentelemetry_proto::tonic::trace::v1::Status {
        code: SpanStatus::Error.into(),
        message: "TransactionCanceledException".to_owned(),
    });
    child.attributes.extend([
        attribute("rate", Any::DoubleValue(0.5)),
        attribute("retried", Any::BoolValue(true)),
        attribute("bytes", Any::BytesValue(vec![1, 2, 3])),
    ]);
    child.events = vec![
        Event { time_unix_nano: 20, name: "second".to_owned(), ..Default::default() },
        Event {
            time_unix_nano: 10,
            name: "first".to_owned(),
            attributes: vec![text("why", "x")],
            ..Default::default()
        },
    ];
    child.links = vec![Link { trace_id: vec![9; 16], span_id: vec![8; 8], ..Default::default() }];
    let answer = receiver.export(vec![child, span(1, 1, "POST /channels/{channel_id}/messages")]).await;
    assert_eq!(answer.partial_success, None);

    let trace = receiver.collector.trace(id_of(1)).unwrap();
    let [root, child] = &trace.spans[..] else { panic!("{trace:?}") };
    assert_eq!(
        (root.name.as_str(), root.kind, root.status),
        ("POST /channels/{channel_id}/messages", Kind::Internal, Status::Unset)
    );
    assert_eq!((child.kind, child.status), (Kind::Client, Status::Error));
    assert_eq!(
        serde_json::to_value(&**child).unwrap(),
        json!({
            "trace_id": "01010101010101010101010101010101",
            "span_id": "0202020202020202",
            "parent_span_id": "0101010101010101",
            "name": "DynamoDB.TransactWriteItems",
            "kind": "client",
            "service": "chat",
            "scope": "tests",
            "start_ns": "1790000000000000002",
            "end_ns": "1790000000500000000",
            "status": "error",
            "status_message": "TransactionCanceledException",
            "attributes": {
                "switchboard.channel_id": "lobby", "switchboard.seq": 7, "rate": 0.5, "retried": true, "bytes": "AQID",
            },
            "events": [
                {"time_ns": "10", "name": "first", "attributes": {"why": "x"}},
                {"time_ns": "20", "name": "second", "attributes": {}},
            ],
            "links": [
                {"trace_id": "09090909090909090909090909090909", "span_id": "0808080808080808", "attributes": {}},
            ],
            "resource": {"service.name": "chat"},
        })
    );
}

#[tokio::test]
async fn metrics_and_logs_are_answered_and_counted() {
    let receiver = Receiver::start(Limits::default(), None).await;
    let points = vec![NumberDataPoint::default(), NumberDataPoint::default()];
    let metric =
        Metric { data: Some(Data::Sum(Sum { data_points: points, ..Default::default() })), ..Default::default() };
    let metrics = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
            ..Default::default()
        }],
    };
    let response = receiver.post("/v1/metrics", &[("content-type", PROTOBUF)], metrics.encode_to_vec()).await;
    assert_eq!(decoded::<ExportMetricsServiceResponse>(response).await.partial_success, None);
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records: vec![LogRecord::default()], ..Default::default() }],
            ..Default::default()
        }],
    };
    let response = receiver.post("/v1/logs", &[("content-type", PROTOBUF)], logs.encode_to_vec()).await;
    assert_eq!(decoded::<ExportLogsServiceResponse>(response).await.partial_success, None);
    assert_eq!(receiver.collector.received(), Received { spans: 0, data_points: 2, log_records: 1 });
}

#[tokio::test]
async fn both_encodings_and_gzip_are_taken_and_answered_alike() {
    let receiver = Receiver::start(Limits::default(), None).await;
    // JSON by the specification: ids in hexadecimal, times as text, enumerations as numbers.
    let document = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json"}}]},
        "scopeSpans": [{"scope": {"name": "s"}, "spans": [{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "I am JSON",
            "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000000", "kind": 2,
            "attributes": [{"key": "switchboard.seq", "value": {"intValue": "3"}}], "newField": {"unknown": true},
        }]}],
    }]});
    let headers = [("content-type", "application/json; charset=utf-8"), ("content-encoding", "gzip")];
    let response = receiver.post("/v1/traces", &headers, gzip(document.to_string().as_bytes())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer.get("partialSuccess").filter(|partial| !partial.is_null()), None, "{answer}");
    let trace = receiver.collector.trace("5b8efff798038103d269b633813fc60c".parse().unwrap()).unwrap();
    assert_eq!((trace.spans[0].service.as_str(), trace.spans[0].kind), ("json", Kind::Server));
    assert_eq!(trace.spans[0].attributes["switchboard.seq"], 3);

    let body = gzip(&of_service("chat", vec![span(2, 1, "zipped")]).encode_to_vec());
    let response = receiver.post("/v1/traces", &[("content-type", PROTOBUF), ("content-encoding", "gzip")], body).await;
    assert_eq!(response.status(), 200);
    assert_eq!(receiver.collector.trace(id_of(2)).unwrap().spans[0].name, "zipped");
}

#[tokio::test]
async fn what_is_no_export_is_refused_with_a_reason() {
    let receiver = Receiver::start(Limits::default(), None).await;
    let whole = of_service("chat", vec![span(1, 1, "x")]).encode_to_vec();
    let cut = whole[..whole.len() - 3].to_vec();
    let bomb = gzip(&vec![0; MAX_BODY_BYTES + 1]);
    assert!(bomb.len() < MAX_BODY_BYTES / 100);
    let cases: [(Headers, Vec<u8>, u16, &str); 6] = [
        (&[("content-type", PROTOBUF)], cut, 400, "underflow"),
        (&[("content-type", PROTOBUF), ("content-encoding", "gzip")], whole.clone(), 400, "not valid gzip"),
        (&[("content-type", PROTOBUF), ("content-encoding", "gzip")], bomb, 413, "4194304 bytes"),
        (&[("content-type", PROTOBUF), ("content-encoding", "zstd")], whole.clone(), 415, "not zstd"),
        (&[("content-type", PROTOBUF)], vec![0; MAX_BODY_BYTES + 1], 413, "limit"),
        (&[("content-type", "application/X-Protobuf")], vec![0xff], 400, "varint"),
    ];
    for (headers, body, status, reason) in cases {
        let response = receiver.post("/v1/traces", headers, body).await;
        assert_eq!(response.status(), status, "{headers:?}");
        let refusal: Refusal = decoded(response).await;
        assert!(refusal.message.contains(reason), "{headers:?}: {}", refusal.message);
    }
    // Content types that a form of another site could send.
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let response = receiver.post("/v1/traces", &[("content-type", content_type)], whole.clone()).await;
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        let refusal: Value = response.json().await.unwrap();
        assert!(refusal["message"].as_str().unwrap().contains("content type"), "{refusal}");
    }
    let response =
        receiver.post("/v1/traces", &[("content-type", "application/json")], r#"{"resourceSpans": 7}"#).await;
    assert_eq!(response.status(), 400);
    assert_eq!(receiver.post("/v1/profiles", &[("content-type", PROTOBUF)], whole).await.status(), 404);
    assert_eq!(Client::new().get(format!("{}/v1/traces", receiver.url)).send().await.unwrap().status(), 405);
    assert_eq!(receiver.collector.received().spans, 0);
}

#[tokio::test]
async fn spans_without_valid_ids_are_rejected_alone() {
    let receiver = Receiver::start(Limits::default(), None).await;
    let wrong = |trace_id: Vec<u8>, span_id: Vec<u8>| Span { trace_id, span_id, ..span(1, 1, "wrong") };
    let answer = receiver
        .export(vec![
            span(1, 1, "right"),
            wrong(vec![0; 16], vec![1; 8]),
            wrong(vec![1; 8], vec![1; 8]),
            wrong(vec![1; 16], vec![0; 8]),
        ])
        .await;
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 3);
    assert!(partial.error_message.contains("id of the wrong length"), "{}", partial.error_message);
    assert_eq!(receiver.collector.trace(id_of(1)).unwrap().spans.len(), 1);
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_a_repetition_adds_nothing() {
    let receiver = Receiver::start(Limits { traces: 3, spans: 6, spans_of_a_trace: 4 }, None).await;
    let many = |trace, count| (1..=count).map(|id| span(trace, id, "x")).collect::<Vec<_>>();
    // One trace: the fifth span is over the limit, a repetition of the same four is not.
    let answer = receiver.export(many(1, 5)).await;
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 1);
    assert_eq!(receiver.export(many(1, 4)).await.partial_success, None);
    assert_eq!(receiver.collector.trace(id_of(1)).unwrap().spans.len(), 4);

    // Too many spans in all: the trace that was unchanged for the longest time is removed.
    receiver.export(many(2, 1)).await;
    receiver.export(many(3, 1)).await;
    receiver.export(many(1, 1)).await;
    receiver.export(many(3, 2)).await;
    let kept = |trace| receiver.collector.trace(id_of(trace)).map(|trace| trace.spans.len());
    assert_eq!([kept(1), kept(2), kept(3)], [Some(4), None, Some(2)]);

    // Too many traces.
    let receiver = Receiver::start(Limits { traces: 3, spans: 100, spans_of_a_trace: 100 }, None).await;
    for trace in 1..=5 {
        receiver.export(many(trace, 1)).await;
    }
    let kept: Vec<u8> = (1..=5).filter(|trace| receiver.collector.trace(id_of(*trace)).is_some()).collect();
    assert_eq!(kept, [3, 4, 5]);
}

#[tokio::test]
async fn a_message_leads_to_its_traces_and_a_link_to_what_it_names() {
    let receiver = Receiver::start(Limits::default(), None).await;
    let mut changes = receiver.collector.changes();
    receiver.export(vec![about("lobby", 7, span(5, 2, "an edit")), span(5, 1, "PATCH")]).await;
    receiver.export(vec![about("lobby", 8, span(2, 1, "another number"))]).await;
    receiver.export(vec![about("garden", 7, span(3, 1, "another channel"))]).await;
    let mut sent = about("lobby", 7, span(4, 1, "POST"));
    sent.start_time_unix_nano -= 1_000;
    receiver.export(vec![sent]).await;
    tokio::time::timeout(PATIENCE, changes.wait_for(|version| *version == 4)).await.unwrap().unwrap();
    let found = receiver.collector.of_message("lobby", 7);
    let found: Vec<_> = found.iter().map(|summary| (summary.trace_id, summary.name.as_str(), summary.spans)).collect();
    assert_eq!(found, [(id_of(4), "POST", 1), (id_of(5), "PATCH", 2)]);

    let before = receiver.collector.trace(id_of(4)).unwrap();
    assert!(before.linked.is_empty());
    let link = Link { trace_id: vec![4; 16], span_id: vec![1; 8], ..Default::default() };
    receiver.export(vec![Span { links: vec![link], ..span(6, 1, "invocation") }]).await;
    let after = receiver.collector.trace(id_of(4)).unwrap();
    assert_eq!(after.linked.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["invocation"]);
    assert_ne!(before.version, after.version);
}

/// Starts a forwarder, and returns it with its tasks.
fn forwarder(endpoint: &str, headers: &[(&str, &str)]) -> (Forwarder, TaskTracker, CancellationToken) {
    // Installed before the first event: events during the installation of a subscriber may be lost permanently.
    LazyLock::force(&LOG);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let forwarder = Forwarder::start(endpoint, &headers, &tasks, stop.clone()).unwrap();
    tasks.close();
    (forwarder, tasks, stop)
}

#[tokio::test]
async fn everything_is_handed_on_and_what_waits_still_goes_at_the_end() {
    let other = Receiver::start(Limits::default(), None).await;
    let (forwarder, tasks, stop) = forwarder(&format!("{}/", other.url), &[("x-api-key", "secret")]);
    let dropped = forwarder.dropped();
    let receiver = Receiver::start(Limits::default(), Some(forwarder)).await;
    receiver.export(vec![span(1, 1, "handed on")]).await;
    let logs = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]});
    let response = receiver.post("/v1/logs", &[("content-type", "application/json")], logs.to_string()).await;
    assert_eq!(response.status(), 200);
    stop.cancel();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.unwrap();
    assert_eq!(other.collector.trace(id_of(1)), receiver.collector.trace(id_of(1)));
    assert_eq!(other.collector.received(), Received { spans: 1, data_points: 0, log_records: 1 });
    // After the stop nothing is sent, and the receiver still works.
    receiver.export(vec![span(2, 1, "too late")]).await;
    assert_eq!(*dropped.borrow(), 1);
}

#[tokio::test]
async fn a_silent_collector_costs_nothing_but_what_does_not_fit() {
    // Accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (forwarder, _tasks, _stop) = forwarder(&format!("http://{}", silent.local_addr().unwrap()), &[]);
    let mut dropped = forwarder.dropped();
    let receiver = Receiver::start(Limits::default(), Some(forwarder)).await;
    let large = "x".repeat(MAX_BODY_BYTES - 1_000);
    for id in 1..=8 {
        assert_eq!(receiver.export(vec![span(1, id, &large)]).await.partial_success, None);
    }
    assert_eq!(receiver.collector.trace(id_of(1)).unwrap().spans.len(), 8);
    // 16 MiB wait without a response: four requests are queued, the other four were dropped.
    let dropped = tokio::time::timeout(PATIENCE, dropped.wait_for(|dropped| *dropped >= 4)).await.unwrap().unwrap();
    assert_eq!(*dropped, 4);
}

/// Log of all tests.
static LOG: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(lines.clone()).init();
    lines
});

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Returns the number of lines that contain both texts.
    fn with(&self, one: &str, other: &str) -> usize {
        String::from_utf8(self.0.lock().unwrap().clone())
            .unwrap()
            .lines()
            .filter(|line| line.contains(one) && line.contains(other))
            .count()
    }
}

#[tokio::test]
async fn an_outage_is_logged_once_however_much_it_costs() {
    // A port without a listener until later. Its sockets keep other programs from taking it.
    let mut port: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let sockets = [TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap()];
    for socket in &sockets {
        socket.set_reuseaddr(true).unwrap();
        socket.bind(port).unwrap();
        port = socket.local_addr().unwrap();
    }
    let (forwarder, _tasks, _stop) = forwarder(&format!("http://{port}/some/base"), &[("x-api-key", "secret")]);
    let mut dropped = forwarder.dropped();
    let receiver = Receiver::start(Limits::default(), Some(forwarder)).await;
    for (outage, socket) in (1_u8..).zip(sockets) {
        for id in 1..=3 {
            receiver.export(vec![span(outage, id, "lost to the other")]).await;
        }
        let lost = u64::from(outage) * 3;
        tokio::time::timeout(PATIENCE, dropped.wait_for(|dropped| *dropped == lost)).await.unwrap().unwrap();
        assert_eq!(LOG.with("does not take telemetry", &port.to_string()), usize::from(outage));
        let listener = socket.listen(8).unwrap();
        let (stop, took) = (CancellationToken::new(), Arc::new(tokio::sync::Notify::new()));
        let (stopped, taken) = (stop.clone(), took.clone());
        let router = axum::Router::new().route(
            "/some/base/v1/traces",
            axum::routing::post(move |headers: http::HeaderMap| async move {
                assert_eq!(headers["x-api-key"], "secret");
                taken.notify_one();
            }),
        );
        let server = tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
        });
        receiver.export(vec![span(outage, 9, "arrives")]).await;
        tokio::time::timeout(PATIENCE, took.notified()).await.unwrap();
        stop.cancel();
        tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(*dropped.borrow(), 6);
    assert_eq!(LOG.with("secret", ""), 0);
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused_with_an_example() {
    for wrong in ["", "localhost:4318", "ftp://host", "http://", "http://host:4318/v1/traces"] {
        let error = Forwarder::start(wrong, &[], &TaskTracker::new(), CancellationToken::new()).unwrap_err();
        assert!(error.to_string().contains("http://HOST:PORT"), "{wrong:?}: {error}");
    }
    let headers = [("x-api-key".to_owned(), "se\ncret".to_owned())];
    let error = Forwarder::start("http://host", &headers, &TaskTracker::new(), CancellationToken::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("x-api-key") && !error.contains("cret\""), "{error}");
}
