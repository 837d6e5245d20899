//! `SendMessageFunction`: pushes frames to sockets for the functions that dispatch push batches. It stores no message:
//! `send-channel-messages` does.

mod handler;

use chat_aws::{DynamoConnections, LambdaFanOut, ManagementApi, env::variable, sdk};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let handler = Handler {
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        // It dispatches to itself; the template cannot name a function in its own definition.
        fan_out: LambdaFanOut::new(&config, variable("AWS_LAMBDA_FUNCTION_NAME")?),
    };
    let handler = &handler;
    telemetry.run(service_fn(async |event: LambdaEvent<_>| handler.handle(event.payload, &event.context).await)).await
}
