//! An export to the local run's collector, in protobuf or JSON, compressed or not. It is accepted or refused, and
//! stays within the limits. Both encodings have the same result.

use axum::{Router, body::Body};
use flate2::{Compression, write::GzEncoder};
use http::Request;
use http_body_util::BodyExt;
use local::otlp::{Collector, Limits, TraceId};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use std::io::Write;
use tower::ServiceExt;

use crate::functions::block_on;

const LIMITS: Limits = Limits { traces: 3, spans: 8, spans_of_a_trace: 4 };
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

pub fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let (path, encoding) = (
        ["/v1/traces", "/v1/metrics", "/v1/logs"][usize::from(kind & 0x3) % 3],
        if kind & 0x4 == 0 { JSON } else { PROTOBUF },
    );
    let collector = Collector::new(LIMITS, None);
    let router = collector.router();
    block_on(async {
        let plain = post(&router, path, encoding, "", body).await;
        let before = collector.received();
        if kind & 0x8 != 0 {
            // As bytes that may not be gzip, and as valid gzip.
            post(&router, path, encoding, "gzip", body).await;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(body).expect("memory");
            let packed = post(&router, path, encoding, "gzip", &gzip.finish().expect("memory")).await;
            assert_eq!(packed, plain);
        }
        if plain != 200 {
            assert_eq!((before.spans, before.data_points, before.log_records), (0, 0, 0));
            return;
        }
        if path != "/v1/traces" {
            // The other encoding has the same count.
            let (other, bytes) = match (path, encoding) {
                ("/v1/metrics", PROTOBUF) => (JSON, to_json::<ExportMetricsServiceRequest>(body)),
                ("/v1/logs", PROTOBUF) => (JSON, to_json::<ExportLogsServiceRequest>(body)),
                ("/v1/metrics", _) => (PROTOBUF, to_protobuf::<ExportMetricsServiceRequest>(body)),
                _ => (PROTOBUF, to_protobuf::<ExportLogsServiceRequest>(body)),
            };
            accepted(path, other, &bytes).await;
            return;
        }
        let request = match encoding {
            PROTOBUF => ExportTraceServiceRequest::decode(body).expect("it was decoded a moment ago"),
            _ => serde_json::from_slice(body).expect("it was decoded a moment ago"),
        };
        check_traces(&collector, &request);
        let (other, bytes) = match encoding {
            PROTOBUF => (JSON, to_json::<ExportTraceServiceRequest>(body)),
            _ => (PROTOBUF, to_protobuf::<ExportTraceServiceRequest>(body)),
        };
        accepted(path, other, &bytes).await;
    });
}

/// Checks the traces that the collector keeps of an export.
fn check_traces(collector: &Collector, request: &ExportTraceServiceRequest) {
    let spans: Vec<_> =
        request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|scope| &scope.spans).collect();
    let mut kept = 0;
    let mut seen = std::collections::BTreeSet::new();
    for span in &spans {
        let id: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let Ok(id) = id.parse::<TraceId>() else { continue };
        if seen.insert(id)
            && let Some(trace) = collector.trace(id)
        {
            assert!(trace.spans.len() <= LIMITS.spans_of_a_trace && !trace.spans.is_empty());
            assert!(trace.spans.is_sorted_by_key(|span| span.start_ns));
            serde_json::to_string(&trace).expect("the page's trace is JSON");
            kept += trace.spans.len();
        }
    }
    assert!(kept <= LIMITS.spans && seen.len().min(LIMITS.traces) >= usize::from(kept > 0));
    for summary in collector.of_message("general", 1) {
        assert!(collector.trace(summary.trace_id).is_some());
    }
}

fn to_json<M: Message + Default + serde::Serialize>(body: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&M::decode(body).expect("it was decoded a moment ago")).expect("JSON")
}

fn to_protobuf<M: Message + serde::de::DeserializeOwned>(body: &[u8]) -> Vec<u8> {
    serde_json::from_slice::<M>(body).expect("it was decoded a moment ago").encode_to_vec()
}

/// Checks that a new collector accepts an export.
async fn accepted(path: &str, encoding: &str, body: &[u8]) {
    let collector = Collector::new(LIMITS, None);
    let status = post(&collector.router(), path, encoding, "", body).await;
    assert_eq!(status, 200, "{encoding}: {}", String::from_utf8_lossy(body));
}

async fn post(router: &Router, path: &str, encoding: &str, compression: &str, body: &[u8]) -> u16 {
    let mut request = Request::post(path).header("content-type", encoding);
    if !compression.is_empty() {
        request = request.header("content-encoding", compression);
    }
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    assert_eq!(parts.headers["content-type"], encoding);
    let status = parts.status.as_u16();
    assert!([200, 400, 413].contains(&status), "{status}");
    if encoding == JSON {
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
    }
    status
}
