//! From a broadcast that a worker hands over to pushes.

use chat::{
    clock::{SystemClock, Timestamp},
    delivery::Delivery,
};
use chat_aws::{DynamoConnections, LambdaFanOut, ManagementApi, fan_out::TenantBroadcast, sockets, trace};
use lambda_runtime::{Context, Error};
use serde_json::Value;
use telemetry::invocation;
use tracing::Instrument;

/// Sends to sockets.
pub(crate) struct Handler {
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
}

impl Handler {
    pub(crate) async fn handle(&self, broadcast: TenantBroadcast, context: &Context) -> Result<Value, Error> {
        let TenantBroadcast { tenant, trace, broadcast } = broadcast;
        let span = invocation::span("consumer", "other");
        match trace::remote(trace.as_ref()) {
            Some(remote) => remote.adopt(&span),
            None => invocation::begin_trace(&span),
        }
        let delivery = Delivery {
            connections: &self.connections.of(tenant.as_ref()),
            sockets: &self.sockets,
            fan_out: &self.fan_out.of(tenant.as_ref()),
            clock: &SystemClock,
            deadline: Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX)),
        };
        let (channel_id, frames) = (broadcast.channel.channel_id.clone(), broadcast.frames.len());
        let broadcast = async {
            let outcome = delivery.broadcast(broadcast).await.inspect_err(invocation::failed)?;
            sockets::count(&outcome);
            tracing::info!(%channel_id, frames, ?outcome, "broadcast");
            Ok(Value::Null)
        };
        broadcast.instrument(span).await
    }
}
