//! Events of changes of channels and members, for the clients that receive the channel.

use futures::future::join;

use super::Membership;
use crate::{
    app::delivery::Delivery,
    model::{event::EphemeralEvent, incarnation::ChannelKey, limits::EPHEMERAL_PUSHES, pending_end::PendingEnd},
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore, fan_out::FanOut,
        invitation_store::InvitationStore, pending_ends::PendingEnds, socket_gateway::SocketGateway,
    },
};

impl<Channels, Connections, Sockets, Fan, Time> Membership<'_, Channels, Connections, Sockets, Fan, Time>
where
    Channels: ChannelStore + InvitationStore + PendingEnds,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Sends the event of a stored change to the audience of its channel. A failure is only logged: the change stays,
    /// and clients read the state after they connect.
    pub(crate) async fn announce(&self, channel: &ChannelKey, event: EphemeralEvent) {
        let Self { connections, sockets, fan_out, clock, deadline, .. } = *self;
        let delivery = Delivery { connections, sockets, fan_out, clock, deadline };
        // On the heap, because a nested future is part of its parent, and this one is large.
        let sent = Box::pin(delivery.deliver_ephemeral(channel, &[event], EPHEMERAL_PUSHES)).await;
        if let Err(error) = sent {
            tracing::warn!(%error, channel_id = %channel.channel_id, "an event of a channel was not sent");
        }
    }

    /// Carries out the ends of a stored change, and at the same time sends its event to the sockets that remain.
    /// Returns `true` if nothing remains for the maintenance function.
    pub(crate) async fn end_and_announce(&self, pending: &PendingEnd, event: EphemeralEvent) -> bool {
        let ends = self.subscription_ends();
        join(Box::pin(ends.finish_now(pending)), self.announce(&pending.channel, event)).await.0
    }
}
