//! What functions ask for all the time, answered without a server in between: the caller's thread does the engine's work.

use dynoxide::{Database, DynoxideError};
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};

/// The status and the body that `operation` answers with; `None` for other operations, and for what the engine's server has
/// DynamoDB's words for: requests that cannot be read, and refusals other than by a condition. Nothing has been changed then.
pub(super) fn answer(database: &Database, operation: &str, body: &[u8]) -> Option<(StatusCode, String)> {
    match operation {
        "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => run(body, |request| database.batch_write_item(request)),
        "DeleteItem" => run(body, |request| database.delete_item(request)),
        "GetItem" => run(body, |request| database.get_item(request)),
        "PutItem" => run(body, |request| database.put_item(request)),
        "Query" => run(body, |request| database.query(request)),
        "TransactGetItems" => run(body, |request| database.transact_get_items(request)),
        "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
        "UpdateItem" => run(body, |request| database.update_item(request)),
        _ => None,
    }
}

/// Whether `operation` changes anything.
pub(super) fn writes(operation: &str) -> bool {
    !matches!(operation, "BatchGetItem" | "GetItem" | "Query" | "TransactGetItems")
}

fn run<Request: DeserializeOwned, Answer: Serialize>(
    body: &[u8],
    call: impl FnOnce(Request) -> dynoxide::Result<Answer>,
) -> Option<(StatusCode, String)> {
    match call(serde_json::from_slice(body).ok()?) {
        Ok(answer) => Some((StatusCode::OK, serde_json::to_string(&answer).ok()?)),
        Err(
            refusal @ (DynoxideError::ConditionalCheckFailedException(..)
            | DynoxideError::TransactionCanceledException(..)),
        ) => Some((StatusCode::BAD_REQUEST, refusal.to_json())),
        Err(_) => None,
    }
}
