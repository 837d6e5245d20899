//! Delivery: from stored messages to the sockets of those who listen.
//!
//! At least once, and in order on each socket. One socket's trouble is its own: what cannot be pushed to it in
//! time is handed over by itself, so that nobody else receives twice.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, future::select, lock::Mutex};
use tracing::{Instrument, Span, field};

use crate::{
    model::{
        connection::{Gate, Subscription},
        error::StoreError,
        event::EphemeralEvent,
        frame::{ephemeral_frame, event_frames},
        id::ConnectionId,
        incarnation::ChannelKey,
        limits::{
            AUTHORITY_DURATION, DEADLINE_MARGIN, EPHEMERAL_PUSH_TIMEOUT, HANDSHAKE_DURATION, MAX_FAN_OUT_ATTEMPTS,
            OPENING_SOCKET_DURATION, PUSH_ATTEMPTS, PUSH_CONCURRENCY, SLOW_PUSH,
        },
        message::MessageEvent,
        push_report::PushReport,
        time::Timestamp,
        trace::integer,
    },
    ports::{
        clock::{Backoff, Clock},
        connection_store::ConnectionStore,
        fan_out::{FanOut, PushBatch, Recipient},
        socket_gateway::{Pushed, SocketGateway},
    },
};

mod shard;

use shard::shards;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) };

/// A gate, and until when a delivery may decide by it ([`AUTHORITY_DURATION`]).
#[derive(Debug, Clone)]
struct Decision {
    gate: Gate,
    /// A time of [`Clock::monotonic`].
    valid_until: Duration,
}

/// Decides for each push whether its socket may have it, by a gate that is read again when it is too old.
struct Gatekeeper<'a, Connections, Time> {
    channel: &'a ChannelKey,
    connections: &'a Connections,
    clock: &'a Time,
    decision: Mutex<Option<Decision>>,
}

impl<Connections: ConnectionStore, Time: Clock> Gatekeeper<'_, Connections, Time> {
    async fn admits(&self, recipient: &Recipient) -> Result<bool, StoreError> {
        // One push at a time reads the gate; the others wait for what it has read.
        let mut decision = self.decision.lock().await;
        let began = self.clock.monotonic();
        if let Some(Decision { gate, valid_until }) = decision.as_ref()
            && began < *valid_until
        {
            return Ok(gate.admits(&recipient.user_id, recipient.member));
        }
        let gate = self.connections.gate(self.channel, self.clock.now()).await?;
        let admits = gate.admits(&recipient.user_id, recipient.member);
        *decision = Some(Decision { gate, valid_until: began + AUTHORITY_DURATION });
        Ok(admits)
    }
}

/// What delivery works with.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a, Connections, Sockets, Fan, Time> {
    /// Who listens.
    pub connections: &'a Connections,
    /// The sockets.
    pub sockets: &'a Sockets,
    /// Who goes on with what is too much.
    pub fan_out: &'a Fan,
    /// Time and chance.
    pub clock: &'a Time,
    /// When the invocation ends.
    pub deadline: Timestamp,
}

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Delivers `events` of one channel, in their order, to all who listen. Up to `threshold` sockets are
    /// pushed to from here; more are handed over in shards.
    ///
    /// # Errors
    /// When the subscriptions cannot be read or a hand-over fails: all has to be delivered again.
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
            let frames = event_frames(&channel.channel_id, events).map_err(encode_error)?;
            Span::current().record("switchboard.frames", integer(frames.len()));
            self.send_out(channel, frames, subscriptions, threshold, decision).await
        };
        deliver.instrument(span).await
    }

    /// Delivers what passes and is not kept, to all but the user whom it is about.
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

    /// The subscriptions that may receive events of a channel, and until when that is decided.
    async fn audience(&self, channel: &ChannelKey) -> Result<(Vec<Subscription>, Decision), StoreError> {
        let valid_until = self.clock.monotonic() + AUTHORITY_DURATION;
        let audience = self.connections.audience(channel, self.clock.now()).await?;
        let decision = Decision { gate: audience.gate.clone(), valid_until };
        Ok((audience.admitted(), decision))
    }

    /// Pushes a frame that is worth nothing later to all of `listeners`: once, and not for long.
    pub async fn push_ephemeral(
        &self,
        channel: &ChannelKey,
        frame: &str,
        listeners: &[Subscription],
        threshold: usize,
    ) {
        if listeners.len() > threshold {
            let recipients = listeners.iter().cloned().map(Recipient::from).collect();
            let (channel, frames) = (channel.clone(), vec![frame.to_owned()]);
            // As if it had been handed over often enough: nobody tries again.
            for shard in shards(PushBatch { channel, frames, recipients, attempt: MAX_FAN_OUT_ATTEMPTS }) {
                if let Err(error) = self.dispatch(&shard).await {
                    tracing::warn!(%error, channel_id = %shard.channel.channel_id, "an ephemeral frame was not handed over");
                }
            }
            return;
        }
        let now = self.clock.now();
        futures::stream::iter(listeners.iter().filter(|listener| now < listener.expires_at))
            .for_each_concurrent(PUSH_CONCURRENCY, async |subscription| {
                let push = pin!(self.sockets.push(&subscription.connection_id, frame));
                let patience = pin!(self.clock.sleep(EPHEMERAL_PUSH_TIMEOUT));
                // What fails here is found out by the next message.
                let _ = select(push, patience).await;
            })
            .await;
    }

    /// Tells one socket something about itself. A socket whose handshake is not through yet is waited for, not longer than
    /// [`OPENING_SOCKET_DURATION`].
    ///
    /// # Errors
    /// When the gateway fails: it has to be told again.
    pub async fn tell(
        &self,
        connection: &ConnectionId,
        connected_at: Timestamp,
        frame: &str,
    ) -> Result<Pushed, StoreError> {
        let until = self.clock.now().plus(OPENING_SOCKET_DURATION).min(connected_at.plus(HANDSHAKE_DURATION));
        loop {
            let pushed = self.sockets.push(connection, frame).await?;
            if pushed == Pushed::Delivered || self.clock.now() >= until {
                return Ok(pushed);
            }
            self.clock.sleep(BACKOFF.first).await;
        }
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

    /// Hands one shard over.
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

    /// Pushes a batch from here, and hands over what fails.
    ///
    /// # Errors
    /// When a hand-over fails.
    pub async fn push_batch(&self, batch: PushBatch) -> Result<PushReport, StoreError> {
        // Some time has passed since the subscriptions were read: the gate is read here.
        self.push_within_deadline(batch, None).await
    }

    async fn push_within_deadline(
        &self,
        batch: PushBatch,
        decision: Option<Decision>,
    ) -> Result<PushReport, StoreError> {
        let span = tracing::info_span!(
            "push",
            otel.kind = "client",
            rpc.system = Sockets::SYSTEM,
            rpc.service = Sockets::SERVICE,
            rpc.method = "PostToConnection",
            switchboard.channel_id = %batch.channel.channel_id,
            switchboard.frames = integer(batch.frames.len()),
            switchboard.connections = integer(batch.recipients.len()),
            switchboard.attempt = integer(batch.attempt),
            switchboard.pushes.delivered = field::Empty,
            switchboard.pushes.gone = field::Empty,
            switchboard.pushes.requeued = field::Empty,
            switchboard.pushes.failed = field::Empty,
            switchboard.pushes.retried = field::Empty,
        );
        let push = async {
            let outcome = self.push_all(batch, decision).await;
            if let Ok(outcome) = &outcome {
                outcome.record(&Span::current());
            }
            outcome
        };
        push.instrument(span).await
    }

    async fn push_all(&self, batch: PushBatch, decision: Option<Decision>) -> Result<PushReport, StoreError> {
        let PushBatch { channel, frames, recipients, attempt } = batch;
        let (connections, clock) = (self.connections, self.clock);
        let gatekeeper = Gatekeeper { channel: &channel, connections, clock, decision: Mutex::new(decision) };
        let mut outcome = PushReport::default();
        let mut unreached = Vec::new();
        let mut pushes = futures::stream::iter(recipients)
            .map(|recipient| self.push_frames(&gatekeeper, &frames, recipient, attempt == 0))
            .buffer_unordered(PUSH_CONCURRENCY);
        while let Some((end, retried)) = pushes.next().await {
            outcome.retried += retried;
            match end {
                End::Delivered => outcome.delivered += 1,
                End::Gone => outcome.gone += 1,
                End::Unreached(recipient) => unreached.push(recipient),
            }
        }
        drop(pushes);
        drop(gatekeeper);
        if unreached.is_empty() {
            return Ok(outcome);
        }
        if attempt >= MAX_FAN_OUT_ATTEMPTS {
            for recipient in &unreached {
                let channel_id = &channel.channel_id;
                tracing::error!(%channel_id, connection_id = %recipient.connection_id, "push dropped");
            }
            outcome.failed = unreached.len();
            return Ok(outcome);
        }
        outcome.requeued = unreached.len();
        let rest = PushBatch { channel, frames, recipients: unreached, attempt: attempt + 1 };
        for shard in shards(rest) {
            self.dispatch(&shard).await?;
        }
        Ok(outcome)
    }

    /// Pushes to one socket, one frame after another; also how often it tried again. The rest of the channel waits for who is
    /// `first` to push: patience with a socket that does not take what it is sent is for those that follow.
    async fn push_frames(
        &self,
        gatekeeper: &Gatekeeper<'_, Connections, Time>,
        frames: &[String],
        mut recipient: Recipient,
        first: bool,
    ) -> (End, usize) {
        let channel = gatekeeper.channel;
        let mut retried = 0;
        let stop_at = Timestamp::from_millis(
            self.deadline.as_millis() - i64::try_from(DEADLINE_MARGIN.as_millis()).unwrap_or_default(),
        );
        while let Some(frame) = frames.get(recipient.next_frame) {
            let mut attempt = 0;
            loop {
                let now = self.clock.now();
                if now >= recipient.expires_at {
                    return (End::Gone, retried);
                }
                if now >= stop_at {
                    return (End::Unreached(recipient), retried);
                }
                let began = self.clock.monotonic();
                let pushed = match gatekeeper.admits(&recipient).await {
                    Ok(true) => self.sockets.push(&recipient.connection_id, frame).await,
                    // Its end is recorded: the maintenance closes the socket.
                    Ok(false) => return (End::Gone, retried),
                    Err(error) => Err(error),
                };
                let took = self.clock.monotonic().saturating_sub(began);
                let connection_id = &recipient.connection_id;
                if took >= SLOW_PUSH {
                    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(channel_id = %channel.channel_id, %connection_id, duration_ms, "a push was slow");
                }
                match pushed {
                    Ok(Pushed::Delivered) => break,
                    Ok(Pushed::Gone) => {
                        // A socket whose handshake is not through yet looks the same. Its client asks for what it missed
                        // as soon as it is open, and must hear of what comes then.
                        if now >= recipient.connected_at.plus(HANDSHAKE_DURATION) {
                            self.remove_stale_connection(channel, &recipient).await;
                        }
                        return (End::Gone, retried);
                    }
                    Err(error) => {
                        attempt += 1;
                        let waits = first && took >= SLOW_PUSH;
                        if !error.retryable || waits || attempt >= PUSH_ATTEMPTS {
                            let channel_id = &channel.channel_id;
                            tracing::warn!(%error, %channel_id, %connection_id, "push failed");
                            return (End::Unreached(recipient), retried);
                        }
                        retried += 1;
                        self.clock.sleep(BACKOFF.delay(self.clock, attempt - 1)).await;
                    }
                }
            }
            recipient.next_frame += 1;
        }
        (End::Delivered, retried)
    }

    /// Removes a vanished connection. A failure is only logged: the next push meets the same vanished socket.
    async fn remove_stale_connection(&self, channel: &ChannelKey, recipient: &Recipient) {
        let removed = async {
            let id = &recipient.connection_id;
            if !self.connections.close(id, recipient.connected_at).await? {
                self.connections.unsubscribe(channel, id, recipient.connected_at).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(%error, connection_id = %recipient.connection_id, "could not remove a vanished connection");
        }
    }
}

fn encode_error(error: serde_json::Error) -> StoreError {
    StoreError { operation: "serialise frames", retryable: false, source: error.into() }
}

enum End {
    Delivered,
    Gone,
    Unreached(Recipient),
}

#[cfg(test)]
mod tests;
