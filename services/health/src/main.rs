//! `GET /health`: reports whether the back end works. Needs no token.

mod handler;

use std::sync::Mutex;

use chat_aws::{env::variable, sdk};
use handler::Handler;
use http_api::{Adapter, Complete, Rest};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let handler = Handler {
        client: sdk::dynamodb(&config),
        tables: [variable("EVENTS_TABLE")?, variable("CHANNELS_TABLE")?, variable("CONNECTIONS_TABLE")?],
        last: Mutex::default(),
    };
    let rest = Rest::from_env();
    let (handler, rest) = (&handler, &rest);
    telemetry
        .run(Adapter::from(service_fn(async |request| {
            Ok::<_, Error>(Complete(rest.answer(request, |_| handler.handle()).await))
        })))
        .await
}
