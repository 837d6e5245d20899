//! `$disconnect`: forgets a connection. Best effort: it may never come, and the next push or the connection's age
//! cleans up in its place.

mod handler;

use chat_aws::{DynamoConnections, env::variable, sdk};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let client = aws_sdk_dynamodb::Client::new(&sdk::config().await);
    let connections = &DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?);
    run(service_fn(async |event: LambdaEvent<_>| handler::handle(connections, &event.payload).await)).await
}
