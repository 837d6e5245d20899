//! `MaintenanceFunction`: closes sockets with expired tokens, and carries out pending ends. Runs every minute, and
//! after a change that creates a pending end.

mod handler;

use chat_aws::{
    DynamoChannels, DynamoConnections, DynamoDeletedChannels, DynamoTenants, ManagementApi, env::variable, sdk,
};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let channels = variable("CHANNELS_TABLE")?;
    let tenants = DynamoTenants {
        channels: DynamoChannels::new(client.clone(), channels.clone()),
        connections: DynamoConnections::new(client.clone(), variable("CONNECTIONS_TABLE")?),
        deleted: DynamoDeletedChannels::new(client, variable("EVENTS_TABLE")?, channels),
    };
    let handler = Handler { tenants, sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?) };
    let handler = &handler;
    telemetry.run(service_fn(async |event: LambdaEvent<Value>| handler.handle(&event.context).await)).await
}
