//! `POST /channels/{channel_id}/messages` accepts a message; `PATCH` and `DELETE …/{seq}` change one; `PUT` and `DELETE
//! …/{seq}/reactions/{emoji}` react to it; `POST …/{seq}/reply/cancel` cancels the reply to it.

mod cache;
mod handler;

use auth::Verifier;
use chat_aws::{
    AuditLog, DynamoChannels, DynamoMessages,
    env::{bucket, days, variable},
    sdk,
};
use handler::{Buckets, Handler};
use http_api::{Adapter, Complete, Rest};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let telemetry = telemetry.with_audit(AuditLog::from_env(&config));
    let client = sdk::dynamodb(&config);
    let table = variable("CHANNELS_TABLE")?;
    let channels = DynamoChannels::new(client.clone(), table.clone());
    let messages = DynamoMessages::new(client, variable("EVENTS_TABLE")?, table);
    let verifier = Verifier::from_env(&config)?;
    let buckets = Buckets { send: bucket("SEND_RATE", "SEND_BURST")?, nothing: bucket("ACTION_RATE", "ACTION_BURST")? };
    let handler = Handler::new(channels, messages, verifier, buckets, days("CHANGE_RETENTION_DAYS")?);
    let rest = Rest::from_env();
    let (handler, rest) = (&handler, &rest);
    telemetry
        .run(Adapter::from(service_fn(async |request| {
            Ok::<_, Error>(Complete(rest.answer(request, |request| handler.handle(request)).await))
        })))
        .await
}
