//! Law of the presence.

use super::bench::{Bench, Outcome, id};
use crate::{
    model::incarnation::{ChannelKey, Incarnation},
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore,
        deleted_channels::DeletedChannels, invitation_store::InvitationStore, message_store::MessageStore,
        pending_ends::PendingEnds, presence_store::PresenceStore, rate_limiter::RateLimiter, reply_leases::ReplyLeases,
        ticket_store::TicketStore,
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelStore + InvitationStore + PendingEnds + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Connections: ConnectionStore + PresenceStore + TicketStore,
    Removal: DeletedChannels,
{
    pub(super) async fn presence(&self) -> Outcome {
        let connections = self.ports.connections;
        let key = ChannelKey { channel_id: id("presence")?, incarnation: Incarnation::generate(self.seed()) };
        let user = id("pia")?;
        require!(!connections.mark_offline(&key, &user).await?, "a user who was offline went offline");
        require!(connections.mark_online(&key, &user, self.now).await?, "a user who came online is not reported");
        require!(!connections.mark_online(&key, &user, self.now).await?, "a user who was online is reported again");
        require!(connections.mark_offline(&key, &user).await?, "a user who went offline is not reported");
        require!(!connections.mark_offline(&key, &user).await?, "a user who was offline is reported again");
        Ok(())
    }
}
