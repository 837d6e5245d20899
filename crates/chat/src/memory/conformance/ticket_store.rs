//! Law of the tickets.

use std::{collections::BTreeSet, time::Duration};

use super::bench::{Bench, LONG, Outcome, id};
use crate::{
    model::{
        incarnation::{ChannelKey, Incarnation},
        ticket_digest::TicketDigest,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
        deleted_channels::DeletedChannels,
        invitation_store::InvitationStore,
        message_store::MessageStore,
        pending_ends::PendingEnds,
        presence_store::PresenceStore,
        rate_limiter::RateLimiter,
        reply_leases::ReplyLeases,
        ticket_store::{Ticket, TicketStore},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelStore + InvitationStore + PendingEnds + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Connections: ConnectionStore + PresenceStore + TicketStore,
    Removal: DeletedChannels,
{
    pub(super) async fn tickets(&self) -> Outcome {
        let connections = self.ports.connections;
        let key = ChannelKey { channel_id: id("tickets")?, incarnation: Incarnation::generate(self.seed()) };
        let ticket = Ticket {
            user_id: id("tim")?,
            tenant: None,
            channels: Some(vec![key]),
            allowed_channels: Some(BTreeSet::from([id("tickets")?])),
            token_expires_at: self.later(LONG),
            expires_at: self.later(Duration::from_mins(1)),
        };
        let [first, second, third] = ["ticket1", "ticket2", "ticket3"].map(TicketDigest::of);
        connections.keep(&first, &ticket).await?;
        require_eq!(connections.redeem(&second, self.now).await?, None, "a ticket that was never issued");
        require_eq!(connections.redeem(&first, self.now).await?, Some(ticket.clone()), "a ticket");
        require_eq!(connections.redeem(&first, self.now).await?, None, "a ticket that was redeemed");
        connections.keep(&third, &ticket).await?;
        require_eq!(connections.redeem(&third, self.later(Duration::from_secs(61))).await?, None, "an old ticket");
        Ok(())
    }
}
