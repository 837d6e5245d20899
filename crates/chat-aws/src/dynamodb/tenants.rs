//! The stores of all tenants.

use std::ops::Deref;

use chat::{model::id::TenantId, ports::tenant_stores::TenantStores};

use crate::dynamodb::{
    channels::DynamoChannels, connections::DynamoConnections, deleted_channels::DynamoDeletedChannels,
};

/// Stores from which the stores of each tenant are derived.
#[derive(Debug, Clone)]
pub struct DynamoTenants {
    /// Channels, members and pending ends.
    pub channels: DynamoChannels,
    /// Connections, subscriptions and expiry entries.
    pub connections: DynamoConnections,
    /// Deleted channels, and the list of pending ends.
    pub deleted: DynamoDeletedChannels,
}

impl TenantStores for DynamoTenants {
    type Channels = DynamoChannels;
    type Connections = DynamoConnections;
    type Deleted = DynamoDeletedChannels;

    fn channels(&self, tenant: Option<&TenantId>) -> impl Deref<Target = Self::Channels> + Send + Sync {
        Box::new(self.channels.for_tenant(tenant))
    }

    fn connections(&self, tenant: Option<&TenantId>) -> impl Deref<Target = Self::Connections> + Send + Sync {
        Box::new(self.connections.for_tenant(tenant))
    }

    fn deleted(&self, tenant: Option<&TenantId>) -> impl Deref<Target = Self::Deleted> + Send + Sync {
        Box::new(self.deleted.for_tenant(tenant))
    }
}
