//! Repeated invocations of a function with failed records and payloads.

use aws_sdk_lambda::{Client, primitives::Blob};
use serde_json::{Value, json};

use crate::{Error, ReplayOutcome};

/// Result of one invocation.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Success,
    /// The records before this index are done.
    FailedFrom(usize),
    /// No record is known to be done.
    Failed(String),
}

/// Invokes with `events`, up to `batch_size` in one batch. A failed record does not block the others, since all of
/// them had failed.
pub(crate) async fn replay_records(
    client: &Client,
    function: &str,
    events: Vec<Value>,
    batch_size: usize,
) -> Result<ReplayOutcome, Error> {
    let count = events.len();
    let mut failures = Vec::new();
    let mut left: Vec<Vec<Value>> = events.chunks(batch_size).map(<[Value]>::to_vec).collect();
    // `pop` takes the last element.
    left.reverse();
    while let Some(mut batch) = left.pop() {
        if batch.is_empty() {
            continue;
        }
        match judge(invoke(client, function, &json!({ "Records": batch })).await?, &batch) {
            Verdict::Success => {}
            Verdict::FailedFrom(index) => {
                let after = batch.split_off(index + 1);
                failures.extend(batch.pop().map(|event| (number(&event), "reported as failed".to_owned())));
                left.push(after);
            }
            Verdict::Failed(reason) if batch.len() == 1 => {
                failures.extend(batch.pop().map(|event| (number(&event), reason)));
            }
            Verdict::Failed(_) => left.extend(batch.into_iter().rev().map(|event| vec![event])),
        }
    }
    if failures.is_empty() {
        return Ok(ReplayOutcome::Replayed { records: count });
    }
    let done = count - failures.len();
    Ok(ReplayOutcome::Failed { failures, done })
}

/// Invokes with the payload of an asynchronous invocation, and waits for the result.
pub(crate) async fn replay_payload(
    client: &Client,
    function: &str,
    request_id: &str,
    payload: &Value,
) -> Result<ReplayOutcome, Error> {
    Ok(match invoke(client, function, payload).await? {
        Ok(_) => ReplayOutcome::Replayed { records: 1 },
        Err(reason) => ReplayOutcome::Failed { failures: vec![(request_id.to_owned(), reason)], done: 0 },
    })
}

/// Returns the function's response, or the reason of its failure.
async fn invoke(client: &Client, function: &str, payload: &Value) -> Result<Result<Vec<u8>, String>, Error> {
    let invoke = client.invoke().function_name(function).payload(Blob::new(payload.to_string())).send();
    let answer = invoke.await.map_err(|error| Error::aws("Invoke", error))?;
    let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
    Ok(match answer.function_error {
        None => Ok(payload),
        Some(kind) => {
            let error: Value = serde_json::from_slice(&payload).unwrap_or_default();
            Err(format!("{kind}: {}", error["errorMessage"].as_str().unwrap_or("without a message")))
        }
    })
}

/// Evaluates a response by "Success and failure conditions" of "Configuring partial batch response with DynamoDB and
/// Lambda" in the Lambda developer guide. The lowest record that the response names must be retried, with all records
/// after it.
fn judge(answer: Result<Vec<u8>, String>, batch: &[Value]) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => return Verdict::Failed(reason),
    };
    if answer.trim_ascii().is_empty() {
        return Verdict::Success;
    }
    let malformed = || Verdict::Failed("the response is not a batch response".to_owned());
    let failures = match serde_json::from_slice(&answer) {
        Ok(Value::Null) => return Verdict::Success,
        Ok(Value::Object(mut answer)) => match answer.remove("batchItemFailures") {
            None | Some(Value::Null) => return Verdict::Success,
            Some(Value::Array(failures)) => failures,
            Some(_) => return malformed(),
        },
        _ => return malformed(),
    };
    let index_of = |failure: &Value| {
        let identifier = failure["itemIdentifier"].as_str()?;
        batch.iter().position(|event| number(event) == identifier)
    };
    match failures.iter().map(index_of).collect::<Option<Vec<usize>>>() {
        None => Verdict::Failed("the response names a record that is not in the batch".to_owned()),
        Some(indexes) => indexes.into_iter().min().map_or(Verdict::Success, Verdict::FailedFrom),
    }
}

fn number(event: &Value) -> String {
    event["dynamodb"]["SequenceNumber"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_documented() {
        let batch = ["101", "102", "103"].map(|number| json!({ "dynamodb": { "SequenceNumber": number } }));
        let failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
        for (answer, expected) in [
            ("", Some(Verdict::Success)),
            ("null", Some(Verdict::Success)),
            ("{}", Some(Verdict::Success)),
            (r#"{"batchItemFailures":[]}"#, Some(Verdict::Success)),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":"103"},{"itemIdentifier":"102"}]}"#,
                Some(Verdict::FailedFrom(1)),
            ),
            (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, None),
            (r#"{"batchItemFailures":"102"}"#, None),
            ("[]", None),
            ("done", None),
        ] {
            let verdict = judge(Ok(answer.as_bytes().to_vec()), &batch);
            assert!(expected.as_ref().map_or_else(|| failed(&verdict), |wanted| verdict == *wanted), "{answer}");
        }
        assert!(failed(&judge(Err("crashed".to_owned()), &batch)));
    }
}
