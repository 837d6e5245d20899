//! The server. A request of an exporter is one batch of spans, data points or log records.

use std::io::Read;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    metrics::v1::metric::Data,
};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

use super::{Collector, MAX_BODY_BYTES};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Kind of data of an exporter. Each has its own path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `/v1/traces`.
    Traces,
    /// `/v1/metrics`.
    Metrics,
    /// `/v1/logs`.
    Logs,
}

impl Signal {
    /// Returns the path, which is appended to the base URL of a collector ("Endpoint URLs for OTLP/HTTP" in the
    /// specification of the OTLP exporter).
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

/// Encoding of a body. The response has the same encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        [(PROTOBUF, Self::Protobuf), (JSON, Self::Json)]
            .into_iter()
            .find(|(name, _)| essence.eq_ignore_ascii_case(name))
            .map(|(_, encoding)| encoding)
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => PROTOBUF,
            Self::Json => JSON,
        }
    }
}

/// Error of an OTLP response: `google.rpc.Status`, of which OTLP omits the code ("Failures" in OTLP/HTTP).
#[derive(Clone, PartialEq, Message, Serialize)]
struct Failure {
    #[prost(string, tag = "2")]
    message: String,
}

/// Request of one of the three services.
trait Export: Message + Default + DeserializeOwned {
    const SIGNAL: Signal;
    type Answer: Message + Serialize;

    fn take(self, collector: &Collector) -> Self::Answer;
}

impl Export for ExportTraceServiceRequest {
    const SIGNAL: Signal = Signal::Traces;
    type Answer = ExportTraceServiceResponse;

    fn take(self, collector: &Collector) -> Self::Answer {
        let rejected = collector.add_spans(self.resource_spans);
        let partial_success = (rejected.count() > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(rejected.count()).unwrap_or(i64::MAX),
            error_message: rejected.to_string(),
        });
        ExportTraceServiceResponse { partial_success }
    }
}

impl Export for ExportMetricsServiceRequest {
    const SIGNAL: Signal = Signal::Metrics;
    type Answer = ExportMetricsServiceResponse;

    fn take(self, collector: &Collector) -> Self::Answer {
        let metrics = self.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let data = metrics.flat_map(|scope| &scope.metrics).filter_map(|metric| metric.data.as_ref());
        let points = data.map(|data| match data {
            Data::Gauge(gauge) => gauge.data_points.len(),
            Data::Sum(sum) => sum.data_points.len(),
            Data::Histogram(histogram) => histogram.data_points.len(),
            Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
            Data::Summary(summary) => summary.data_points.len(),
        });
        collector.count(&collector.inner.data_points, points.sum());
        ExportMetricsServiceResponse { partial_success: None }
    }
}

impl Export for ExportLogsServiceRequest {
    const SIGNAL: Signal = Signal::Logs;
    type Answer = ExportLogsServiceResponse;

    fn take(self, collector: &Collector) -> Self::Answer {
        let logs = self.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        collector.count(&collector.inner.log_records, logs.map(|scope| scope.log_records.len()).sum());
        ExportLogsServiceResponse { partial_success: None }
    }
}

pub(super) fn router(collector: Collector) -> Router {
    Router::new()
        .route(Signal::Traces.path(), post(export::<ExportTraceServiceRequest>))
        .route(Signal::Metrics.path(), post(export::<ExportMetricsServiceRequest>))
        .route(Signal::Logs.path(), post(export::<ExportLogsServiceRequest>))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(collector)
}

async fn export<E: Export>(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    // This check also stops scripts of other sites: a browser sends neither content type without a preflight.
    let Some(encoding) = Encoding::of(&headers) else {
        let message = format!("the content type must be {PROTOBUF} or {JSON}");
        return failure(Encoding::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    };
    let whole = body.map_err(|rejection| (rejection.status(), rejection.body_text()));
    let body = match whole.and_then(|body| decompress(&headers, body)) {
        Ok(body) => body,
        Err((status, message)) => return failure(encoding, status, message),
    };
    let decoded = match encoding {
        Encoding::Protobuf => E::decode(&*body).map_err(|error| error.to_string()),
        Encoding::Json => serde_json::from_slice(&body).map_err(|error| error.to_string()),
    };
    match decoded {
        Ok(request) => {
            if let Some(forwarder) = &collector.inner.forwarder {
                forwarder.offer(E::SIGNAL, encoding, body);
            }
            answer(encoding, StatusCode::OK, &request.take(&collector))
        }
        // 400 prevents a retry, which would fail in the same way ("Bad Data" in OTLP/HTTP).
        Err(error) => failure(encoding, StatusCode::BAD_REQUEST, error),
    }
}

fn decompress(headers: &HeaderMap, body: Bytes) -> Result<Bytes, (StatusCode, String)> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default().trim()) {
        None | Some("" | "identity") => Ok(body),
        Some(gzip) if gzip.eq_ignore_ascii_case("gzip") => {
            let mut plain = Vec::new();
            // One byte more than the limit is enough to detect a larger body.
            MultiGzDecoder::new(&*body)
                .take(MAX_BODY_BYTES as u64 + 1)
                .read_to_end(&mut plain)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body is not valid gzip: {error}")))?;
            if plain.len() > MAX_BODY_BYTES {
                let message = format!("the body has more than {MAX_BODY_BYTES} bytes");
                return Err((StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Ok(plain.into())
        }
        Some(other) => {
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the content encoding must be gzip, not {other}")))
        }
    }
}

fn failure(encoding: Encoding, status: StatusCode, message: String) -> Response {
    tracing::debug!(%status, message, "an export was rejected");
    answer(encoding, status, &Failure { message })
}

fn answer(encoding: Encoding, status: StatusCode, message: &(impl Message + Serialize)) -> Response {
    let body = match encoding {
        Encoding::Protobuf => message.encode_to_vec(),
        // These messages contain numbers and text, which are always valid in JSON.
        Encoding::Json => serde_json::to_vec(message).unwrap_or_default(),
    };
    (status, [(header::CONTENT_TYPE, encoding.content_type())], body).into_response()
}
