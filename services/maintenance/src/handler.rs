//! Every run performs all pending maintenance, whatever its trigger.

use std::time::Duration;

use chat::{
    app::{
        ending::Ending,
        maintenance::{carry_out, close_ended},
    },
    model::{
        error::StoreError,
        id::ConnectionId,
        limits::{DEADLINE_MARGIN, MAX_PENDING_ENDS_PER_RUN, PUSH_CONCURRENCY},
        time::Timestamp,
    },
    ports::clock::{Clock, SystemClock},
};
use chat_aws::{DynamoChannels, DynamoConnections, DynamoDeletedChannels, ManagementApi};
use futures::StreamExt;
use lambda_runtime::{Context, Error};
use telemetry::invocation;
use tracing::Instrument;

/// The handler of work that no request waits for.
pub(crate) struct Handler {
    pub(crate) channels: DynamoChannels,
    pub(crate) connections: DynamoConnections,
    pub(crate) deleted: DynamoDeletedChannels,
    pub(crate) sockets: ManagementApi,
}

impl Handler {
    /// Closes sockets and carries out pending ends concurrently, so that a failure of one does not stop the other.
    pub(crate) async fn handle(&self, context: &Context) -> Result<(), Error> {
        let span = invocation::span("consumer", "timer");
        invocation::begin_trace(&span);
        let run = async {
            let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
            let time = SystemClock.now().until(deadline).saturating_sub(DEADLINE_MARGIN + RESERVE);
            let until = SystemClock.monotonic() + time;
            let (closed, ended) = futures::join!(Box::pin(self.close_ended()), Box::pin(self.carry_out(until)));
            if let (Ok(closed), Ok(ended)) = (&closed, &ended) {
                tracing::info!(closed, ended, "maintenance finished");
            }
            closed?;
            ended?;
            Ok::<_, StoreError>(())
        };
        run.instrument(span).await.inspect_err(|error| tracing::error!(%error, "maintenance failed"))?;
        Ok(())
    }

    /// Closes sockets whose token has ended. Returns their number. The next run retries a socket that cannot be closed.
    async fn close_ended(&self) -> Result<usize, StoreError> {
        let (mut closed, mut failed, mut worked_off) = (0, None, None);
        for minute in self.connections.ended_minutes(SystemClock.now()).await? {
            let ended = self.connections.expired_in_minute(minute).await?;
            let mut outcomes = futures::stream::iter(ended)
                .map(async |id| (self.close_one(minute, &id).await, id))
                .buffer_unordered(PUSH_CONCURRENCY);
            while let Some((outcome, connection_id)) = outcomes.next().await {
                match outcome {
                    Ok(is_closed) => closed += usize::from(is_closed),
                    Err(error) => {
                        tracing::error!(%error, %connection_id, "socket with an expired token was not closed");
                        failed.get_or_insert(error);
                    }
                }
            }
            if failed.is_none() {
                worked_off = Some(minute);
            }
        }
        // Recorded once per run, because most minutes were recorded by earlier runs. An interrupted run only repeats
        // queries.
        if let Some(minute) = worked_off {
            self.connections.worked_off(minute).await?;
        }
        failed.map_or(Ok(closed), Err)
    }

    async fn close_one(&self, minute: Timestamp, id: &ConnectionId) -> Result<bool, StoreError> {
        let found = self.connections.find(id).await?;
        let (connections, connection) = match &found {
            Some((connections, connection)) => (connections, Some(connection)),
            None => (&self.connections, None),
        };
        let is_over = close_ended(connections, &self.sockets, &SystemClock, id, connection).await?;
        // A connection with a newer token is listed under the end of that token.
        let of_minute = |time: Timestamp| time.as_secs().div_euclid(60);
        if is_over || connection.is_some_and(|one| of_minute(one.expires_at) != of_minute(minute)) {
            self.connections.remove_expiry_entry(minute, id).await?;
        }
        Ok(is_over)
    }

    /// Carries out pending ends until `until`. Returns the number of completed ones.
    async fn carry_out(&self, until: Duration) -> Result<usize, StoreError> {
        let (mut done, mut failed) = (0, None);
        for (tenant, pending) in self.deleted.due(SystemClock.now(), MAX_PENDING_ENDS_PER_RUN).await? {
            let tenant = tenant.as_ref();
            let ending = Ending {
                channels: &self.channels.for_tenant(tenant),
                connections: &self.connections.for_tenant(tenant),
                sockets: &self.sockets,
                clock: &SystemClock,
            };
            match carry_out(&ending, &self.deleted.for_tenant(tenant), &pending, until).await {
                Ok(is_done) => done += usize::from(is_done),
                Err(error) => {
                    tracing::error!(%error, channel_id = %pending.channel.channel_id, "pending end not carried out");
                    failed.get_or_insert(error);
                }
            }
            if SystemClock.monotonic() >= until {
                break;
            }
        }
        failed.map_or(Ok(done), Err)
    }
}

/// Time kept back for the page that is being processed at the end of an invocation.
const RESERVE: Duration = Duration::from_secs(3);
