//! A function that only reads one item: the baseline of one call by the AWS SDK.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let table = std::env::var("CHANNELS_TABLE")?;
    let (client, table) = (&client, &table);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        drop(event);
        let get = client.get_item().table_name(table).key("channel_id", AttributeValue::S("nobody".into()));
        get.key("sk", AttributeValue::S("meta".into())).send().await?;
        Ok::<_, Error>(Value::Null)
    }))
    .await
}
