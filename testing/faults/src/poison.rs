//! Records that no worker can decode: items in the table of messages that are not messages.

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials},
    operation::put_item::PutItemError,
    types::AttributeValue,
};

/// The table of messages, as the local run names it.
pub(crate) const TABLE: &str = "chat_events";

/// Prefix of the channels of poisoned records.
pub(crate) const PREFIX: &str = "poison-";

/// Returns a client for the tables of a run.
pub(crate) async fn tables(url: &str) -> Client {
    let credentials = Credentials::new("local", "local", None, None, "faults");
    let config = aws_config::defaults(BehaviorVersion::latest()).region("us-east-1").credentials_provider(credentials);
    let config = config.load().await;
    Client::from_conf(aws_sdk_dynamodb::config::Builder::from(&config).endpoint_url(url).build())
}

/// Writes the poisoned record `number`. Returns `false` if it is unknown whether it is stored.
pub(crate) async fn put(tables: &Client, number: u64) -> bool {
    let put = tables
        .put_item()
        .table_name(TABLE)
        .item("channel_id", AttributeValue::S(channel(number)))
        .item("seq", AttributeValue::N("1".to_owned()))
        // The agent's filter selects messages of users.
        .item("role", AttributeValue::S("user".to_owned()))
        // An attempt with a lost response may have written it.
        .condition_expression("attribute_not_exists(channel_id)")
        .send()
        .await;
    match put {
        Ok(_) => true,
        Err(error) => error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception),
    }
}

/// Returns the channel of poisoned record `number`.
pub(crate) fn channel(number: u64) -> String {
    format!("{PREFIX}{number}")
}
