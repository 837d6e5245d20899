//! The operations of SQS that on-failure queues need with the AWS SDKs or the AWS CLI ("Making API requests using the
//! AWS JSON protocol" in the SQS developer guide).

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use super::queues::{Message, Queues};

/// Default `VisibilityTimeout` of a queue ("Amazon SQS visibility timeout").
const VISIBILITY: Duration = Duration::from_secs(30);

/// Serves the queues with these names. [`crate::access::signed`] requires a signature.
pub fn sqs_router(queues: Arc<Queues>, names: Vec<String>) -> Router {
    Router::new().route("/", post(answer)).with_state(Arc::new(Api { queues, names }))
}

struct Api {
    queues: Arc<Queues>,
    names: Vec<String>,
}

/// Reason why a request failed, by the codes of the API.
enum Problem {
    NoQueue,
    Receipt,
    Operation(String),
    File(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::NoQueue => {
                (StatusCode::BAD_REQUEST, "com.amazonaws.sqs#QueueDoesNotExist", "there is no such queue".to_owned())
            }
            Self::Receipt => (
                StatusCode::BAD_REQUEST,
                "com.amazonaws.sqs#ReceiptHandleIsInvalid",
                "the receipt handle is of no message".to_owned(),
            ),
            Self::Operation(name) => (
                StatusCode::BAD_REQUEST,
                "com.amazonaws.sqs#UnsupportedOperation",
                format!("the local run has no {name}"),
            ),
            Self::File(error) => {
                tracing::error!(%error, "a queue could not be used");
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", error.to_string())
            }
        };
        (status, Json(json!({ "__type": kind, "message": message }))).into_response()
    }
}

async fn answer(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let asked = serde_json::from_slice(&body).unwrap_or_default();
    // File access blocks.
    let done = tokio::task::spawn_blocking(move || api.act(&operation, &asked)).await;
    match done {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(problem)) => problem.into_response(),
        Err(error) => Problem::File(io::Error::other(error)).into_response(),
    }
}

impl Api {
    fn act(&self, operation: &str, asked: &Value) -> Result<Value, Problem> {
        let url = asked["QueueUrl"].as_str().unwrap_or_default();
        let receipt = asked["ReceiptHandle"].as_str().unwrap_or_default();
        let name = url.rsplit('/').next().unwrap_or_default();
        if !self.names.iter().any(|known| known == name) {
            return Err(Problem::NoQueue);
        }
        let seconds = |of: &str| asked[of].as_u64().map(Duration::from_secs);
        match operation {
            "ReceiveMessage" => {
                let most = asked["MaxNumberOfMessages"].as_u64().and_then(|most| usize::try_from(most).ok());
                let visibility = seconds("VisibilityTimeout").unwrap_or(VISIBILITY);
                let received = self.queues.receive(name, most.unwrap_or(1).clamp(1, 10), visibility)?;
                let messages: Vec<Value> = received.into_iter().map(message).collect();
                Ok(if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) })
            }
            "DeleteMessage" => self.queues.delete(name, receipt)?.then(|| json!({})).ok_or(Problem::Receipt),
            "ChangeMessageVisibility" => {
                let visibility = seconds("VisibilityTimeout").unwrap_or(VISIBILITY);
                self.queues.keep(receipt, visibility).then(|| json!({})).ok_or(Problem::Receipt)
            }
            "GetQueueAttributes" => {
                let count = self.queues.messages(name)?.len();
                Ok(json!({ "Attributes": { "ApproximateNumberOfMessages": count.to_string() } }))
            }
            other => Err(Problem::Operation(other.to_owned())),
        }
    }
}

fn message((message, receipt, times): (Message, String, u32)) -> Value {
    json!({
        "MessageId": message.message_id,
        "ReceiptHandle": receipt,
        "Body": message.body.to_string(),
        "Attributes": {
            "ApproximateReceiveCount": times.to_string(),
            "SentTimestamp": message.sent_at.as_millisecond().to_string(),
        },
    })
}
