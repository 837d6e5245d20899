//! `$disconnect`: removes a connection. API Gateway calls it on a best-effort basis. Without it, the next push or the
//! expiry of the connection removes it.

mod handler;

use chat_aws::{DynamoConnections, env::variable, sdk};
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let connections = &DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?);
    telemetry.run(service_fn(async |event: LambdaEvent<_>| handler::handle(connections, &event.payload).await)).await
}
