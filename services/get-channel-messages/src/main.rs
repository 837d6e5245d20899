//! `GET /channels/{channel_id}/messages` and below: the history of a channel, one message, a thread, the reactions to a
//! message, the reply to it. `GET /channels/{channel_id}/threads`: the roots. `GET /channels/{channel_id}/changes`: the
//! changes of messages.

mod call;
mod changes;
mod handler;
mod messages;
mod reactions;
mod reply;

use auth::Verifier;
use chat_aws::{
    DynamoChannels, DynamoMessages,
    env::{seconds, variable},
    sdk,
};
use handler::Handler;
use http_api::{Adapter, Complete, Rest};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let client = sdk::dynamodb(&config);
    let (events, channels) = (variable("EVENTS_TABLE")?, variable("CHANNELS_TABLE")?);
    let handler = Handler {
        channels: DynamoChannels::new(client.clone(), channels.clone()),
        messages: DynamoMessages::new(client, events, channels),
        verifier: Verifier::from_env(&config)?,
        longest_wait: seconds("MAX_WAIT_SECONDS")?,
    };
    let rest = Rest::from_env();
    let (handler, rest) = (&handler, &rest);
    telemetry
        .run(Adapter::from(service_fn(async |request| {
            Ok::<_, Error>(Complete(rest.answer(request, |request| handler.handle(request)).await))
        })))
        .await
}
