//! The frequent operations of functions, executed on the caller's thread without the engine's server.

use dynoxide::{Database, DynoxideError};
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};

/// Executes `operation` and returns its status and body. Returns `None`, without any change, for other operations and
/// for errors that the engine's server must describe in DynamoDB's words: unreadable requests, and all errors except
/// failed conditions.
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

/// Returns `true` if `operation` can change data.
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
