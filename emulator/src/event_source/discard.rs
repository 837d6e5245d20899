//! The message about discarded records.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Item, settings::Settings};

/// Reason why records were discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// All `MaximumRetryAttempts` failed.
    RetryAttemptsExhausted,
    /// The records became older than `MaximumRecordAgeInSeconds`.
    RecordAgeExceeded,
}

impl Condition {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RetryAttemptsExhausted => "RetryAttemptsExhausted",
            Self::RecordAgeExceeded => "RecordAgeExceeded",
        }
    }
}

/// Last invocation with the records.
#[derive(Debug, Clone)]
pub(super) struct LastInvocation {
    pub(super) request_id: String,
    /// `true` if the function itself failed, instead of reporting failed records.
    pub(super) function_error: bool,
}

/// Returns the invocation record of "Retain discarded records for a DynamoDB event source in Lambda" in the Lambda
/// developer guide.
///
/// Records that became too old before their first invocation have neither a `requestId` nor a `responseContext`.
pub(super) fn message(
    settings: &Settings,
    condition: Condition,
    items: &[Item],
    invocations: u32,
    last: Option<&LastInvocation>,
) -> Value {
    let mut message = Map::new();
    message.insert(
        "requestContext".to_owned(),
        json!({
            "requestId": last.map(|last| &last.request_id),
            "functionArn": settings.function_arn(),
            "condition": condition.name(),
            "approximateInvokeCount": invocations,
        }),
    );
    if let Some(last) = last {
        // Recorded at AWS: null if the function itself succeeded and reported failed records.
        let function_error = last.function_error.then_some("Unhandled");
        let context = json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": function_error });
        message.insert("responseContext".to_owned(), context);
    }
    message.insert("version".to_owned(), json!("1.0"));
    message.insert("timestamp".to_owned(), json!(milliseconds((settings.options.clock)())));
    let (first, last) = (items.first(), items.last());
    message.insert(
        "DDBStreamBatchInfo".to_owned(),
        json!({
            "shardId": settings.stream.shard_id,
            "startSequenceNumber": first.map(|item| item.position.sequence_number()),
            "endSequenceNumber": last.map(|item| item.position.sequence_number()),
            "approximateArrivalOfFirstRecord": first.map(|item| seconds(item.created_at)),
            "approximateArrivalOfLastRecord": last.map(|item| seconds(item.created_at)),
            "batchSize": items.len(),
            "streamArn": settings.stream.arn,
        }),
    );
    Value::Object(message)
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn milliseconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
