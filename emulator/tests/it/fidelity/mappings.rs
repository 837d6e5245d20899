//! Event source mappings of DynamoDB streams, recorded by `test_lambda_integration_dynamodbstreams`.

use std::collections::BTreeSet;

use emulator::{dynamodb::Storage, stack::EventSourceMapping};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use crate::{
    database::Database,
    event_source::{Answer, Seen, error, failed_from, mapping, ok, run, seqs},
};

/// Returns a mapping as recorded: three retries, no bisecting.
fn recorded() -> EventSourceMapping {
    EventSourceMapping { batch_size: 1, maximum_retry_attempts: Some(3), ..mapping() }
}

fn answers(answer: Value) -> impl Fn(&[Seen]) -> BoxFuture<'static, Answer> + Send + Sync + 'static {
    move |_| {
        let answer = answer.clone();
        async { Ok(answer) }.boxed()
    }
}

/// `test_dynamodb_report_batch_item_success_scenarios`: one delivery, no message.
#[tokio::test]
async fn each_form_of_success_ends_the_batch() {
    for answer in
        [json!([]), Value::Null, json!({}), json!({ "batchItemFailures": [] }), json!({ "batchItemFailures": null })]
    {
        let database = Database::open(Storage::InMemory).await;
        let checkpoints = tempfile::tempdir().unwrap();
        let mut running = run(&database, checkpoints.path(), recorded(), answers(answer.clone()));
        database.put("a", 1, "user").await;
        assert_eq!(seqs(&running.batch().await), [1], "{answer}");
        // A retry of the first record would come before the second one.
        database.put("a", 2, "user").await;
        assert_eq!(seqs(&running.batch().await), [2], "{answer}");
        running.stop().await;
    }
}

/// `test_dynamodb_report_batch_item_failure_scenarios`: four deliveries, then the message. A function that succeeded
/// has `functionError: null` in it.
#[tokio::test]
async fn each_wrong_form_fails_the_whole_batch() {
    for failure in [
        json!({ "itemIdentifier": 123 }),
        json!({ "itemIdentifier": "" }),
        json!({ "itemIdentifier": null }),
        json!({ "foo": 123 }),
        json!({ "foo": null }),
    ] {
        let database = Database::open(Storage::InMemory).await;
        database.put("a", 1, "user").await;
        let checkpoints = tempfile::tempdir().unwrap();
        let answer = answers(json!({ "batchItemFailures": [failure] }));
        let mut running = run(&database, checkpoints.path(), recorded(), answer);
        let message = running.given_up().await;
        assert_eq!(message["requestContext"]["approximateInvokeCount"], 4, "{failure}");
        assert_eq!(message["requestContext"]["condition"], "RetryAttemptsExhausted", "{failure}");
        assert_eq!(
            message["responseContext"],
            json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": null }),
            "{failure}"
        );
        assert_eq!(running.stop().await.len(), 4, "{failure}");
    }
}

/// The scenario `unhandled_exception_in_function`.
#[tokio::test]
async fn an_exception_fails_the_batch_and_is_unhandled() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let checkpoints = tempfile::tempdir().unwrap();
    let mut running = run(&database, checkpoints.path(), recorded(), |_: &[Seen]| error());
    let message = running.given_up().await;
    assert_eq!(message["requestContext"]["approximateInvokeCount"], 4);
    assert_eq!(message["responseContext"]["functionError"], "Unhandled");
    running.stop().await;
}

/// `test_dynamodb_report_batch_item_failures`: of six records the last fails. The others come once, it comes four
/// times, and the message is about it alone.
#[tokio::test]
async fn records_before_a_reported_one_do_not_come_again() {
    let database = Database::open(Storage::InMemory).await;
    for seq in 0..6 {
        database.put("a", seq, "user").await;
    }
    let checkpoints = tempfile::tempdir().unwrap();
    let config = EventSourceMapping { batch_size: 3, ..recorded() };
    let mut running = run(&database, checkpoints.path(), config, |batch: &[Seen]| {
        batch.iter().find(|seen| seen.seq == 5).map_or_else(ok, failed_from)
    });
    let message = running.given_up().await;
    assert_eq!(message["requestContext"]["approximateInvokeCount"], 4);
    let info = &message["DDBStreamBatchInfo"];
    assert_eq!((&info["batchSize"], &info["startSequenceNumber"]), (&json!(1), &info["endSequenceNumber"]));
    assert_eq!(seqs(&running.stop().await), [0, 1, 2, 3, 4, 5, 5, 5, 5]);
}

/// `test_dynamodb_event_source_mapping_with_on_failure_destination_config`: the message to the letter.
#[tokio::test]
async fn the_on_failure_message_has_exactly_the_recorded_fields() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let checkpoints = tempfile::tempdir().unwrap();
    let config = EventSourceMapping { maximum_retry_attempts: Some(1), ..recorded() };
    let mut running = run(&database, checkpoints.path(), config, |_: &[Seen]| error());
    let mut message = running.given_up().await;
    let names: BTreeSet<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
    let recorded = ["requestContext", "responseContext", "version", "timestamp", "DDBStreamBatchInfo"];
    assert_eq!(names, BTreeSet::from(recorded));
    assert_eq!(
        message["requestContext"],
        json!({
            "requestId": "request",
            // Without a version, unlike that of an asynchronous invocation.
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:function",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        })
    );
    assert_eq!(
        message["responseContext"],
        json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" })
    );
    assert_eq!(message["version"], "1.0");
    // The recorded form is that of 2022-07-13T13:48:01.000Z.
    let timestamp = message["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
    let info = message["DDBStreamBatchInfo"].take();
    let names: BTreeSet<&str> = info.as_object().unwrap().keys().map(String::as_str).collect();
    let recorded = [
        "shardId",
        "startSequenceNumber",
        "endSequenceNumber",
        "approximateArrivalOfFirstRecord",
        "approximateArrivalOfLastRecord",
        "batchSize",
        "streamArn",
    ];
    assert_eq!(names, BTreeSet::from(recorded));
    // The recorded form is that of 2022-07-13T13:48:01Z.
    let arrival = info["approximateArrivalOfFirstRecord"].as_str().unwrap();
    assert!(arrival.len() == 20 && arrival.ends_with('Z'), "{arrival}");
    assert_eq!(info["approximateArrivalOfLastRecord"], arrival);
    running.stop().await;
}
