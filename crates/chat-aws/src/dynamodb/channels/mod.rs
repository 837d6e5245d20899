//! Channels and members, in `chat_channels`: see [`crate::dynamodb::keys`].
//!
//! | file | content |
//! | --- | --- |
//! | `mod.rs` | the store |
//! | `channel_store.rs` | the port of that name |
//! | `queries.rs` | reads of the table |
//! | `changes.rs` | the parts of its transactions |
//! | `transfer.rs` | exports and imports |
//!
//! Every change checks its authority by conditions in the same transaction: see [`crate::dynamodb::authority`].
//!
//! Lists are items and not an index, because an index is only eventually consistent. A user who connects right after
//! joining would miss the channel.

mod changes;
mod channel_store;
mod queries;
mod transfer;

use aws_sdk_dynamodb::Client;
use chat::model::{error::StoreError, id::TenantId};

use crate::{
    dynamodb::{
        authority::Place,
        gate::Gates,
        keys::Keys,
        transaction::{OPERATION, Ran, Transaction},
    },
    sdk::decode_error,
};

/// Channels in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoChannels {
    pub(crate) client: Client,
    pub(crate) table: String,
    connections: Option<String>,
    pub(crate) keys: Keys,
}

impl DynamoChannels {
    /// Creates a store for channels in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), connections: None, keys: Keys::default() }
    }

    /// Returns the same store with gates in the table `connections`. It is required for adding members and for changes
    /// that end subscriptions.
    #[must_use]
    pub fn with_connections(self, connections: impl Into<String>) -> Self {
        Self { connections: Some(connections.into()), ..self }
    }

    /// Returns the channels of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place { table: &self.table, keys: &self.keys }
    }

    fn gates(&self) -> Result<Gates<'_>, StoreError> {
        let table = self.connections.as_deref().ok_or_else(|| {
            decode_error(OPERATION, "DynamoChannels::with_connections names no table for the channels' gates")
        })?;
        Ok(Gates { table, keys: &self.keys })
    }

    pub(crate) async fn run(&self, transaction: Transaction) -> Result<Ran, StoreError> {
        transaction.run(&self.client).await
    }
}
