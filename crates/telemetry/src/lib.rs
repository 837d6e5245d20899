//! Telemetry of a function: logs, spans and metrics.
//!
//! Every `main` has the same three lines:
//!
//! ```no_run
//! # use lambda_runtime::{Error, LambdaEvent, service_fn};
//! # use serde_json::Value;
//! # async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> { Ok(event.payload) }
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Error> {
//!     let telemetry = telemetry::start().await;
//!     // … what the function needs …
//!     telemetry.run(service_fn(handle)).await
//! }
//! ```
//!
//! Spans are sent to `OTEL_EXPORTER_OTLP_ENDPOINT` (OTLP over HTTP, in protobuf) if it is set. They are sent after each
//! response, or less often with `OTEL_BSP_SCHEDULE_DELAY`. Metrics are sent with them, at most once per second. If
//! `METRICS_NAMESPACE` is set, metrics also go to CloudWatch as log lines.

pub mod audit;
pub mod context;
pub mod invocation;
pub mod metrics;

#[cfg(feature = "count-allocations")]
mod allocations;
#[cfg(not(feature = "count-allocations"))]
mod allocator;
mod client;
mod export;
mod extension;
mod logs;
mod output;
mod queue;
mod resource;
mod sampler;

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, LambdaInvocation, Runtime};
use serde::{Deserialize, Serialize};
use tower::{Layer, Service};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _,
    filter::{FilterFn, Targets, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use opentelemetry::trace::Status;
pub use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use crate::output::AFTER_RESPONSE;

use crate::{audit::AuditSink, export::Exporter, metrics::CloudWatch, output::Output};

/// Several texts as one attribute value.
#[derive(Debug, Clone)]
pub struct StringArray(pub Vec<String>);

impl From<StringArray> for opentelemetry::Value {
    fn from(StringArray(texts): StringArray) -> Self {
        Self::Array(texts.into_iter().map(opentelemetry::StringValue::from).collect::<Vec<_>>().into())
    }
}

/// Crates of the AWS SDK whose calls are spans, at the level that they use. The client that pushes to sockets is not
/// included, because a fan-out is one span, not one per socket.
const SDK_CRATES: [&str; 4] =
    ["aws_sdk_bedrockruntime", "aws_sdk_dynamodb", "aws_sdk_lambda", "aws_sdk_secretsmanager"];

static TRACED: AtomicBool = AtomicBool::new(false);

/// Returns whether spans are exported. Otherwise their attributes need not be computed.
#[must_use]
pub fn is_traced() -> bool {
    TRACED.load(Ordering::Relaxed)
}

/// The telemetry of a function.
#[must_use = "a function runs in it"]
pub struct Telemetry {
    exporter: Option<Arc<Exporter>>,
    cloudwatch: CloudWatch,
    audit: Option<Arc<dyn AuditSink>>,
}

/// Sets up logs, spans and metrics for the process. Must be called once, before anything else. `LOG_LEVEL` is `trace`,
/// `debug`, `info` (default), `warn` or `error`. [The crate](crate) describes the other variables.
///
/// An unusable collector is logged, and the function runs without it.
pub async fn start() -> Telemetry {
    let function = function();
    let (exporter, refusal) = match variable("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Some(_) => match Exporter::from_env(&resource::detect()) {
            Ok(exporter) => (Some(Arc::new(exporter)), None),
            Err(error) => (None, Some(error)),
        },
        None => (None, None),
    };
    init(function.as_deref(), exporter.as_deref());
    if let Some(error) = refusal {
        tracing::error!(%error, "telemetry exporter could not be created");
    }
    let cloudwatch = CloudWatch::new(variable("METRICS_NAMESPACE").filter(|_| is_lambda()));
    if let Some(exporter) = &exporter
        && let Err(error) = extension::register(Arc::clone(exporter), cloudwatch.clone()).await
    {
        tracing::error!(%error, "telemetry extension could not be registered");
    }
    Telemetry { exporter, cloudwatch, audit: None }
}

fn init(function: Option<&str>, exporter: Option<&Exporter>) {
    let level = variable("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let log = logs::lines(level, function);
    let spans = exporter.map(|exporter| {
        tracing_opentelemetry::layer()
            .with_tracer(exporter.tracer())
            .with_context_activation(false)
            .with_level(false)
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(traced(function))
    });
    TRACED.store(spans.is_some(), Ordering::Relaxed);
    let remember = logs::LogFieldsLayer.with_filter(logs::spans(function));
    let registry = tracing_subscriber::registry().with(remember).with(spans).with(audit::layer(function));
    if is_lambda() {
        registry.with(logs::json_lines().with_writer(Output).with_filter(log)).init();
    } else {
        registry.with(fmt::layer().compact().with_filter(log)).init();
    }
}

/// Selects spans of the workspace's own crates and of SDK calls, and the own crates' warnings and errors.
fn traced(function: Option<&str>) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + use<>> {
    let own = logs::spans(function);
    let sdk = Targets::new().with_targets(SDK_CRATES.map(|name| (name, LevelFilter::DEBUG)));
    filter_fn(move |metadata| {
        let (target, level) = (metadata.target(), metadata.level());
        if metadata.is_span() {
            own.would_enable(target, level) || sdk.would_enable(target, level)
        } else {
            *level <= LevelFilter::WARN && own.would_enable(target, level)
        }
    })
    .with_max_level_hint(LevelFilter::DEBUG)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_lambda() -> bool {
    variable("AWS_LAMBDA_FUNCTION_NAME").is_some()
}

/// Returns the name of the function's own crate.
fn function() -> Option<String> {
    Some(std::env::current_exe().ok()?.file_stem()?.to_str()?.replace('-', "_"))
}

impl Telemetry {
    /// Stores the entries of the audit log in `sink` after each response. Without a sink, they are log lines.
    pub fn with_audit(self, sink: Option<impl AuditSink + 'static>) -> Self {
        Self { audit: sink.map(|sink| -> Arc<dyn AuditSink> { Arc::new(sink) }), ..self }
    }

    /// Runs a function with [`lambda_runtime::run`], and exports its telemetry after each response.
    ///
    /// # Errors
    /// Fails with the errors of [`lambda_runtime::run`].
    pub async fn run<F, Payload, Answer, Buffered, Streaming, Item, ItemError>(self, handler: F) -> Result<(), Error>
    where
        F: Service<LambdaEvent<Payload>, Response = Answer>,
        F::Future: Future<Output = Result<Answer, F::Error>>,
        F::Error: Into<Diagnostic> + Debug,
        Payload: for<'de> Deserialize<'de>,
        Answer: IntoFunctionResponse<Buffered, Streaming>,
        Buffered: Serialize,
        Streaming: futures::Stream<Item = Result<Item, ItemError>> + Unpin + Send + 'static,
        Item: Into<bytes::Bytes> + Send,
        ItemError: Into<Error> + Send + Debug,
    {
        Runtime::new(handler).layer(InvocationLayer(Arc::new(self))).run().await
    }

    /// Exports telemetry after the response was sent. The runtime requests the next event afterwards. Until then the
    /// environment is neither frozen nor gets another event ("Understanding the Lambda execution environment lifecycle"
    /// in the Lambda developer guide, invoke phase).
    async fn end_invocation(&self) {
        // Without standard output, there is nowhere to tell of it.
        let _ = output::write_waiting();
        audit::store(self.audit.as_deref()).await;
        let recorded = self.cloudwatch.flush();
        invocation::end();
        if let Some(exporter) = &self.exporter {
            exporter.add(&recorded);
            exporter.after_response().await;
        }
    }
}

struct InvocationLayer(Arc<Telemetry>);

impl<S> Layer<S> for InvocationLayer {
    type Service = InvocationService<S>;

    fn layer(&self, inner: S) -> InvocationService<S> {
        InvocationService { inner, telemetry: Arc::clone(&self.0) }
    }
}

/// Records the beginning of an invocation, and the end of its response.
struct InvocationService<S> {
    inner: S,
    telemetry: Arc<Telemetry>,
}

type Ended = BoxFuture<'static, Result<(), Error>>;

type AtEnd = Box<dyn FnOnce(Result<(), Error>) -> Ended + Send>;

impl<S> Service<LambdaInvocation> for InvocationService<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    type Response = ();
    type Error = Error;
    type Future = futures::future::Then<S::Future, Ended, AtEnd>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        #[cfg(feature = "count-allocations")]
        allocations::tell();
        invocation::begin(&invocation.context);
        let telemetry = Arc::clone(&self.telemetry);
        let at_end: AtEnd = Box::new(move |outcome| {
            Box::pin(async move {
                telemetry.end_invocation().await;
                outcome
            })
        });
        self.inner.call(invocation).then(at_end)
    }
}
