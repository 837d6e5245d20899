//! `chat-agent-worker`: replies to messages of users.

mod handler;

use chat::app::agent::Budgets;
use chat_aws::{
    DynamoChannels, DynamoConnections, DynamoMessages, LambdaFanOut, ManagementApi,
    env::{number, per_minute, variable},
    sdk,
};
use handler::Handler;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use models::Model;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let (events, channels) = (variable("EVENTS_TABLE")?, variable("CHANNELS_TABLE")?);
    let handler = Handler {
        channels: DynamoChannels::new(client.clone(), channels.clone()),
        messages: DynamoMessages::new(client.clone(), events, channels),
        connections: DynamoConnections::new(client, variable("CONNECTIONS_TABLE")?),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        fan_out: LambdaFanOut::new(&config, variable("SEND_MESSAGE_FUNCTION")?),
        model: Model::from_env(&config).await?,
        name: variable("AGENT_NAME")?,
        budgets: Budgets {
            context_tokens: number("CONTEXT_TOKENS")?,
            user: per_minute("REPLIES_PER_USER")?,
            channel: per_minute("REPLIES_PER_CHANNEL")?,
            tokens_per_day: u64::try_from(number("TOKENS_PER_DAY")?)?,
        },
        threshold: number("FANOUT_THRESHOLD")?,
    };
    let handler = &handler;
    telemetry
        .run(service_fn(async |event: LambdaEvent<_>| {
            Ok::<_, Error>(handler.handle(event.payload, &event.context).await)
        }))
        .await
}
