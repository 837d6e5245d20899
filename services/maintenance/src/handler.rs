//! Every run performs all pending maintenance, whatever its trigger.

use chat::{app::maintenance::Maintenance, ports::clock::SystemClock};
use chat_aws::{DynamoTenants, ManagementApi, lambda::deadline};
use lambda_runtime::{Context, Error};
use telemetry::invocation;
use tracing::Instrument;

/// The handler of work that no request waits for.
pub(crate) struct Handler {
    pub(crate) tenants: DynamoTenants,
    pub(crate) sockets: ManagementApi,
}

impl Handler {
    pub(crate) async fn handle(&self, context: &Context) -> Result<(), Error> {
        let span = invocation::span("consumer", "timer");
        invocation::begin_trace(&span);
        let maintenance = Maintenance {
            tenants: &self.tenants,
            expiry: &self.tenants.connections,
            ends: &self.tenants.deleted,
            sockets: &self.sockets,
            clock: &SystemClock,
        };
        let until = maintenance.stops_at(deadline(context.deadline));
        let finished = maintenance.run(until).instrument(span.clone()).await;
        span.in_scope(|| match &finished {
            Ok(done) => tracing::info!(closed = done.closed, ended = done.ended, "maintenance finished"),
            Err(error) => tracing::error!(%error, "maintenance failed"),
        });
        finished?;
        Ok(())
    }
}
