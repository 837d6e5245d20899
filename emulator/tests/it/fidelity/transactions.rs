//! Failures of conditions and transactions, recorded by `test_dynamodb` (`test_transaction_write_canceled`,
//! `test_return_values_on_conditions_check_failure`).

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use emulator::dynamodb::Storage;

use crate::database::{Database, TABLE};

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[tokio::test]
async fn a_cancelled_transaction_names_a_reason_for_each_item() {
    let database = Database::open(Storage::InMemory).await;
    let check = ConditionCheck::builder().table_name(TABLE).key("channel", s("a")).key("seq", n(1));
    let check = check.condition_expression("attribute_exists(channel)").build().unwrap();
    let put = Put::builder().table_name(TABLE).item("channel", s("a")).item("seq", n(2)).build().unwrap();
    let items = vec![
        TransactWriteItem::builder().condition_check(check).build(),
        TransactWriteItem::builder().put(put).build(),
    ];
    let sent = database.client.transact_write_items().set_transact_items(Some(items)).send().await;
    let error = sent.unwrap_err().into_service_error();
    assert_eq!(
        error.to_string().trim_start_matches("TransactionCanceledException: "),
        "Transaction cancelled, please refer cancellation reasons for specific reasons [ConditionalCheckFailed, None]"
    );
    assert!(error.is_transaction_canceled_exception());
    assert_eq!(database.count().await, 0, "no item of it is written");
}

#[tokio::test]
async fn a_failed_condition_returns_the_item_on_request() {
    let database = Database::open(Storage::InMemory).await;
    database.put("a", 1, "user").await;
    let put = database.client.put_item().table_name(TABLE).item("channel", s("a")).item("seq", n(1));
    let put = put.condition_expression("attribute_not_exists(channel)");
    let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let error = put.send().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(failed) = error else {
        panic!("{error:?}");
    };
    assert_eq!(failed.message.as_deref(), Some("The conditional request failed"));
    assert_eq!(failed.item.unwrap()["role"], s("user"));
}
