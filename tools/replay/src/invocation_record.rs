//! Content of a message of an on-failure queue.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// A message that can be replayed.
#[derive(Debug, Clone, PartialEq)]
pub enum InvocationRecord {
    /// Records of a stream.
    Stream {
        /// ARN of the function.
        function: String,
        /// The batch of records.
        batch: StreamBatch,
    },
    /// An asynchronous invocation.
    Invocation {
        /// ARN of the function.
        function: String,
        /// Request id of the last attempt.
        request_id: String,
        /// Payload of the invocation.
        payload: Value,
    },
}

/// `DDBStreamBatchInfo`: the first and last record. Records of other batches may be between them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamBatch {
    /// ARN of the stream.
    pub stream_arn: String,
    /// Id of the shard.
    pub shard_id: String,
    /// Sequence number of the first record.
    pub start_sequence_number: String,
    /// Sequence number of the last record.
    pub end_sequence_number: String,
    /// Number of records.
    pub batch_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    request_context: Context,
    #[serde(rename = "DDBStreamBatchInfo")]
    batch: Option<StreamBatch>,
    request_payload: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    function_arn: String,
    #[serde(default)]
    request_id: Option<String>,
}

/// Reason why a message cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The body is not an invocation record.
    #[error("not an invocation record: {0}")]
    Json(#[from] serde_json::Error),
    /// The record has neither a batch nor a payload.
    #[error("an invocation record with neither DDBStreamBatchInfo nor requestPayload")]
    Nothing,
}

impl InvocationRecord {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// Fails if the message is of another kind.
    pub fn read(body: &str) -> Result<Self, Unreadable> {
        let Body { request_context, batch, request_payload } = serde_json::from_str(body)?;
        let function = request_context.function_arn;
        match (batch, request_payload) {
            (Some(batch), _) => Ok(Self::Stream { function, batch }),
            (None, Some(payload)) => {
                let request_id = request_context.request_id.unwrap_or_default();
                Ok(Self::Invocation { function, request_id, payload })
            }
            (None, None) => Err(Unreadable::Nothing),
        }
    }
}

impl fmt::Display for InvocationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |arn: &str| {
            let parts: Vec<&str> = arn.split(':').collect();
            parts.get(6).or(parts.last()).copied().unwrap_or_default().to_owned()
        };
        match self {
            Self::Stream { function, batch: StreamBatch { start_sequence_number, batch_size, .. } } => {
                write!(f, "{}: {batch_size} records from {start_sequence_number}", name(function))
            }
            Self::Invocation { function, request_id, .. } => write!(f, "{}: invocation {request_id}", name(function)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:worker:$LATEST";

    #[test]
    fn a_message_about_a_stream() {
        // Has the form of the example in the developer guide.
        let body = json!({
            "requestContext": {
                "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
                "functionArn": FUNCTION,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 1,
            },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "version": "1.0",
            "timestamp": "2019-11-14T00:13:49.717Z",
            "DDBStreamBatchInfo": {
                "shardId": "shardId-00000001573689847184-864758bb",
                "startSequenceNumber": "800000000003126276362",
                "endSequenceNumber": "800000000003126276362",
                "approximateArrivalOfFirstRecord": "2019-11-14T00:13:19Z",
                "approximateArrivalOfLastRecord": "2019-11-14T00:13:19Z",
                "batchSize": 1,
                "streamArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/2019-11-14T00:04:06.388",
            },
        });
        let letter = InvocationRecord::read(&body.to_string()).unwrap();
        assert_eq!(letter.to_string(), "worker: 1 records from 800000000003126276362");
        let InvocationRecord::Stream { function, batch } = letter else { panic!("{letter:?}") };
        assert_eq!((function.as_str(), batch.shard_id.as_str()), (FUNCTION, "shardId-00000001573689847184-864758bb"));
    }

    #[test]
    fn a_message_about_an_invocation() {
        let body = json!({
            "requestContext": { "requestId": "r", "functionArn": FUNCTION },
            "requestPayload": { "frames": [] },
        });
        let expected = InvocationRecord::Invocation {
            function: FUNCTION.to_owned(),
            request_id: "r".to_owned(),
            payload: json!({ "frames": [] }),
        };
        assert_eq!(InvocationRecord::read(&body.to_string()).unwrap(), expected);
    }

    #[test]
    fn what_is_something_else() {
        for body in ["", "hello", "{}", r#"{"requestContext":{"functionArn":"f"}}"#] {
            assert!(InvocationRecord::read(body).is_err(), "{body}");
        }
    }
}
