//! Converts a dispatched push batch to pushes.

use chat::{app::delivery::Delivery, ports::clock::SystemClock};
use chat_aws::{
    DynamoConnections, LambdaFanOut, ManagementApi, api_gateway,
    lambda::{deadline, fan_out::TenantPushBatch},
    trace,
};
use lambda_runtime::{Context, Error};
use serde_json::Value;
use telemetry::invocation;
use tracing::Instrument;

/// The handler of push batches.
pub(crate) struct Handler {
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
}

impl Handler {
    pub(crate) async fn handle(&self, batch: TenantPushBatch, context: &Context) -> Result<Value, Error> {
        let TenantPushBatch { tenant, trace, batch } = batch;
        let span = invocation::span("consumer", "other");
        match trace::parent(trace.as_ref()) {
            Some(remote) => remote.attach_to(&span),
            None => invocation::begin_trace(&span),
        }
        let delivery = Delivery {
            connections: &self.connections.for_tenant(tenant.as_ref()),
            sockets: &self.sockets,
            fan_out: &self.fan_out.for_tenant(tenant.as_ref()),
            clock: &SystemClock,
            deadline: deadline(context.deadline),
        };
        let (channel_id, frames) = (batch.channel.channel_id.clone(), batch.frames.len());
        let batch = async {
            let outcome = delivery.push_batch(batch).await.inspect_err(invocation::failed)?;
            api_gateway::count(&outcome);
            tracing::info!(%channel_id, frames, ?outcome, "push batch finished");
            Ok(Value::Null)
        };
        batch.instrument(span).await
    }
}
