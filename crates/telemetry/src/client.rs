//! The HTTP client of telemetry. It uses the HTTP client and the TLS of the AWS SDK, and is created for the first
//! request.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_smithy_http_client::{Connector, default_connector};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::HttpRequest,
    },
    http::Response as SmithyResponse,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};

/// Time-out of one attempt, from the connection to the end of the response.
const ATTEMPT: Duration = Duration::from_millis(800);

/// Maximum attempts at one request.
const ATTEMPTS: u32 = 2;

/// Wait before the second attempt, unless the collector sends another time.
const PAUSE: Duration = Duration::from_millis(50);

/// Maximum wait that a collector may request, because a function waits for it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Maximum number of bytes of a response that are read. A collector reports the rejected part of a request in a few.
const RESPONSE_BYTES: usize = 64 * 1024;

/// Maximum number of spans in one request. A collector cannot reject more of them.
pub(crate) const REQUEST_SPANS: usize = 512;

/// The client that sends telemetry. Its requests are neither traced nor logged, because headers may contain keys.
#[derive(Debug, Default)]
pub(crate) struct Client {
    connector: OnceLock<SharedHttpConnector>,
    rejected: AtomicU64,
}

impl Client {
    /// Returns the number of spans rejected in accepted requests since the last call.
    pub(crate) fn take_rejected(&self) -> u64 {
        self.rejected.swap(0, Ordering::Relaxed)
    }

    fn connector(&self, is_https: bool) -> Option<&SharedHttpConnector> {
        if self.connector.get().is_none() {
            let made = if is_https {
                default_connector(&HttpConnectorSettings::builder().build(), None)?
            } else {
                SharedHttpConnector::new(Connector::builder().build_http())
            };
            let _ = self.connector.set(made);
        }
        self.connector.get()
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.clone().into_parts();
        let connector = self.connector(request.uri().scheme_str() == Some("https")).ok_or("there is no TLS")?;
        let request = HttpRequest::try_from(Request::from_parts(parts, SdkBody::from(body)))?;
        let response: SmithyResponse = connector.call(request).await?;
        let (parts, body) = response.try_into_http1x()?.into_parts();
        let body = match Limited::new(body, RESPONSE_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            // The status decides.
            Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
            Err(error) => return Err(error),
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// Returns the number of rejected spans of a partly accepted request ("Partial Success" in the OTLP specification), at
/// most [`REQUEST_SPANS`].
fn rejected_spans(request: &Request<Bytes>, outcome: &Result<Response<Bytes>, HttpError>) -> u64 {
    let taken = outcome.as_ref().ok().filter(|response| response.status().is_success());
    let Some(response) = taken.filter(|_| request.uri().path().ends_with("/v1/traces")) else { return 0 };
    let answer = ExportTraceServiceResponse::decode(response.body().clone()).unwrap_or_default();
    let rejected: u64 = answer.partial_success.map_or(0, |part| part.rejected_spans.try_into().unwrap_or(0));
    rejected.min(REQUEST_SPANS as u64)
}

/// Returns the time after which a retry may succeed, if it may ("OTLP/HTTP response" in the OTLP specification).
fn retry_after(outcome: &Result<Response<Bytes>, HttpError>) -> Option<Duration> {
    let response = match outcome {
        Ok(response) if matches!(response.status().as_u16(), 429 | 502 | 503 | 504) => response,
        Ok(_) => return None,
        Err(_) => return Some(PAUSE),
    };
    let asked = response.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    Some(asked.and_then(|asked| asked.trim().parse().ok()).map_or(PAUSE, Duration::from_secs))
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let end = Instant::now() + ATTEMPT;
        let mut attempt = 1;
        loop {
            // A slow collector gets no second attempt.
            let outcome = timeout_at(end, self.attempt(&request)).await?;
            match retry_after(&outcome) {
                Some(pause) if attempt < ATTEMPTS && pause <= LONGEST_PAUSE => sleep(pause).await,
                _ => {
                    self.rejected.fetch_add(rejected_spans(&request, &outcome), Ordering::Relaxed);
                    return outcome;
                }
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

    use super::*;

    #[tokio::test]
    async fn what_a_collector_rejects_of_a_request_is_counted() {
        let part = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(part) }.encode_to_vec();
        let collector = MockServer::start().await;
        for (end, status) in [("/v1/traces", 200), ("/v1/metrics", 200), ("/refused/v1/traces", 400)] {
            let response = ResponseTemplate::new(status).set_body_bytes(answer.clone());
            Mock::given(path(end)).respond_with(response).mount(&collector).await;
        }
        let client = Client::default();
        for (end, rejected) in [("/v1/traces", 3), ("/v1/metrics", 0), ("/refused/v1/traces", 0)] {
            let request = Request::post(collector.uri() + end).body(Bytes::new()).unwrap();
            client.send_bytes(request).await.unwrap();
            assert_eq!(client.take_rejected(), rejected, "{end}");
        }
    }

    #[tokio::test]
    async fn a_response_is_read_up_to_its_limit() {
        let rejected = |number: i64, message: usize| {
            let error_message = "x".repeat(message);
            let part = ExportTracePartialSuccess { rejected_spans: number, error_message };
            ExportTraceServiceResponse { partial_success: Some(part) }.encode_to_vec()
        };
        for (what, body, expected) in [
            ("a long message", rejected(3, RESPONSE_BYTES - 64), 3),
            ("a longer one", rejected(3, RESPONSE_BYTES), 0),
            ("a large number", rejected(i64::MAX, 0), 512),
            ("a negative number", rejected(-1, 0), 0),
            ("no message", b"\xff\xff\xff".to_vec(), 0),
        ] {
            let collector = MockServer::start().await;
            let response = ResponseTemplate::new(200).set_body_bytes(body);
            Mock::given(path("/v1/traces")).respond_with(response).expect(1).mount(&collector).await;
            let client = Client::default();
            let request = Request::post(collector.uri() + "/v1/traces").body(Bytes::new()).unwrap();
            assert_eq!(client.send_bytes(request).await.unwrap().status(), 200, "{what}");
            assert_eq!(client.take_rejected(), expected, "{what}");
        }
    }

    #[test]
    fn a_wait_is_read_from_any_header() {
        for (value, expected) in [
            ("0", Duration::ZERO),
            (" 1 ", Duration::from_secs(1)),
            ("18446744073709551615", Duration::from_secs(u64::MAX)),
            ("99999999999999999999", PAUSE),
            ("-1", PAUSE),
            ("1.5", PAUSE),
            ("Sun, 06 Nov 1994 08:50:37 GMT", PAUSE),
        ] {
            let response = Response::builder().status(503).header("retry-after", value).body(Bytes::new()).unwrap();
            assert_eq!(retry_after(&Ok(response)), Some(expected), "{value}");
        }
    }
}
