//! Delivery: pushes stored messages to the sockets of a channel's audience.
//!
//! Delivery is at least once, and in order on each socket within one batch. Failures are isolated per socket: frames that
//! cannot be pushed in time are requeued for that socket only, so other sockets get no duplicates. Requeued frames, and
//! the shards of a crowd, may be overtaken by those of a later batch. A client orders them by their numbers.
//!
//! | file | content |
//! | --- | --- |
//! | `mod.rs` | the audience of an event |
//! | `crowd.rs` | an audience that is read and dispatched shard by shard, and the pace |
//! | `known.rs` | delivery to an audience that the caller has read |
//! | `merge.rs` | changes of one message that become one event |
//! | `shard.rs` | the parts of a push batch |
//! | `push.rs` | pushes to sockets, retries, and sockets that are gone |

use std::time::Duration;

use futures::future::try_join_all;
use tracing::{Instrument, Span, field};

use crate::{
    model::{
        connection::{Audience, Gate, Subscription},
        error::StoreError,
        event::EphemeralEvent,
        frame::{ephemeral_frame, event_frames},
        id::UserId,
        incarnation::ChannelKey,
        limits::{AUTHORITY_DURATION, GATE_READ_DURATION},
        message::MessageEvent,
        push_report::PushReport,
        time::Timestamp,
        trace::integer,
    },
    ports::{
        clock::Clock,
        connection_store::{AudiencePage, ConnectionStore},
        fan_out::{FanOut, PushBatch, Recipient},
        socket_gateway::{FRAME_BYTES, SocketGateway},
    },
};

mod crowd;
mod known;
mod merge;
mod push;
mod shard;

pub use crowd::Reach;
use merge::merged;
use shard::shards;

/// Gate, and the time until which a delivery may use it ([`AUTHORITY_DURATION`]).
#[derive(Debug, Clone)]
struct Decision {
    gate: Gate,
    /// Time of [`Clock::monotonic`].
    valid_until: Duration,
}

impl Decision {
    /// Returns the decision by a gate whose read began at `began`.
    fn new(gate: Gate, began: Duration) -> Self {
        Self { gate, valid_until: began + AUTHORITY_DURATION }
    }
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
    /// Delivers `events` of one channel, in order, to its audience. Changes of one message may become one event. Pushes to
    /// up to [`Reach::threshold`] sockets from here. A larger audience is dispatched in shards. The subscriptions are
    /// read once.
    ///
    /// # Errors
    /// When the subscriptions cannot be read or a dispatch fails: all events have to be delivered again.
    pub async fn deliver(
        &self,
        channel: &ChannelKey,
        events: &[MessageEvent],
        reach: Reach,
    ) -> Result<PushReport, StoreError> {
        let span = tracing::info_span!(
            "deliver",
            switchboard.channel_id = %channel.channel_id,
            switchboard.events = integer(events.len()),
            switchboard.frames = field::Empty,
            switchboard.connections = field::Empty,
        );
        let deliver = async {
            let began = self.clock.monotonic();
            let first = self.connections.audience_page(channel, None, self.clock.now()).await?;
            let AudiencePage { gate, mut subscriptions, parts, mut next } = first;
            while let Some(at) = next.take_if(|_| subscriptions.len() <= reach.threshold) {
                let page = self.connections.audience_page(channel, Some(&at), self.clock.now()).await?;
                subscriptions.extend(page.subscriptions);
                next = page.next;
            }
            if subscriptions.is_empty() {
                Span::current().record("switchboard.connections", integer(0_usize));
                return Ok(PushReport::default());
            }
            let frames = event_frames(&channel.channel_id, &merged(events), FRAME_BYTES).map_err(encode_error)?;
            Span::current().record("switchboard.frames", integer(frames.len()));
            if next.is_none() && subscriptions.len() <= reach.threshold {
                let (admitted, decision) = self.admitted(channel, Audience { gate, subscriptions }, began).await?;
                Span::current().record("switchboard.connections", integer(admitted.len()));
                return self.send_out(channel, frames, admitted, reach.threshold, decision).await;
            }
            // Each shard checks the gate itself.
            let waiting = subscriptions.into_iter().map(Recipient::from).collect();
            let sent = self.send_to_crowd(channel, frames, waiting, (parts, next), reach.rate);
            let requeued = Box::pin(sent).await?;
            Span::current().record("switchboard.connections", integer(requeued));
            Ok(PushReport { requeued, ..PushReport::default() })
        };
        deliver.instrument(span).await
    }

    /// Delivers ephemeral events to the audience, each to the users that it [is for](EphemeralEvent::is_for).
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
            outcome += self.send_ephemeral(channel, one, &subscriptions, threshold, &decision).await?;
        }
        Ok(outcome)
    }

    /// Delivers an ephemeral event to an audience of at most `most` sockets. Returns `None` if it is larger: then no
    /// socket receives the event.
    ///
    /// # Errors
    /// Those of [`Delivery::deliver`].
    pub async fn deliver_to_few(
        &self,
        channel: &ChannelKey,
        event: &EphemeralEvent,
        most: usize,
        threshold: usize,
    ) -> Result<Option<PushReport>, StoreError> {
        let began = self.clock.monotonic();
        // One subscription more than `most` shows that there are too many.
        let audience = self.connections.audience_up_to(channel, most.saturating_add(1), self.clock.now()).await?;
        if audience.subscriptions.len() > most {
            return Ok(None);
        }
        let (subscriptions, decision) = self.admitted(channel, audience, began).await?;
        self.send_ephemeral(channel, event, &subscriptions, threshold, &decision).await.map(Some)
    }

    /// Delivers an ephemeral event to those sockets of a member that receive the channel. `seen` is a time of
    /// [`Clock::monotonic`], after which the caller has read the membership.
    ///
    /// # Errors
    /// Those of [`Delivery::deliver`].
    pub async fn deliver_to_member(
        &self,
        channel: &ChannelKey,
        event: &EphemeralEvent,
        user: &UserId,
        seen: Duration,
        threshold: usize,
    ) -> Result<PushReport, StoreError> {
        let connections = self.connections.connections_of(user, self.clock.now()).await?;
        // Those that follow all channels are checked too: the end of a membership closes subscribed sockets only.
        let subscribed = connections.iter().map(async |connection| {
            let is_subscribed = self.connections.is_subscribed(channel, &connection.key).await?;
            Ok::<_, StoreError>(is_subscribed.then(|| connection.subscription(user)))
        });
        let subscriptions: Vec<Subscription> = try_join_all(subscribed).await?.into_iter().flatten().collect();
        // An open gate admits members, so the membership decides like a gate that was read then.
        let decision = Decision::new(Gate::default(), seen);
        self.send_ephemeral(channel, event, &subscriptions, threshold, &decision).await
    }

    /// Sends an ephemeral event to those of the subscriptions whose users it is for.
    async fn send_ephemeral(
        &self,
        channel: &ChannelKey,
        event: &EphemeralEvent,
        subscriptions: &[Subscription],
        threshold: usize,
        decision: &Decision,
    ) -> Result<PushReport, StoreError> {
        let listeners: Vec<Subscription> =
            subscriptions.iter().filter(|subscription| event.is_for(&subscription.user_id)).cloned().collect();
        if listeners.is_empty() {
            return Ok(PushReport::default());
        }
        let frame = ephemeral_frame(&channel.channel_id, event).map_err(encode_error)?;
        self.send_out(channel, vec![frame], listeners, threshold, decision.clone()).await
    }

    /// Returns the admitted subscriptions of a channel, with the gate that admitted them.
    async fn audience(&self, channel: &ChannelKey) -> Result<(Vec<Subscription>, Decision), StoreError> {
        let began = self.clock.monotonic();
        let audience = self.connections.audience(channel, self.clock.now()).await?;
        self.admitted(channel, audience, began).await
    }

    /// Returns the subscriptions of an audience that its gate admits. `began` is the time of [`Clock::monotonic`] when
    /// the read of the audience began.
    ///
    /// The gate is read before the subscriptions. After a slow read it is read again: an end meanwhile may have found
    /// fewer subscriptions than this read did, and is not repeated for those that came after it.
    async fn admitted(
        &self,
        channel: &ChannelKey,
        mut audience: Audience,
        mut began: Duration,
    ) -> Result<(Vec<Subscription>, Decision), StoreError> {
        if !audience.subscriptions.is_empty() && self.clock.monotonic().saturating_sub(began) > GATE_READ_DURATION {
            began = self.clock.monotonic();
            audience.gate = self.connections.gate(channel, self.clock.now()).await?;
        }
        let decision = Decision::new(audience.gate.clone(), began);
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
