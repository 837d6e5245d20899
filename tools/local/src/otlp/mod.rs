//! An OTLP receiver (HTTP, protobuf and JSON) with recent traces in memory, so that the page can show the journey of a
//! message without another program.
//!
//! A [`Collector`] contains all parts: [`Collector::router`] is its server, [`Collector::trace`] and
//! [`Collector::of_message`] return its traces, and a [`Forwarder`] sends all data to another collector. Metrics and
//! logs are checked, counted and forwarded. Only traces are stored.
//!
//! The protocol is that of "OTLP/HTTP" in the OpenTelemetry Protocol specification.

mod forward;
mod receive;
mod span;
mod store;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::Router;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio::sync::watch;

use self::store::Traces;
pub use self::{
    forward::{ForwardError, Forwarder},
    receive::Signal,
    span::{Attributes, Event, Kind, Link, NoTraceId, Span, SpanId, Status, TraceId},
    store::{Rejected, Summary, Trace},
};

/// Maximum body in bytes, after decompression. Exporters send far less: the SDKs' batch processor sends at most 512
/// spans.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Limits of the stored traces. If they are exceeded, the trace that was unchanged for the longest time is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of traces.
    pub traces: usize,
    /// Maximum number of spans of all traces.
    pub spans: usize,
    /// Maximum number of spans of one trace. Further ones are rejected with a partial success.
    pub spans_of_a_trace: usize,
}

impl Default for Limits {
    /// Returns limits for some hours of chat, in about 50 MB.
    fn default() -> Self {
        Self { traces: 2_000, spans: 30_000, spans_of_a_trace: 3_000 }
    }
}

/// Amount of data received since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Number of spans, including rejected ones.
    pub spans: u64,
    /// Number of data points of metrics.
    pub data_points: u64,
    /// Number of log records.
    pub log_records: u64,
}

/// OTLP receiver and its data. Clones share it.
#[derive(Debug, Clone)]
pub struct Collector {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    traces: Mutex<Traces>,
    changed: watch::Sender<u64>,
    spans: AtomicU64,
    data_points: AtomicU64,
    log_records: AtomicU64,
    forwarder: Option<Forwarder>,
}

impl Collector {
    /// Creates a collector that stores up to `limits`, and forwards all data if there is a `forwarder`.
    #[must_use]
    pub fn new(limits: Limits, forwarder: Option<Forwarder>) -> Self {
        let inner = Inner {
            traces: Mutex::new(Traces::new(limits)),
            changed: watch::Sender::new(0),
            spans: AtomicU64::new(0),
            data_points: AtomicU64::new(0),
            log_records: AtomicU64::new(0),
            forwarder,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the server: `POST /v1/traces`, `/v1/metrics` and `/v1/logs`.
    pub fn router(&self) -> Router {
        receive::router(self.clone())
    }

    /// Returns the received part of a trace, with its spans in the order in which they began.
    #[must_use]
    pub fn trace(&self, id: TraceId) -> Option<Trace> {
        self.traces().get(id)
    }

    /// Returns the traces with a span about this message (its attributes `switchboard.channel_id` and
    /// `switchboard.seq`), oldest first: the trace of the send, then those of the edits.
    #[must_use]
    pub fn of_message(&self, channel_id: &str, seq: u64) -> Vec<Summary> {
        self.traces().of_message(channel_id, seq)
    }

    /// Returns the amount of data received since the start.
    #[must_use]
    pub fn received(&self) -> Received {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { spans, data_points, log_records, .. } = &*self.inner;
        Received { spans: read(spans), data_points: read(data_points), log_records: read(log_records) }
    }

    /// Returns a receiver that changes on new data, so that callers need not poll.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    fn add_spans(&self, spans: Vec<ResourceSpans>) -> Rejected {
        let count = spans.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len()).sum();
        let rejected = self.traces().add(spans);
        self.count(&self.inner.spans, count);
        rejected
    }

    fn count(&self, counter: &AtomicU64, items: usize) {
        counter.fetch_add(items as u64, Ordering::Relaxed);
        self.inner.changed.send_modify(|version| *version += 1);
    }

    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.inner.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
