//! Law of the tickets.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        incarnation::{ChannelKey, Incarnation},
        ticket_digest::TicketDigest,
    },
    ports::{clock::Clock, deleted_channels::DeletedChannels, message_store::MessageStore, ticket_store::Ticket},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
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
