//! Export of spans and metrics to a collector, without delay of responses.
//!
//! Telemetry is queued and exported after a response, within a small budget. `OTEL_BSP_SCHEDULE_DELAY` sets a minimum
//! interval in milliseconds between two requests with spans. Earlier spans wait for a later response, for the end of
//! the interval, or for the end of the process. A frozen environment runs no code, so its last spans may wait for its
//! next event. If the collector does not respond, exports pause with exponential back-off, so that functions never
//! block on it. Lost spans are counted.

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
    client::{Client, REQUEST_SPANS},
    context::Ids,
    metrics::{self, Instruments, Recorded, SPANS_DROPPED},
    queue::Queue,
    sampler,
};

/// The version of the conventions that define the names of attributes.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";

/// Time-out of all requests after one response together.
const BUDGET: Duration = Duration::from_secs(1);

/// Time-out of all requests before the end of the process. Lambda kills it 500 ms after its SIGTERM ("Understanding the
/// Lambda execution environment lifecycle", shutdown phase).
pub(crate) const LAST_BUDGET: Duration = Duration::from_millis(300);

/// Minimum interval between two exports of metrics, except at the end of the process. A function under load adds up its
/// counts, instead of sending one more request per invocation.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// First and maximum pause after a failure of the collector. It doubles with each failure.
const REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(2));

/// The exporter to a collector.
pub(crate) struct Exporter {
    queue: Queue,
    client: Arc<Client>,
    spans: SpanExporter,
    metrics: MetricExporter,
    instruments: Instruments,
    provider: SdkTracerProvider,
    /// Minimum interval between two requests with spans.
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// End of the pause after a failure.
    resting_until: Option<Instant>,
    /// Number of consecutive failures.
    failures: u32,
    /// Time of the next export of spans. `None` before the first export.
    spans_due: Option<Instant>,
    /// `true` when a task exports them at that time.
    is_scheduled: bool,
    /// Time of the next export of metrics. `None` before the first export.
    metrics_due: Option<Instant>,
}

impl Exporter {
    /// Creates an exporter to `OTEL_EXPORTER_OTLP_ENDPOINT`, with `OTEL_EXPORTER_OTLP_HEADERS`.
    pub(crate) fn from_env(resource: &Resource) -> Result<Self, ExporterBuildError> {
        let pause = pause(std::env::var("OTEL_BSP_SCHEDULE_DELAY").ok().as_deref());
        let client = Arc::new(Client::default());
        // The client retries, because the exporter's own retries would block the thread.
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

    /// Adds the metrics that an invocation recorded.
    pub(crate) fn add(&self, recorded: &[Recorded]) {
        self.instruments.add(recorded);
    }

    /// Exports the telemetry of an invocation after its response, or schedules the export.
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

    /// Returns the time until the next export of spans, if it is in the future.
    fn wait(&self) -> Option<Duration> {
        let wait = self.state().spans_due?.checked_duration_since(Instant::now())?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Exports the queued telemetry within `budget`.
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

    /// Runs the last export, even during a pause. Telemetry that remains afterwards is lost.
    pub(crate) async fn finish(&self, budget: Duration) {
        *self.state() = State::default();
        self.queue.settle();
        self.flush(budget).await;
        let left = self.queue.take(usize::MAX).len();
        count_dropped(u64::try_from(left).unwrap_or(u64::MAX), "the process ended");
    }

    async fn send_spans(&self, end: Instant) {
        loop {
            let batch = self.queue.take(REQUEST_SPANS);
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

/// Reads the variable of the OpenTelemetry specification ("Environment Variable Specification", batch span processor).
/// Its default does not apply: without the variable, spans do not wait.
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

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_collector_that_does_not_answer() {
        let (collector, delay) = (MockServer::start().await, Duration::from_mins(1));
        wiremock::Mock::given(any()).respond_with(ResponseTemplate::new(200).set_delay(delay)).mount(&collector).await;
        let exporter = exporter(&collector, Duration::from_hours(1));
        exporter.tracer().start("invocation").end();
        let began = Instant::now();
        exporter.finish(LAST_BUDGET).await;
        assert!(began.elapsed() < delay);
    }

    #[test]
    fn a_pause_is_a_number_of_milliseconds() {
        assert_eq!(pause(Some(" 100 ")), Duration::from_millis(100));
        assert_eq!([pause(None), pause(Some("")), pause(Some("1s"))], [Duration::ZERO; 3]);
    }
}
