//! `chat-delivery-worker`: pushes messages, and who comes and goes, to all who listen.

mod handler;

use chat_aws::{
    DynamoConnections, LambdaFanOut, ManagementApi,
    env::{number, variable},
    sdk,
};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = sdk::config().await;
    let client = aws_sdk_dynamodb::Client::new(&config);
    let handler = Handler {
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        fan_out: LambdaFanOut::new(&config, variable("SEND_MESSAGE_FUNCTION")?),
        threshold: number("FANOUT_THRESHOLD")?,
        presence: number("PRESENCE_SUBSCRIPTIONS")?,
    };
    let handler = &handler;
    run(service_fn(async |event: LambdaEvent<_>| Ok::<_, Error>(handler.handle(event.payload, &event.context).await)))
        .await
}
