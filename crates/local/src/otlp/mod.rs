//! What functions export, received and kept for a while: an OTLP receiver (HTTP, protobuf and JSON) with the traces in
//! memory, so that the page can show the journey of a message without any other program.
//!
//! A [`Collector`] is the whole of it: [`Collector::router`] is its server, [`Collector::trace`] and
//! [`Collector::of_message`] are what there is to see, and a [`Forwarder`] hands everything on to another collector.
//! Metrics and logs are checked, counted and handed on; only traces are kept.
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

/// The largest body in bytes, after decompression. Exporters send far less: the batch processor of the SDKs stops at
/// 512 spans.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// How much is kept. What is over it makes room: the trace that nothing was added to for the longest time goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Traces.
    pub traces: usize,
    /// Spans of all traces.
    pub spans: usize,
    /// Spans of one trace; further ones are rejected, in a partial success.
    pub spans_of_a_trace: usize,
}

impl Default for Limits {
    /// An afternoon of talking, in about 50 MB.
    fn default() -> Self {
        Self { traces: 2_000, spans: 30_000, spans_of_a_trace: 3_000 }
    }
}

/// How much has been received since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Spans, those that were rejected included.
    pub spans: u64,
    /// Data points of metrics.
    pub data_points: u64,
    /// Log records.
    pub log_records: u64,
}

/// An OTLP receiver and what it has received. Clones share it.
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
    /// A collector that keeps up to `limits`, and hands on what it receives when there is a `forwarder`.
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

    /// The server: `POST /v1/traces`, `/v1/metrics` and `/v1/logs`.
    pub fn router(&self) -> Router {
        receive::router(self.clone())
    }

    /// A trace as far as it has come in, with its spans in the order in which they began.
    #[must_use]
    pub fn trace(&self, id: TraceId) -> Option<Trace> {
        self.traces().get(id)
    }

    /// The traces with a span about this message (its attributes `switchboard.channel_id` and `switchboard.seq`), the
    /// oldest first: the one in which it was sent, then those of its edits.
    #[must_use]
    pub fn of_message(&self, channel_id: &str, seq: u64) -> Vec<Summary> {
        self.traces().of_message(channel_id, seq)
    }

    /// How much has come in so far.
    #[must_use]
    pub fn received(&self) -> Received {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Inner { spans, data_points, log_records, .. } = &*self.inner;
        Received { spans: read(spans), data_points: read(data_points), log_records: read(log_records) }
    }

    /// Changes whenever something has come in, so that nobody has to ask again and again.
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
