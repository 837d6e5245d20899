//! Sending spans and metrics to a collector, without anybody waiting for it.
//!
//! What comes is queued; it leaves after a response, within a small budget. Where `OTEL_BSP_SCHEDULE_DELAY` asks for
//! milliseconds between two requests with spans, what comes sooner waits: for a later response, for that time to pass, or for
//! the end of the process. A frozen environment does nothing meanwhile, so its last spans may wait for its next event. A
//! collector that does not answer is left alone for a while, longer each time: a function that waits for it is one that serves
//! nobody. What is lost is counted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{InstrumentationScope, trace::TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, RetryPolicy, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{Temporality, exporter::PushMetricExporter},
    trace::{SdkTracer, SdkTracerProvider, SpanExporter as _},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::Client,
    context::Ids,
    metrics::{self, Instruments, Recorded, SPANS_DROPPED},
    queue::Queue,
    sampler,
};

/// The conventions that names of attributes are from.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Spans in one request.
const BATCH: usize = 512;

/// Sending after a response: all requests together.
const BUDGET: Duration = Duration::from_secs(1);

/// Sending before the end of the process. Lambda kills it half a second after its SIGTERM ("Understanding the Lambda
/// execution environment lifecycle", shutdown phase).
pub(crate) const LAST_BUDGET: Duration = Duration::from_millis(300);

/// Metrics leave at most this often, and at the end: a function under load adds up what it counts, in place of sending one
/// more request for each invocation.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// How long a collector that failed is left alone, at first and at most.
const REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(2));

/// Where telemetry goes.
pub(crate) struct Exporter {
    queue: Queue,
    client: Arc<Client>,
    spans: SpanExporter,
    metrics: MetricExporter,
    instruments: Instruments,
    provider: SdkTracerProvider,
    /// Least time between two requests with spans.
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Not before.
    resting_until: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// When spans leave again; any time as long as none have left.
    spans_due: Option<Instant>,
    /// Whether they leave by themselves then.
    is_scheduled: bool,
    /// When metrics leave again; any time as long as none have left.
    metrics_due: Option<Instant>,
}

impl Exporter {
    /// An exporter to `OTEL_EXPORTER_OTLP_ENDPOINT`, with `OTEL_EXPORTER_OTLP_HEADERS`.
    pub(crate) fn from_env(resource: &Resource) -> Result<Self, ExporterBuildError> {
        let pause = pause(std::env::var("OTEL_BSP_SCHEDULE_DELAY").ok().as_deref());
        let client = Arc::new(Client::default());
        // Retries are the client's: the exporter's own would block the thread.
        let spans = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::<Client>::clone(&client))
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let metrics = MetricExporter::builder()
            .with_temporality(Temporality::Delta)
            .with_http()
            .with_shared_http_client(Arc::<Client>::clone(&client))
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        Ok(Self::new(resource, client, spans, metrics, pause))
    }

    fn new(
        resource: &Resource,
        client: Arc<Client>,
        mut spans: SpanExporter,
        metrics: MetricExporter,
        pause: Duration,
    ) -> Self {
        spans.set_resource(resource);
        let queue = Queue::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue.clone())
            .with_sampler(sampler::from_env())
            .with_id_generator(Ids::default())
            .with_resource(resource.clone())
            .build();
        let instruments = Instruments::new(resource.clone());
        Self { queue, client, spans, metrics, instruments, provider, pause, state: Mutex::default() }
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        let scope = InstrumentationScope::builder("switchboard").with_schema_url(SCHEMA);
        self.provider.tracer_with_scope(scope.with_version(env!("CARGO_PKG_VERSION")).build())
    }

    /// Takes over what an invocation has recorded.
    pub(crate) fn add(&self, recorded: &[Recorded]) {
        self.instruments.add(recorded);
    }

    /// An invocation is over, and its response has been sent: what it has told leaves now, or with what follows soon.
    pub(crate) async fn after_response(self: &Arc<Self>) {
        self.queue.settle();
        let Some(wait) = self.wait() else { return self.flush(BUDGET).await };
        if std::mem::replace(&mut self.state().is_scheduled, true) {
            return;
        }
        let exporter = Arc::clone(self);
        tokio::spawn(async move {
            sleep(wait).await;
            exporter.state().is_scheduled = false;
            exporter.flush(BUDGET).await;
        });
    }

    /// How long spans have to wait, if at all.
    fn wait(&self) -> Option<Duration> {
        let wait = self.state().spans_due?.checked_duration_since(Instant::now())?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Sends what there is, as far as it gets within `budget`.
    async fn flush(&self, budget: Duration) {
        if !self.is_resting() {
            let end = Instant::now() + budget;
            self.send_spans(end).await;
            if !self.is_resting() && self.metrics_are_due() {
                self.send_metrics(end).await;
            }
        }
        count_dropped(self.client.take_rejected(), "the collector rejected them");
        count_dropped(self.queue.take_dropped(), "the queue was full");
    }

    /// The last flush: also to a collector that is being left alone, and what is left after it is lost.
    pub(crate) async fn finish(&self, budget: Duration) {
        *self.state() = State::default();
        self.queue.settle();
        self.flush(budget).await;
        let left = self.queue.take(usize::MAX).len();
        count_dropped(u64::try_from(left).unwrap_or(u64::MAX), "the process ended");
    }

    async fn send_spans(&self, end: Instant) {
        loop {
            let batch = self.queue.take(BATCH);
            if batch.is_empty() {
                return;
            }
            self.state().spans_due = Some(Instant::now() + self.pause);
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let left = end.saturating_duration_since(Instant::now());
            let is_sent = matches!(timeout(left, self.spans.export(batch)).await, Ok(Ok(())));
            if !is_sent {
                self.rest();
                count_dropped(count, "the collector did not take them");
                return;
            }
            self.state().failures = 0;
        }
    }

    async fn send_metrics(&self, end: Instant) {
        let Some(metrics) = self.instruments.collect() else { return };
        self.state().metrics_due = Some(Instant::now() + METRICS_EVERY);
        let left = end.saturating_duration_since(Instant::now());
        if !matches!(timeout(left, self.metrics.export(&metrics)).await, Ok(Ok(()))) {
            self.rest();
            tracing::warn!("metrics were dropped: the collector did not take them");
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_resting(&self) -> bool {
        self.state().resting_until.is_some_and(|until| Instant::now() < until)
    }

    fn metrics_are_due(&self) -> bool {
        self.state().metrics_due.is_none_or(|due| due <= Instant::now())
    }

    fn rest(&self) {
        let mut state = self.state();
        let (first, most) = REST;
        let rest = first.saturating_mul(1 << state.failures.min(16)).min(most);
        state.failures = state.failures.saturating_add(1);
        state.resting_until = Some(Instant::now() + rest);
    }
}

/// The variable of the OpenTelemetry specification ("Environment Variable Specification", batch span processor), here without
/// its default: unless it is set, nothing waits.
fn pause(variable: Option<&str>) -> Duration {
    variable.and_then(|text| text.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_millis)
}

fn count_dropped(spans: u64, reason: &'static str) {
    if spans > 0 {
        tracing::warn!(spans, reason, "spans were dropped");
        metrics::count(&SPANS_DROPPED, usize::try_from(spans).unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span, Tracer};
    use opentelemetry_otlp::WithExportConfig;
    use wiremock::{MockServer, ResponseTemplate, matchers::any};

    use super::*;

    async fn collector() -> MockServer {
        let collector = MockServer::start().await;
        wiremock::Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&collector).await;
        collector
    }

    fn exporter(collector: &MockServer, pause: Duration) -> Arc<Exporter> {
        let client = Arc::new(Client::default());
        let spans = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::<Client>::clone(&client))
            .with_retry_policy(RetryPolicy::disabled());
        let metrics = MetricExporter::builder().with_http().with_shared_http_client(Arc::<Client>::clone(&client));
        let (spans, metrics) =
            (spans.with_endpoint(collector.uri()).build(), metrics.with_endpoint(collector.uri()).build());
        let resource = Resource::builder_empty().build();
        Arc::new(Exporter::new(&resource, client, spans.unwrap(), metrics.unwrap(), pause))
    }

    async fn invoke(exporter: &Arc<Exporter>) {
        exporter.tracer().start("invocation").end();
        exporter.after_response().await;
    }

    #[tokio::test]
    async fn spans_leave_after_each_response_unless_they_are_asked_to_wait() {
        for (pause, requests, at_the_end) in [(Duration::ZERO, 3, 3), (Duration::from_hours(1), 1, 2)] {
            let collector = collector().await;
            let exporter = exporter(&collector, pause);
            for _ in 0..3 {
                invoke(&exporter).await;
            }
            assert_eq!(collector.received_requests().await.unwrap().len(), requests, "{pause:?}");
            exporter.finish(LAST_BUDGET).await;
            assert_eq!(collector.received_requests().await.unwrap().len(), at_the_end, "{pause:?}");
        }
    }

    #[tokio::test]
    async fn spans_that_wait_leave_by_themselves_when_their_time_has_come() {
        let collector = collector().await;
        let exporter = exporter(&collector, Duration::from_millis(20));
        invoke(&exporter).await;
        invoke(&exporter).await;
        while collector.received_requests().await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_pause_is_a_number_of_milliseconds() {
        assert_eq!(pause(Some(" 100 ")), Duration::from_millis(100));
        assert_eq!([pause(None), pause(Some("")), pause(Some("1s"))], [Duration::ZERO; 3]);
    }
}
