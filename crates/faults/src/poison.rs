//! Records that no worker can read: items in the table of messages that are none.

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials},
    operation::put_item::PutItemError,
    types::AttributeValue,
};

/// The table of messages, as the local run names it.
pub(crate) const TABLE: &str = "chat_events";

/// What the channels of poisoned records are called.
pub(crate) const PREFIX: &str = "poison-";

/// The tables of a run.
pub(crate) async fn tables(url: &str) -> Client {
    let credentials = Credentials::new("local", "local", None, None, "faults");
    let config = aws_config::defaults(BehaviorVersion::latest()).region("us-east-1").credentials_provider(credentials);
    let config = config.load().await;
    Client::from_conf(aws_sdk_dynamodb::config::Builder::from(&config).endpoint_url(url).build())
}

/// Puts the record `number` where messages are; `false` when it is not known whether it is there.
pub(crate) async fn put(tables: &Client, number: u64) -> bool {
    let put = tables
        .put_item()
        .table_name(TABLE)
        .item("channel_id", AttributeValue::S(channel(number)))
        .item("seq", AttributeValue::N("1".to_owned()))
        // For the filter of the agent, which takes what users say.
        .item("role", AttributeValue::S("user".to_owned()))
        // Once: an attempt whose answer was lost may have done it.
        .condition_expression("attribute_not_exists(channel_id)")
        .send()
        .await;
    match put {
        Ok(_) => true,
        Err(error) => error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception),
    }
}

/// The channel of poisoned record `number`.
pub(crate) fn channel(number: u64) -> String {
    format!("{PREFIX}{number}")
}
