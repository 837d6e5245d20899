//! The local Lambda beside AWS, as recorded by `test_lambda`, `test_lambda_common` and `test_lambda_destinations` of
//! LocalStack (validated snapshots). `docs/reference/fidelity.md` lists all facts.

use std::{io, sync::Arc, time::Duration};

use emulator::{
    doors::{self, Door},
    lambda::{self, Lambda, LambdaConfig, OnFailure},
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::probe::{ARN, Probe};

const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:failed";

/// A destination that passes its records on.
struct Recorder(mpsc::UnboundedSender<(String, Value)>);

impl OnFailure for Recorder {
    fn send(&self, queue_arn: &str, body: Value) -> io::Result<()> {
        self.0.send((queue_arn.to_owned(), body)).map_err(io::Error::other)
    }
}

/// Starts a function with an on-failure destination. Returns the receiver of its records.
fn with_destination(
    probe: Probe,
    change: impl FnOnce(&mut LambdaConfig),
) -> (Lambda, mpsc::UnboundedReceiver<(String, Value)>) {
    let (sender, records) = mpsc::unbounded_channel();
    let mut config = probe.config();
    config.failures = Arc::new(Recorder(sender));
    config.functions[0].async_invoke.on_failure = Some(QUEUE.to_owned());
    change(&mut config);
    (Lambda::new(config).unwrap(), records)
}

/// Sends `Invoke` over HTTP.
async fn invoke(lambda: &Lambda, function: &str, kind: &str, payload: &str) -> Response {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/2015-03-31/functions/{function}/invocations", listener.local_addr().unwrap());
    let router = lambda::router(lambda.clone());
    tokio::spawn(doors::serve(listener, Door::programs(), doors::LIMITS, router, CancellationToken::new()));
    let request = Client::new().post(url).header("x-amz-invocation-type", kind).body(payload.to_owned());
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// `test_invocation_type_request_response`, `test_invocation_type_event`, `test_invocation_type_dry_run`.
#[tokio::test]
async fn each_invocation_type_has_its_status_and_payload() {
    let lambda = Probe::default().start();
    let answered = invoke(&lambda, "probe", "RequestResponse", "{}").await;
    assert_eq!(answered.status(), StatusCode::OK);
    assert_eq!(header(&answered, "x-amz-executed-version"), Some("$LATEST"));
    assert_eq!(header(&answered, "x-amz-function-error"), None);
    for (kind, status) in [("Event", StatusCode::ACCEPTED), ("DryRun", StatusCode::NO_CONTENT)] {
        let accepted = invoke(&lambda, "probe", kind, "{}").await;
        assert_eq!(accepted.status(), status, "{kind}");
        assert_eq!(header(&accepted, "x-amz-executed-version"), None, "{kind}");
        assert_eq!(accepted.text().await.unwrap(), "", "{kind}");
    }
    lambda.shutdown(Duration::from_secs(10)).await;
}

/// `test_uncaught_exception_invoke[provided.al2023]`, `test_lambda_handler_exit`.
#[tokio::test]
async fn a_failed_function_is_a_200_with_an_unhandled_error() {
    let lambda = Probe::default().start();
    for (payload, kind) in [
        (json!({ "do": "fail", "message": "some_error_msg" }), None),
        (json!({ "do": "exit" }), Some("Runtime.ExitError")),
    ] {
        let failed = invoke(&lambda, "probe", "RequestResponse", &payload.to_string()).await;
        assert_eq!(failed.status(), StatusCode::OK, "{payload}");
        assert_eq!(header(&failed, "x-amz-function-error"), Some("Unhandled"), "{payload}");
        assert_eq!(header(&failed, "x-amz-executed-version"), Some("$LATEST"), "{payload}");
        let error: Value = failed.json().await.unwrap();
        assert_eq!(error.as_object().unwrap().len(), 2, "{error}");
        assert!(error["errorMessage"].is_string() && error["errorType"].is_string(), "{error}");
        assert!(kind.is_none_or(|kind| error["errorType"] == kind), "{error}");
    }
    lambda.shutdown(Duration::from_secs(10)).await;
}

/// `test_invoke_exceptions`, `test_lambda_invoke_payload_encoding_error`, `test_reserved_concurrency`.
#[tokio::test]
async fn refused_invocations_have_the_recorded_errors() {
    let lambda = Probe::default().concurrency(0).start();
    let unknown = invoke(&lambda, "doesnotexist", "RequestResponse", "{}").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&unknown, "x-amzn-errortype"), Some("ResourceNotFoundException"));
    let problem: Value = unknown.json().await.unwrap();
    assert!(problem["Message"].as_str().unwrap().starts_with("Function not found: "), "{problem}");

    let unreadable = invoke(&lambda, "probe", "RequestResponse", "n\u{87}").await;
    assert_eq!(unreadable.status(), StatusCode::BAD_REQUEST);
    assert_eq!(header(&unreadable, "x-amzn-errortype"), Some("InvalidRequestContentException"));
    let problem: Value = unreadable.json().await.unwrap();
    let message = problem["message"].as_str().unwrap();
    assert!(message.starts_with("Could not parse request body into json: "), "{problem}");
    assert_eq!(problem["Type"], "User");

    let throttled = invoke(&lambda, "probe", "RequestResponse", "{}").await;
    assert_eq!(throttled.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&throttled, "x-amzn-errortype"), Some("TooManyRequestsException"));
    let problem: Value = throttled.json().await.unwrap();
    assert_eq!((&problem["message"], &problem["Type"]), (&json!("Rate Exceeded."), &json!("User")));
    lambda.shutdown(Duration::ZERO).await;
}

/// `test_lambda_destination_default_retries`, `test_retries`: three attempts with one request id, then the record.
#[tokio::test]
async fn a_failed_asynchronous_invocation_has_the_recorded_record() {
    let (lambda, mut records) = with_destination(Probe::default(), |_| ());
    let payload = json!({ "do": "fail", "message": "intentional failure" });
    let request_id = lambda.invoke_async("probe", payload.to_string().into()).await.unwrap();
    let (queue, mut record) = records.recv().await.unwrap();
    assert_eq!(queue, QUEUE);
    // The recorded form is that of 2022-07-13T13:48:01.000Z.
    let timestamp = record["timestamp"].take();
    assert_eq!(timestamp.as_str().map(str::len), Some(24));
    let kind = record["responsePayload"]["errorType"].take();
    assert!(kind.is_string());
    assert_eq!(
        record,
        json!({
            "version": "1.0",
            "timestamp": null,
            "requestContext": {
                "requestId": request_id,
                // With the version, unlike that of an event source mapping.
                "functionArn": format!("{ARN}:$LATEST"),
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": payload,
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "responsePayload": { "errorType": null, "errorMessage": "intentional failure" },
        })
    );
    lambda.shutdown(Duration::from_secs(10)).await;
}

/// `test_assess_lambda_destination_invocation[payload1]`: without retries.
#[tokio::test]
async fn without_retries_there_is_one_attempt() {
    let (lambda, mut records) = with_destination(Probe::default(), |config| {
        config.functions[0].async_invoke.maximum_retry_attempts = 0;
    });
    let payload = json!({ "do": "fail", "message": "no" }).to_string();
    lambda.invoke_async("probe", payload.into()).await.unwrap();
    let (_, record) = records.recv().await.unwrap();
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 1);
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    lambda.shutdown(Duration::from_secs(10)).await;
}

/// `test_maxeventage`: the event becomes too old before its second attempt.
#[tokio::test]
async fn an_event_that_is_too_old_is_not_tried_again() {
    let (lambda, mut records) = with_destination(Probe::default(), |config| {
        config.functions[0].async_invoke.maximum_event_age = Duration::from_secs(2);
        config.async_retry_delays = vec![Duration::from_secs(3)];
    });
    let payload = json!({ "do": "fail", "message": "intentional failure" }).to_string();
    lambda.invoke_async("probe", payload.into()).await.unwrap();
    let (_, record) = records.recv().await.unwrap();
    assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 1);
    assert_eq!(record["responseContext"]["functionError"], "Unhandled");
    assert_eq!(record["responsePayload"]["errorMessage"], "intentional failure");
    lambda.shutdown(Duration::from_secs(10)).await;
}

/// `test_reserved_concurrency`: a function with a reserved concurrency of 0 is not invoked, and its record comes at once.
#[tokio::test]
async fn a_function_without_concurrency_has_its_record_at_once() {
    let (lambda, mut records) = with_destination(Probe::default().concurrency(0), |_| ());
    lambda.invoke_async("probe", "{}".into()).await.unwrap();
    let (_, record) = records.recv().await.unwrap();
    assert_eq!(record["requestContext"]["condition"], "ZeroReservedConcurrency");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 0);
    assert_eq!(record["requestPayload"], json!({}));
    assert!(record.get("responseContext").is_none() && record.get("responsePayload").is_none(), "{record}");
    lambda.shutdown(Duration::ZERO).await;
}
