//! Stores tickets for handshakes.

use std::{collections::BTreeSet, future::Future};

use crate::model::{
    error::StoreError,
    id::{ChannelId, TenantId, UserId},
    incarnation::ChannelKey,
    time::Timestamp,
};

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Whose socket it opens.
    pub user_id: UserId,
    /// In whose tenant.
    pub tenant: Option<TenantId>,
    /// What the socket subscribes to; `None`: all that the user is a member of, now and later.
    pub channels: Option<Vec<ChannelKey>>,
    /// What the user's token is limited to.
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
    /// When that token ends, and with it the socket.
    pub token_expires_at: Timestamp,
    /// From when on the ticket is worth nothing.
    pub expires_at: Timestamp,
}

/// Where tickets are kept, by digest. Tickets of all tenants: who redeems one does not know its tenant yet.
pub trait TicketStore: Send + Sync {
    /// Keeps a ticket.
    fn keep(&self, digest: &str, ticket: &Ticket) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a ticket away, for the one caller that gets it, unless it has expired by `now`.
    fn redeem(&self, digest: &str, now: Timestamp) -> impl Future<Output = Result<Option<Ticket>, StoreError>> + Send;
}
