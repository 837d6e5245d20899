//! Lists of the maintenance in memory: pending ends, and connections by the minute in which their token ends. There is
//! one tenant.

use std::ops::Deref;

use super::{Call, Hook, MemoryStore, Rule};
use crate::{
    model::{
        connection::Connection,
        error::StoreError,
        id::{ConnectionId, TenantId},
        pending_end::PendingEnd,
        time::Timestamp,
    },
    ports::{
        due_ends::DueEnds,
        expiry_store::{ENDED_SOCKETS_MINUTES, ExpiryStore},
        tenant_stores::TenantStores,
    },
};

impl<H: Hook> MemoryStore<H> {
    /// Lists a connection under the minute in which its token ends, unless the gateway closes the socket earlier.
    pub(super) async fn list_end(&self, connection: &Connection) -> Result<(), StoreError> {
        if connection.token_expires_at > connection.expires_at {
            return Ok(());
        }
        self.call(Call::ListEnd, |state| {
            let of_minute = state.token_ends.entry(connection.expires_at.minute()).or_default();
            of_minute.insert(connection.key.id.clone());
        })
        .await
    }
}

impl<H: Hook> ExpiryStore for MemoryStore<H> {
    async fn ended_minutes(&self, now: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.call(Call::EndedMinutes, |state| {
            let last = now.minute();
            let first = state.worked_off.map_or(i64::MIN, |minute| minute.min(last) - (ENDED_SOCKETS_MINUTES - 1));
            state.token_ends.range(first..=last).map(|(minute, _)| Timestamp::from_secs(minute * 60)).collect()
        })
        .await
    }

    async fn worked_off(&self, time: Timestamp) -> Result<(), StoreError> {
        self.call(Call::WorkedOff, |state| state.worked_off = state.worked_off.max(Some(time.minute()))).await
    }

    async fn expired_in_minute(&self, time: Timestamp) -> Result<Vec<ConnectionId>, StoreError> {
        self.call(Call::ExpiredInMinute, |state| {
            state.token_ends.get(&time.minute()).into_iter().flatten().cloned().collect()
        })
        .await
    }

    async fn remove_expiry_entry(&self, time: Timestamp, id: &ConnectionId) -> Result<(), StoreError> {
        self.call(Call::RemoveExpiryEntry, |state| {
            let Some(of_minute) = state.token_ends.get_mut(&time.minute()) else { return };
            of_minute.remove(id);
            if of_minute.is_empty() {
                state.token_ends.remove(&time.minute());
            }
        })
        .await
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<(Option<TenantId>, Connection)>, StoreError> {
        let found = self.call(Call::Connection, |state| state.connections.get(id).cloned()).await?;
        Ok(found.map(|connection| (None, connection)))
    }
}

impl<H: Hook> DueEnds for MemoryStore<H> {
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<(Option<TenantId>, PendingEnd)>, StoreError> {
        self.call(Call::DueEnds, |state| {
            let due =
                state.pending.values().filter(|pending| pending.lease_until <= now || state.lacks(Rule::LeaseHeld));
            due.take(limit).map(|pending| (None, pending.clone())).collect()
        })
        .await
    }
}

impl<H: Hook> TenantStores for MemoryStore<H> {
    type Channels = Self;
    type Connections = Self;
    type Deleted = Self;

    fn channels(&self, _: Option<&TenantId>) -> impl Deref<Target = Self::Channels> + Send + Sync {
        self
    }

    fn connections(&self, _: Option<&TenantId>) -> impl Deref<Target = Self::Connections> + Send + Sync {
        self
    }

    fn deleted(&self, _: Option<&TenantId>) -> impl Deref<Target = Self::Deleted> + Send + Sync {
        self
    }
}
