//! The result of a batch in a function's response.

use serde_json::Value;

/// Result of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All records succeeded.
    Success,
    /// Records before this index succeeded. The records from it on are retried.
    FailedFrom(usize),
    /// No record succeeded.
    Failed,
}

/// Evaluates the response of a function whose mapping has `ReportBatchItemFailures`, by "Success and failure
/// conditions" of "Configuring partial batch response with DynamoDB and Lambda" in the Lambda developer guide.
///
/// `sequence_numbers` are those of the batch, in its order.
pub(super) fn judge(answer: &[u8], sequence_numbers: &[String]) -> Verdict {
    if answer.trim_ascii().is_empty() {
        return Verdict::Success;
    }
    let failures = match serde_json::from_slice(answer) {
        Ok(Value::Null) => return Verdict::Success,
        // Recorded at AWS.
        Ok(Value::Array(list)) if list.is_empty() => return Verdict::Success,
        Ok(Value::Object(mut answer)) => match answer.remove("batchItemFailures") {
            None | Some(Value::Null) => return Verdict::Success,
            Some(Value::Array(failures)) => failures,
            Some(_) => return Verdict::Failed,
        },
        _ => return Verdict::Failed,
    };
    let mut lowest = None;
    for failure in failures {
        let index = failure["itemIdentifier"]
            .as_str()
            .and_then(|identifier| sequence_numbers.iter().position(|number| number == identifier));
        let Some(index) = index else {
            return Verdict::Failed;
        };
        lowest = Some(lowest.map_or(index, |lowest: usize| lowest.min(index)));
    }
    lowest.map_or(Verdict::Success, Verdict::FailedFrom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_documented() {
        let batch = ["101", "102", "103"].map(str::to_owned);
        for (answer, verdict) in [
            ("", Verdict::Success),
            ("null", Verdict::Success),
            ("{}", Verdict::Success),
            (r#"{"batchItemFailures":null}"#, Verdict::Success),
            (r#"{"batchItemFailures":[]}"#, Verdict::Success),
            (r#"{"batchItemFailures":[{"itemIdentifier":"102"}]}"#, Verdict::FailedFrom(1)),
            (r#"{"batchItemFailures":[{"itemIdentifier":"103"},{"itemIdentifier":"101"}]}"#, Verdict::FailedFrom(0)),
            (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":[{"itemIdentifier":102}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":[{"sequenceNumber":"102"}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":[{"itemIdentifier":"999"}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":[{"itemIdentifier":"102"},{"itemIdentifier":"999"}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":["102"]}"#, Verdict::Failed),
            (r#"{"batchItemFailures":"102"}"#, Verdict::Failed),
            (r#""done""#, Verdict::Failed),
            ("[]", Verdict::Success),
            (r#"["102"]"#, Verdict::Failed),
            ("done", Verdict::Failed),
        ] {
            assert_eq!(judge(answer.as_bytes(), &batch), verdict, "{answer}");
        }
    }
}
