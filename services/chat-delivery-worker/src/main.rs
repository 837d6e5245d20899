//! `chat-delivery-worker`: pushes messages and presence events to all subscribers.

mod handler;

use chat::app::delivery::Reach;
use chat_aws::{
    DynamoConnections, LambdaFanOut, ManagementApi,
    env::{number, variable},
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
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        fan_out: LambdaFanOut::new(&config, variable("SEND_MESSAGE_FUNCTION")?),
        reach: Reach {
            threshold: number("FANOUT_THRESHOLD")?,
            rate: u32::try_from(number("DELIVERY_RATE")?).unwrap_or(u32::MAX),
        },
        presence: number("PRESENCE_SUBSCRIPTIONS")?,
    };
    let handler = &handler;
    telemetry
        .run(service_fn(async |event: LambdaEvent<_>| {
            Ok::<_, Error>(handler.handle(event.payload, &event.context).await)
        }))
        .await
}
