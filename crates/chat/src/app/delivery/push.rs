//! Pushes to sockets: retries, sockets that are gone, and recipients that were not reached.

use std::{pin::pin, sync::PoisonError, time::Duration};

use futures::{
    StreamExt,
    future::{Either, select},
    lock::Mutex,
};
use tracing::{Instrument, Span, field};

use super::{Decision, Delivery, encode_error, shard::shards};
use crate::{
    model::{
        connection::{Connection, ConnectionKey, Subscription},
        error::StoreError,
        frame::hello_frame,
        incarnation::ChannelKey,
        limits::{
            DEADLINE_MARGIN, EPHEMERAL_PUSH_TIMEOUT, MAX_FAN_OUT_ATTEMPTS, OPENING_SOCKET_DURATION, PUSH_ATTEMPTS,
            PUSH_CONCURRENCY, SLOW_PUSH,
        },
        push_report::PushReport,
        time::Timestamp,
        trace::integer,
    },
    ports::{
        clock::{Backoff, Clock},
        connection_store::ConnectionStore,
        fan_out::{FanOut, PushBatch, Recipient},
        socket_gateway::{HANDSHAKE_DURATION, Pushed, SocketGateway},
    },
};

pub(super) const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) };

/// Checks before each push whether its socket may receive it. Reads the gate again when it is older than
/// [`AUTHORITY_DURATION`](crate::model::limits::AUTHORITY_DURATION).
struct Gatekeeper<'a, Connections, Time> {
    channel: &'a ChannelKey,
    connections: &'a Connections,
    clock: &'a Time,
    decision: Mutex<Option<Decision>>,
}

impl<Connections: ConnectionStore, Time: Clock> Gatekeeper<'_, Connections, Time> {
    async fn admits(&self, recipient: &Recipient) -> Result<bool, StoreError> {
        // Only one push reads the gate; the others wait and use its result.
        let mut decision = self.decision.lock().await;
        let began = self.clock.monotonic();
        if let Some(Decision { gate, valid_until }) = decision.as_ref()
            && began < *valid_until
        {
            return Ok(gate.admits(&recipient.user_id, recipient.member));
        }
        let gate = self.connections.gate(self.channel, self.clock.now()).await?;
        let admits = gate.admits(&recipient.user_id, recipient.member);
        *decision = Some(Decision::new(gate, began));
        Ok(admits)
    }
}

enum End {
    Delivered,
    Gone,
    Unreached(Recipient),
}

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Pushes an ephemeral frame to all of `listeners`, once, within [`EPHEMERAL_PUSH_TIMEOUT`] each. Returns the
    /// connections whose handshake has not ended, as far as the pushes from here show it.
    pub async fn push_ephemeral(
        &self,
        channel: &ChannelKey,
        frame: &str,
        listeners: &[Subscription],
        threshold: usize,
    ) -> Vec<ConnectionKey> {
        if listeners.len() > threshold {
            let recipients = listeners.iter().cloned().map(Recipient::from).collect();
            let (channel, frames) = (channel.clone(), vec![frame.to_owned()]);
            // With the highest attempt, so that a failed push is not requeued.
            for shard in shards(PushBatch { channel, frames, recipients, attempt: MAX_FAN_OUT_ATTEMPTS }) {
                if let Err(error) = self.dispatch(&shard).await {
                    tracing::warn!(%error, channel_id = %shard.channel.channel_id, "ephemeral dispatch failed");
                }
            }
            return Vec::new();
        }
        let now = self.clock.now();
        let opening = std::sync::Mutex::new(Vec::new());
        futures::stream::iter(listeners.iter().filter(|listener| now < listener.expires_at))
            .for_each_concurrent(PUSH_CONCURRENCY, async |subscription| {
                let push = pin!(self.sockets.push(&subscription.connection.id, frame));
                let patience = pin!(self.clock.sleep(EPHEMERAL_PUSH_TIMEOUT));
                let connection = &subscription.connection;
                // Other failures are ignored: the next message detects a vanished socket.
                if let Either::Left((Ok(Pushed::Gone), _)) = select(push, patience).await
                    && now < connection.connected_at.plus(HANDSHAKE_DURATION)
                {
                    opening.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
                }
            })
            .await;
        opening.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Greets the client of a connection that was opened. See [`Delivery::tell`].
    ///
    /// # Errors
    /// When the gateway or the store fails: the client has to be greeted again.
    pub async fn greet(&self, connection: &Connection) -> Result<Pushed, StoreError> {
        let frame = hello_frame(connection, self.clock.now()).map_err(encode_error)?;
        self.tell(&connection.key, &frame).await
    }

    /// Pushes a frame to one socket. Waits for a socket whose handshake has not ended, for at most
    /// [`OPENING_SOCKET_DURATION`] and as long as its connection exists.
    ///
    /// # Errors
    /// When the gateway or the store fails: the frame has to be pushed again.
    pub async fn tell(&self, connection: &ConnectionKey, frame: &str) -> Result<Pushed, StoreError> {
        let handshake_ends_at = connection.connected_at.plus(HANDSHAKE_DURATION);
        let until = self.clock.now().plus(OPENING_SOCKET_DURATION).min(handshake_ends_at);
        loop {
            let pushed = self.sockets.push(&connection.id, frame).await?;
            if pushed == Pushed::Delivered || self.clock.now() >= until {
                return Ok(pushed);
            }
            // The handshake was refused, or the client has left.
            if self.connections.connection(&connection.id).await?.is_none_or(|open| open.key != *connection) {
                return Ok(pushed);
            }
            self.clock.sleep(BACKOFF.first).await;
        }
    }

    /// Pushes a batch from here, and requeues the recipients that fail.
    ///
    /// # Errors
    /// When a dispatch fails.
    pub async fn push_batch(&self, batch: PushBatch) -> Result<PushReport, StoreError> {
        // The subscriptions were read by an earlier invocation: the gate is read here.
        self.push_within_deadline(batch, None).await
    }

    pub(super) async fn push_within_deadline(
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
                tracing::error!(%channel_id, connection_id = %recipient.connection.id, "push dropped");
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

    /// Pushes the frames to one socket in order, and returns the number of retries too. On the `first` attempt a slow
    /// push is not retried, because the whole channel waits for it. Later attempts retry it.
    async fn push_frames(
        &self,
        gatekeeper: &Gatekeeper<'_, Connections, Time>,
        frames: &[String],
        mut recipient: Recipient,
        first: bool,
    ) -> (End, usize) {
        let mut retried = 0;
        while let Some(frame) = frames.get(recipient.next_frame) {
            match self.push_frame(gatekeeper, frame, &recipient, first, &mut retried).await {
                Some(Pushed::Delivered) => recipient.next_frame += 1,
                Some(Pushed::Gone) => return (End::Gone, retried),
                None => return (End::Unreached(recipient), retried),
            }
        }
        (End::Delivered, retried)
    }

    /// Pushes one frame, with retries that it adds to `retried`. Returns `None` if the socket was not reached.
    async fn push_frame(
        &self,
        gatekeeper: &Gatekeeper<'_, Connections, Time>,
        frame: &str,
        recipient: &Recipient,
        first: bool,
        retried: &mut usize,
    ) -> Option<Pushed> {
        let (channel, connection_id) = (gatekeeper.channel, &recipient.connection.id);
        let stop_at = Timestamp::from_millis(
            self.deadline.as_millis() - i64::try_from(DEADLINE_MARGIN.as_millis()).unwrap_or_default(),
        );
        let mut attempt = 0;
        loop {
            let now = self.clock.now();
            if now >= recipient.expires_at {
                return Some(Pushed::Gone);
            }
            if now >= stop_at {
                return None;
            }
            let began = self.clock.monotonic();
            let pushed = match gatekeeper.admits(recipient).await {
                Ok(true) => self.sockets.push(connection_id, frame).await,
                // Its pending end is recorded: the maintenance function closes the socket.
                Ok(false) => return Some(Pushed::Gone),
                Err(error) => Err(error),
            };
            let took = self.clock.monotonic().saturating_sub(began);
            if took >= SLOW_PUSH {
                let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(channel_id = %channel.channel_id, %connection_id, duration_ms, "a push was slow");
            }
            let error = match pushed {
                Ok(Pushed::Gone) if now >= recipient.connection.connected_at.plus(HANDSHAKE_DURATION) => {
                    self.remove_stale_connection(channel, recipient).await;
                    return Some(Pushed::Gone);
                }
                // Before the end of its handshake a socket looks gone too. Its client reads the missed messages once it
                // is open, and must receive the later ones.
                Ok(pushed) => return Some(pushed),
                Err(error) => error,
            };
            attempt += 1;
            let waits = first && took >= SLOW_PUSH;
            if !error.retryable || waits || attempt >= PUSH_ATTEMPTS {
                tracing::warn!(%error, channel_id = %channel.channel_id, %connection_id, "push failed");
                return None;
            }
            *retried += 1;
            self.clock.sleep(BACKOFF.delay(self.clock, attempt - 1)).await;
        }
    }

    /// Removes a stale connection. A failure is only logged: the next push finds the connection again.
    async fn remove_stale_connection(&self, channel: &ChannelKey, recipient: &Recipient) {
        let removed = async {
            if !self.connections.close(&recipient.connection).await? {
                self.connections.unsubscribe(channel, &recipient.connection).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(%error, connection_id = %recipient.connection.id, "removing a stale connection failed");
        }
    }
}
