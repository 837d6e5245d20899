//! Delivery to an audience that the caller has read.

use std::time::Duration;

use super::Delivery;
use crate::{
    model::{
        connection::Audience, error::StoreError, event::EphemeralEvent, incarnation::ChannelKey,
        push_report::PushReport,
    },
    ports::{clock::Clock, connection_store::ConnectionStore, fan_out::FanOut, socket_gateway::SocketGateway},
};

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Delivers ephemeral events to the admitted subscriptions of `audience`, whose gate the caller has read. `began` is
    /// the time of [`Clock::monotonic`] when that read began.
    ///
    /// # Errors
    /// Those of [`Delivery::deliver`].
    pub(crate) async fn deliver_to_audience(
        &self,
        channel: &ChannelKey,
        events: &[EphemeralEvent],
        audience: Audience,
        began: Duration,
        threshold: usize,
    ) -> Result<PushReport, StoreError> {
        let mut outcome = PushReport::default();
        if events.is_empty() {
            return Ok(outcome);
        }
        let (subscriptions, decision) = self.admitted(channel, audience, began).await?;
        for one in events {
            outcome += self.send_ephemeral(channel, one, &subscriptions, threshold, &decision).await?;
        }
        Ok(outcome)
    }
}
