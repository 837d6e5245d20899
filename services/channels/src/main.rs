//! `/me`, `/invitations`, `/connections`, and `/channels` and below except messages.

mod call;
mod channels;
mod connections;
mod lists;
mod me;
mod members;
mod pages;
mod presence;
mod router;

use auth::Verifier;
use call::Dependencies;
use chat::app::{channels::CreationRules, rate_limit::RateLimits};
use chat_aws::{
    AuditLog, DynamoChannels, DynamoConnections, DynamoMessages, LambdaFanOut, LambdaMaintenance, ManagementApi,
    env::{bucket, choice, number, per_minute, variable},
    sdk,
};
use http_api::{Adapter, Complete, Rest};
use lambda_http::{Error, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let telemetry = telemetry::start().await;
    let config = sdk::config().await;
    let telemetry = telemetry.with_audit(AuditLog::from_env(&config));
    let client = sdk::dynamodb(&config);
    let (channels, connections) = (variable("CHANNELS_TABLE")?, variable("CONNECTIONS_TABLE")?);
    let shared = Dependencies {
        channels: DynamoChannels::new(client.clone(), &channels).with_connections(&connections),
        messages: DynamoMessages::new(client.clone(), variable("EVENTS_TABLE")?, channels),
        connections: DynamoConnections::new(client, connections),
        sockets: ManagementApi::new(&config, &variable("MANAGEMENT_URL")?),
        fan_out: LambdaFanOut::new(&config, variable("SEND_MESSAGE_FUNCTION")?),
        maintenance: LambdaMaintenance::new(&config, variable("MAINTENANCE_FUNCTION")?),
        verifier: Verifier::from_env(&config)?,
        limits: RateLimits {
            connect: bucket("CONNECT_RATE", "CONNECT_BURST")?,
            create: per_minute("CHANNELS_PER_MINUTE")?,
            members: per_minute("MEMBERS_PER_MINUTE")?,
            presence: per_minute("PRESENCE_PER_MINUTE")?,
            other: bucket("ACTION_RATE", "ACTION_BURST")?,
        },
        additions: choice("MEMBER_ADDITIONS")?,
        creations: CreationRules {
            chosen_ids: choice("CHOSEN_CHANNEL_IDS")?,
            channels_per_user: number("CHANNELS_PER_USER")?,
        },
        presence: number("PRESENCE_SUBSCRIPTIONS")?,
        agent_name: variable("AGENT_NAME")?,
    };
    let rest = Rest::from_env();
    let (shared, rest) = (&shared, &rest);
    telemetry
        .run(Adapter::from(service_fn(async |request| {
            Ok::<_, Error>(Complete(rest.answer(request, |request| router::handle(shared, request)).await))
        })))
        .await
}
