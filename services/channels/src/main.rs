//! `/channels` and below: creating, finding, joining and leaving channels.

mod handler;

use auth::{Issuer, Verifier};
use chat_aws::{DynamoChannels, DynamoConnections, ManagementApi, env::variable, sdk};
use handler::Handler;
use http_api::Rest;
use lambda_http::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let config = sdk::config().await;
    let client = aws_sdk_dynamodb::Client::new(&config);
    let handler = Handler {
        channels: DynamoChannels::new(client.clone(), variable("CHANNELS_TABLE")?),
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        verifier: Verifier::new(Issuer::from_env()?)?,
    };
    let rest = Rest::from_env();
    let (handler, rest) = (&handler, &rest);
    run(service_fn(async |request| Ok::<_, Error>(rest.answer(request, |request| handler.handle(request)).await))).await
}
