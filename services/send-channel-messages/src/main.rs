//! `POST /channels/{channel_id}/messages` accepts a message; `PATCH` and `DELETE …/{seq}` change one.

mod handler;

use auth::{Issuer, Verifier};
use chat_aws::{DynamoChannels, DynamoMessages, env::variable, sdk};
use handler::Handler;
use http_api::Rest;
use lambda_http::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let client = aws_sdk_dynamodb::Client::new(&sdk::config().await);
    let table = variable("CHANNELS_TABLE")?;
    let channels = DynamoChannels::new(client.clone(), table.clone());
    let messages = DynamoMessages::new(client, variable("EVENTS_TABLE")?, table);
    let handler = Handler::new(channels, messages, Verifier::new(Issuer::from_env()?)?);
    let rest = Rest::from_env();
    let (handler, rest) = (&handler, &rest);
    run(service_fn(async |request| Ok::<_, Error>(rest.answer(request, |request| handler.handle(request)).await))).await
}
