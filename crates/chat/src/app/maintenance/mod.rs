//! Maintenance: closes sockets whose token has expired, and works on pending ends.

mod expired_sockets;

use std::time::Duration;

use futures::future::join;

use crate::{
    app::subscription_ends::SubscriptionEnds,
    model::{
        error::StoreError,
        id::TenantId,
        limits::{DEADLINE_MARGIN, MAX_PENDING_ENDS_PER_RUN, PENDING_LEASE_DURATION},
        pending_end::PendingEnd,
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore,
        deleted_channels::DeletedChannels, due_ends::DueEnds, expiry_store::ExpiryStore, pending_ends::PendingEnds,
        socket_gateway::SocketGateway, tenant_stores::TenantStores,
    },
};

/// Time kept back for the page that is being processed at the end of an invocation.
const RESERVE: Duration = Duration::from_secs(3);

/// Maintenance of all tenants, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Maintenance<'a, Tenants, Expiry, Ends, Sockets, Time> {
    /// Stores of each tenant.
    pub tenants: &'a Tenants,
    /// Connections by the minute in which their token ends.
    pub expiry: &'a Expiry,
    /// List of pending ends.
    pub ends: &'a Ends,
    /// Sockets.
    pub sockets: &'a Sockets,
    /// Time.
    pub clock: &'a Time,
}

/// Work that one run of maintenance has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Number of closed sockets.
    pub closed: usize,
    /// Number of completed pending ends.
    pub ended: usize,
}

impl<Tenants, Expiry, Ends, Sockets, Time> Maintenance<'_, Tenants, Expiry, Ends, Sockets, Time>
where
    Tenants: TenantStores,
    Tenants::Channels: ChannelStore + PendingEnds,
    Tenants::Connections: ConnectionStore,
    Tenants::Deleted: DeletedChannels,
    Expiry: ExpiryStore,
    Ends: DueEnds,
    Sockets: SocketGateway,
    Time: Clock,
{
    /// Returns the time of [`Clock::monotonic`] at which an invocation that ends at `deadline` begins no more work.
    #[must_use]
    pub fn stops_at(&self, deadline: Timestamp) -> Duration {
        self.clock.monotonic() + self.clock.now().until(deadline).saturating_sub(DEADLINE_MARGIN + RESERVE)
    }

    /// Closes sockets and carries out pending ends until [`Clock::monotonic`] has reached `until`. Both run
    /// concurrently, so that a failure of one does not stop the other.
    ///
    /// # Errors
    /// When a store or the gateway fails. The next run repeats the work.
    pub async fn run(&self, until: Duration) -> Result<Finished, StoreError> {
        // On the heap, because a nested future is part of its parent, and these are large.
        let (closed, ended) = join(Box::pin(self.close_expired(until)), Box::pin(self.carry_out_due(until))).await;
        Ok(Finished { closed: closed?, ended: ended? })
    }

    /// Carries out up to [`MAX_PENDING_ENDS_PER_RUN`] pending ends until `until`. Returns the number of completed ones.
    async fn carry_out_due(&self, until: Duration) -> Result<usize, StoreError> {
        let (mut done, mut failed) = (0, None);
        for (tenant, pending) in self.ends.due(self.clock.now(), MAX_PENDING_ENDS_PER_RUN).await? {
            match self.carry_out(tenant.as_ref(), &pending, until).await {
                Ok(is_done) => done += usize::from(is_done),
                Err(error) => {
                    tracing::error!(%error, channel_id = %pending.channel.channel_id, "pending end not carried out");
                    failed.get_or_insert(error);
                }
            }
            if self.clock.monotonic() >= until {
                break;
            }
        }
        failed.map_or(Ok(done), Err)
    }

    /// Works on a pending end until it is done (`true`) or [`Clock::monotonic`] has reached `until`. Skips a pending
    /// end that another function has leased. After a failure the record stays, and a later call continues from it.
    async fn carry_out(
        &self,
        tenant: Option<&TenantId>,
        pending: &PendingEnd,
        until: Duration,
    ) -> Result<bool, StoreError> {
        let (channels, connections) = (self.tenants.channels(tenant), self.tenants.connections(tenant));
        let deleted = self.tenants.deleted(tenant);
        let ends = SubscriptionEnds {
            channels: &*channels,
            connections: &*connections,
            sockets: self.sockets,
            clock: self.clock,
        };
        let now = self.clock.now();
        match ends.channels.lease(pending, now.plus(PENDING_LEASE_DURATION), now).await? {
            Some(leased) => ends.resume(leased, &*deleted, until).await,
            None => Ok(false),
        }
    }
}
