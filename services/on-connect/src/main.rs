//! `$connect`: verifies the caller, and stores the connection and its subscriptions.

mod handler;

use auth::Verifier;
use chat::app::connect::ConnectLimits;
use chat_aws::{
    DynamoChannels, DynamoConnections, ManagementApi,
    env::{bucket, flag, number, variable},
    sdk,
};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let handler = Handler {
        channels: DynamoChannels::new(client.clone(), variable("CHANNELS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        verifier: Verifier::from_env(&config)?,
        limits: ConnectLimits {
            bucket: bucket("CONNECT_RATE", "CONNECT_BURST")?,
            connections: number("CONNECTIONS_PER_USER")?,
        },
        token_in_url: flag("TOKEN_IN_URL")?,
    };
    let handler = &handler;
    telemetry.run(service_fn(async |event: LambdaEvent<_>| Ok::<_, Error>(handler.handle(event.payload).await))).await
}
