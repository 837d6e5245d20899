//! Delivery: pushes stored messages to the sockets of a channel's audience.
//!
//! Delivery is at least once, and in order on each socket. Failures are isolated per socket: frames that cannot be
//! pushed in time are requeued for that socket only, so other sockets get no duplicates.
//!
//! | file | content |
//! | --- | --- |
//! | `mod.rs` | the audience of an event, and the dispatch of shards |
//! | `shard.rs` | the parts of a push batch |
//! | `push.rs` | pushes to sockets, retries, and sockets that are gone |

use std::time::Duration;

use tracing::{Instrument, Span, field};

use crate::{
    model::{
        connection::{Gate, Subscription},
        error::StoreError,
        event::EphemeralEvent,
        frame::{ephemeral_frame, event_frames},
        incarnation::ChannelKey,
        limits::AUTHORITY_DURATION,
        message::MessageEvent,
        push_report::PushReport,
        time::Timestamp,
        trace::integer,
    },
    ports::{
        clock::Clock,
        connection_store::ConnectionStore,
        fan_out::{FanOut, PushBatch, Recipient},
        socket_gateway::{FRAME_BYTES, SocketGateway},
    },
};

mod push;
mod shard;

use shard::shards;

/// Gate, and the time until which a delivery may use it ([`AUTHORITY_DURATION`]).
#[derive(Debug, Clone)]
struct Decision {
    gate: Gate,
    /// Time of [`Clock::monotonic`].
    valid_until: Duration,
}

/// Delivery, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a, Connections, Sockets, Fan, Time> {
    /// Connections and subscriptions.
    pub connections: &'a Connections,
    /// Sockets.
    pub sockets: &'a Sockets,
    /// Dispatch of shards to other invocations.
    pub fan_out: &'a Fan,
    /// Time and random numbers.
    pub clock: &'a Time,
    /// Time at which the invocation ends.
    pub deadline: Timestamp,
}

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Delivers `events` of one channel, in order, to its audience. Pushes to up to `threshold` sockets from here. A
    /// larger audience is dispatched in shards.
    ///
    /// # Errors
    /// When the subscriptions cannot be read or a dispatch fails: all events have to be delivered again.
    pub async fn deliver(
        &self,
        channel: &ChannelKey,
        events: &[MessageEvent],
        threshold: usize,
    ) -> Result<PushReport, StoreError> {
        let span = tracing::info_span!(
            "deliver",
            switchboard.channel_id = %channel.channel_id,
            switchboard.events = integer(events.len()),
            switchboard.frames = field::Empty,
            switchboard.connections = field::Empty,
        );
        let deliver = async {
            let (subscriptions, decision) = self.audience(channel).await?;
            Span::current().record("switchboard.connections", integer(subscriptions.len()));
            if subscriptions.is_empty() {
                return Ok(PushReport::default());
            }
            let frames = event_frames(&channel.channel_id, events, FRAME_BYTES).map_err(encode_error)?;
            Span::current().record("switchboard.frames", integer(frames.len()));
            self.send_out(channel, frames, subscriptions, threshold, decision).await
        };
        deliver.instrument(span).await
    }

    /// Delivers ephemeral events to the audience, except to the user that an event is about.
    ///
    /// # Errors
    /// Those of [`Delivery::deliver`].
    pub async fn deliver_ephemeral(
        &self,
        channel: &ChannelKey,
        events: &[EphemeralEvent],
        threshold: usize,
    ) -> Result<PushReport, StoreError> {
        let mut outcome = PushReport::default();
        if events.is_empty() {
            return Ok(outcome);
        }
        let (subscriptions, decision) = self.audience(channel).await?;
        for one in events {
            let others: Vec<Subscription> =
                subscriptions.iter().filter(|subscription| subscription.user_id != *one.user()).cloned().collect();
            if !others.is_empty() {
                let frame = ephemeral_frame(&channel.channel_id, one).map_err(encode_error)?;
                outcome += self.send_out(channel, vec![frame], others, threshold, decision.clone()).await?;
            }
        }
        Ok(outcome)
    }

    /// Returns the admitted subscriptions of a channel, with the gate that admitted them.
    async fn audience(&self, channel: &ChannelKey) -> Result<(Vec<Subscription>, Decision), StoreError> {
        let valid_until = self.clock.monotonic() + AUTHORITY_DURATION;
        let audience = self.connections.audience(channel, self.clock.now()).await?;
        let decision = Decision { gate: audience.gate.clone(), valid_until };
        Ok((audience.admitted(), decision))
    }

    async fn send_out(
        &self,
        channel: &ChannelKey,
        frames: Vec<String>,
        subscriptions: Vec<Subscription>,
        threshold: usize,
        decision: Decision,
    ) -> Result<PushReport, StoreError> {
        let recipients: Vec<Recipient> = subscriptions.into_iter().map(Recipient::from).collect();
        let batch = PushBatch { channel: channel.clone(), frames, recipients, attempt: 0 };
        if batch.recipients.len() <= threshold {
            return self.push_within_deadline(batch, Some(decision)).await;
        }
        let requeued = batch.recipients.len();
        for shard in shards(batch) {
            self.dispatch(&shard).await?;
        }
        Ok(PushReport { requeued, ..PushReport::default() })
    }

    /// Dispatches one shard.
    async fn dispatch(&self, shard: &PushBatch) -> Result<(), StoreError> {
        let span = tracing::info_span!(
            "dispatch",
            otel.kind = "producer",
            switchboard.channel_id = %shard.channel.channel_id,
            switchboard.frames = integer(shard.frames.len()),
            switchboard.connections = integer(shard.recipients.len()),
            switchboard.attempt = integer(shard.attempt),
        );
        self.fan_out.dispatch(shard).instrument(span).await
    }
}

fn encode_error(error: serde_json::Error) -> StoreError {
    StoreError { operation: "serialise frames", retryable: false, source: error.into() }
}

#[cfg(test)]
mod tests;
