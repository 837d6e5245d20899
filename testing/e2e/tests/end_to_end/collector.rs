//! A collector that stores the data that it receives: an alternative to the runner's own for the functions' OTLP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::stack::PATIENCE;

/// Fields of a span that tests use. Ids are hexadecimal.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// Traces and spans.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) nanos: (u64, u64),
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Seen>,
    metrics: Vec<String>,
    bodies: Vec<Bytes>,
}

/// Exports of functions.
pub(crate) struct Collector {
    pub(crate) address: String,
    received: Arc<Mutex<Received>>,
    changed: watch::Receiver<()>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Received>>,
    changed: watch::Sender<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::default();
        let (tell, changed) = watch::channel(());
        let shared = Shared { received: Arc::clone(&received), changed: tell };
        let router =
            Router::new().route("/v1/traces", post(traces)).route("/v1/metrics", post(metrics)).with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, received, changed, _server: AbortOnDropHandle::new(server) }
    }

    /// Returns the spans received so far.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.received.lock().unwrap().spans.clone()
    }

    /// Returns the names of the metrics received so far.
    pub(crate) fn metrics(&self) -> Vec<String> {
        self.received.lock().unwrap().metrics.clone()
    }

    /// Returns all received bodies, unchanged.
    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.received.lock().unwrap().bodies.clone()
    }

    /// Returns the first result of `look`, which runs on each change.
    pub(crate) async fn wait<T>(&self, what: &str, mut look: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let found = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = look(&self.spans()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        let found = timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("not in time: {what}, but\n{}", summary(&self.spans())))
    }
}

/// Returns one line per span, for failed tests.
fn summary(spans: &[Seen]) -> String {
    let lines = spans.iter().map(|span| {
        let Seen { service, name, trace, id, parent, links, .. } = span;
        format!("{trace} {id} < {parent:16} {service}: {name} {links:?}\n")
    });
    lines.collect()
}

async fn traces(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let mut received = shared.received.lock().unwrap();
    for resource_spans in request.resource_spans {
        let resource = attributes(&resource_spans.resource.unwrap_or_default().attributes);
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            received.spans.push(Seen {
                service: service.clone(),
                name: span.name,
                kind: span.kind,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                attributes: attributes(&span.attributes),
                nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
            });
        }
    }
    received.bodies.push(body);
    shared.changed.send_replace(());
    StatusCode::OK
}

async fn metrics(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let request = ExportMetricsServiceRequest::decode(body.clone()).unwrap();
    let mut received = shared.received.lock().unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    received.metrics.extend(scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name));
    received.bodies.push(body);
    shared.changed.send_replace(());
    StatusCode::OK
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.as_ref().map(text).unwrap_or_default())).collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(array)) => array.values.iter().map(text).collect::<Vec<_>>().join(","),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
