//! Port that provides the stores of one tenant.

use std::ops::Deref;

use crate::model::id::TenantId;

/// Stores of all tenants. `None` means a deployment without tenants.
pub trait TenantStores: Send + Sync {
    /// Store of channels, members and pending ends.
    type Channels;

    /// Store of connections and subscriptions.
    type Connections;

    /// Remover of deleted channels.
    type Deleted;

    /// Returns the channels of one tenant.
    fn channels(&self, tenant: Option<&TenantId>) -> impl Deref<Target = Self::Channels> + Send + Sync;

    /// Returns the connections of one tenant.
    fn connections(&self, tenant: Option<&TenantId>) -> impl Deref<Target = Self::Connections> + Send + Sync;

    /// Returns the deleted channels of one tenant.
    fn deleted(&self, tenant: Option<&TenantId>) -> impl Deref<Target = Self::Deleted> + Send + Sync;
}
