//! `$connect`: verifies who connects, and remembers what they listen to.

mod handler;

use auth::{Issuer, Verifier};
use chat_aws::{DynamoChannels, DynamoConnections, env::variable, sdk};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let client = aws_sdk_dynamodb::Client::new(&sdk::config().await);
    let handler = Handler {
        channels: DynamoChannels::new(client.clone(), variable("CHANNELS_TABLE")?),
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        verifier: Verifier::new(Issuer::from_env()?)?,
    };
    let handler = &handler;
    run(service_fn(async |event: LambdaEvent<_>| Ok::<_, Error>(handler.handle(event.payload).await))).await
}
