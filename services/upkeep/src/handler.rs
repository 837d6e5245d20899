//! Whatever woke the function: it looks for all that is to be done.

use std::time::Duration;

use chat::{
    clock::{Clock, SystemClock, Timestamp},
    connection::ConnectionStore,
    delivery::SocketPusher,
    error::StoreError,
    limits::{DELETIONS_AT_ONCE, ENDED_SOCKETS_MINUTES, HAND_OVER_RESERVE, PUSHES_AT_ONCE},
};
use chat_aws::{DynamoConnections, DynamoRemains, ManagementApi};
use futures::{StreamExt, TryStreamExt};
use lambda_runtime::{Context, Error};
use telemetry::invocation;
use tracing::Instrument;

/// Does what no request waits for.
pub(crate) struct Handler {
    pub(crate) connections: DynamoConnections,
    pub(crate) remains: DynamoRemains,
    pub(crate) sockets: ManagementApi,
}

impl Handler {
    /// Sockets first: they are few, and somebody still listens.
    pub(crate) async fn handle(&self, context: &Context) -> Result<(), Error> {
        let span = invocation::span("consumer", "timer");
        invocation::begin_trace(&span);
        self.keep_up(context).instrument(span).await.inspect_err(|error| {
            tracing::error!(%error, "could not keep up");
        })
    }

    async fn keep_up(&self, context: &Context) -> Result<(), Error> {
        let closed = self.close_ended(SystemClock.now()).await?;
        let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
        let removed = self.remove_deleted(deadline).await?;
        tracing::info!(closed, removed, "kept up");
        Ok(())
    }

    /// Closes the sockets whose token has ended by `now`; how many.
    async fn close_ended(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut closed = 0;
        for minutes in 0..ENDED_SOCKETS_MINUTES {
            let minute = Timestamp::from_secs(now.as_secs() - minutes * 60);
            let ended = self.connections.ended(minute).await?;
            let outcomes: Vec<bool> = futures::stream::iter(ended)
                .map(async |id| {
                    let Some((of_tenant, connection)) = self.connections.find(&id).await? else {
                        self.connections.forget_end(minute, &id).await?;
                        return Ok(false);
                    };
                    let is_over = connection.expires_at <= now;
                    if is_over {
                        self.sockets.close(&id).await?;
                        of_tenant.close(&id, connection.connected_at).await?;
                    }
                    // One that has another token by now is listed where that one ends.
                    if is_over || connection.expires_at.as_secs().div_euclid(60) != minute.as_secs().div_euclid(60) {
                        self.connections.forget_end(minute, &id).await?;
                    }
                    Ok::<_, StoreError>(is_over)
                })
                .buffer_unordered(PUSHES_AT_ONCE)
                .try_collect()
                .await?;
            closed += outcomes.into_iter().filter(|closed| *closed).count();
        }
        Ok(closed)
    }

    /// Removes what is left of deleted channels, as far as it gets by `deadline`; how many are gone.
    async fn remove_deleted(&self, deadline: Timestamp) -> Result<usize, StoreError> {
        let reserve = i64::try_from((HAND_OVER_RESERVE + Duration::from_secs(3)).as_millis()).unwrap_or_default();
        let until = Timestamp::from_millis(deadline.as_millis() - reserve);
        let mut removed = 0;
        for remains in self.remains.all(DELETIONS_AT_ONCE).await? {
            if !self.remains.remove(&remains, until).await? {
                tracing::info!(channel = %remains, "a deleted channel is not gone yet; going on at the next tick");
                break;
            }
            removed += 1;
        }
        Ok(removed)
    }
}
