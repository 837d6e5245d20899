//! `chat-agent-worker`: answers messages of users.

mod handler;

use chat::agent::BuiltInResponder;
use chat_aws::{DynamoChannels, DynamoMessages, env::variable, sdk};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let client = aws_sdk_dynamodb::Client::new(&sdk::config().await);
    let (events, channels) = (variable("EVENTS_TABLE")?, variable("CHANNELS_TABLE")?);
    let handler = Handler {
        channels: DynamoChannels::new(client.clone(), channels.clone()),
        messages: DynamoMessages::new(client, events, channels),
        model: BuiltInResponder,
    };
    let handler = &handler;
    run(service_fn(async |event: LambdaEvent<_>| {
        Ok::<_, Error>(handler.handle(event.payload, &event.context.request_id).await)
    }))
    .await
}
