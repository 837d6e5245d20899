//! Errors of DynamoDB for a partition that has no units left.
//!
//! The tables are on-demand, for which "Error handling with DynamoDB" names `ThrottlingException`. Its reason is the key
//! range: "Key range throughput exceeded (hot partitions)". The texts are those of `TransactWriteItems` in the API
//! reference.

use serde_json::{Value, json};

use super::Options;
use crate::quotas::{Kind, Partition};

const TABLE_MESSAGE: &str = "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically \
                             scaling your table or index so please try again shortly. If exceptions persist, check if \
                             you have a hot key: \
                             https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html";

/// Reason of an item in a transaction that another item cancelled.
const NONE: &str = "None";

/// Returns the error of a request whose partition has no units left.
pub(super) fn request(partition: &Partition, kind: Kind, options: &Options) -> String {
    let (of, resource) = match &partition.index {
        None => ("Table", String::new()),
        Some(index) => ("Index", format!("/index/{index}")),
    };
    let operation = match kind {
        Kind::Read => "Read",
        Kind::Write => "Write",
    };
    let Options { region, account_id, .. } = options;
    json!({
        "__type": "com.amazon.coral.availability#ThrottlingException",
        "message": TABLE_MESSAGE,
        "throttlingReasons": [{
            "reason": format!("{of}{operation}KeyRangeThroughputExceeded"),
            "resource": format!("arn:aws:dynamodb:{region}:{account_id}:table/{}{resource}", partition.table),
        }],
    })
    .to_string()
}

/// Returns the error of a transaction. `items` has `true` for each item whose partition has no units left.
pub(super) fn transaction(items: &[bool]) -> String {
    let code = |is_throttled: &bool| if *is_throttled { "ThrottlingError" } else { NONE };
    let codes: Vec<&str> = items.iter().map(code).collect();
    let reasons: Vec<Value> =
        codes
            .iter()
            .map(|code| {
                if *code == NONE { json!({ "Code": code }) } else { json!({ "Code": code, "Message": TABLE_MESSAGE }) }
            })
            .collect();
    let codes = codes.join(", ");
    json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
        ),
        "CancellationReasons": reasons,
    })
    .to_string()
}
