//! Port that stores tickets for handshakes.

use std::{collections::BTreeSet, future::Future};

use crate::model::{
    error::StoreError,
    id::{ChannelId, TenantId, UserId},
    incarnation::ChannelKey,
    ticket_digest::TicketDigest,
    time::Timestamp,
};

/// Ticket that opens one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// User of the socket.
    pub user_id: UserId,
    /// Tenant of the user.
    pub tenant: Option<TenantId>,
    /// Channels that the socket subscribes to. `None`: all memberships of the user, including later ones.
    pub channels: Option<Vec<ChannelKey>>,
    /// Channels that the user's token is restricted to.
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
    /// Expiry of the user's token, and of the socket.
    pub token_expires_at: Timestamp,
    /// Time from which the ticket is invalid.
    pub expires_at: Timestamp,
}

/// Store of tickets, by digest. It holds tickets of all tenants, since the tenant is unknown before a ticket is
/// redeemed.
pub trait TicketStore: Send + Sync {
    /// Stores a ticket.
    fn keep(&self, digest: &TicketDigest, ticket: &Ticket) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes and returns a ticket, for one caller only, if it has not expired by `now`.
    fn redeem(
        &self,
        digest: &TicketDigest,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Ticket>, StoreError>> + Send;
}
