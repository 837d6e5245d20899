//! `UpkeepFunction`: closes sockets whose token has ended, and removes what is left of deleted channels. Comes every
//! minute, and when a channel has been deleted.

mod handler;

use chat_aws::{DynamoConnections, DynamoRemains, ManagementApi, env::variable, sdk};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let handler = Handler {
        connections: DynamoConnections::new(client.clone(), variable("CONNECTIONS_TABLE")?),
        remains: DynamoRemains::new(client, variable("EVENTS_TABLE")?, variable("CHANNELS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
    };
    let handler = &handler;
    telemetry.run(service_fn(async |event: LambdaEvent<Value>| handler.handle(&event.context).await)).await
}
