//! Delivery: from stored messages to the sockets of those who listen.
//!
//! At least once, and in order on each socket. One socket's trouble is its own: what cannot be pushed to it in
//! time is handed over by itself, so that nobody else receives twice.

use std::{future::Future, pin::pin, time::Duration};

use futures::{StreamExt, future::select, lock::Mutex};
use serde::{Deserialize, Serialize};
use tracing::{Instrument, Span, field};

use crate::{
    clock::{Backoff, Clock, Timestamp},
    connection::{ConnectionStore, Gate, Subscription},
    error::StoreError,
    frame::{ephemeral_frame, event_frames},
    id::{ConnectionId, UserId},
    incarnation::ChannelKey,
    limits::{
        AUTHORITY_DURATION, DEADLINE_MARGIN, EPHEMERAL_PUSH_TIMEOUT, HANDSHAKE_DURATION, MAX_FAN_OUT_ATTEMPTS,
        OPENING_SOCKET_DURATION, PUSH_ATTEMPTS, PUSH_CONCURRENCY, SHARD_BYTES, SHARD_CONNECTIONS, SLOW_PUSH,
    },
    message::MessageEvent,
    presence::EphemeralEvent,
    trace::integer,
};

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) };

/// What came of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The gateway took it.
    Delivered,
    /// There is no such connection any more.
    Gone,
}

/// The gateway's side of the sockets.
pub trait SocketGateway: Send + Sync {
    /// Sends one text frame. Fails after [`PUSH_DURATION`](crate::limits::PUSH_DURATION) at the latest.
    fn push(&self, id: &ConnectionId, frame: &str) -> impl Future<Output = Result<Pushed, StoreError>> + Send;

    /// Whether a connection is open.
    fn is_open(&self, id: &ConnectionId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Closes a connection. `false`: there is none, or its handshake is not through yet.
    fn close(&self, id: &ConnectionId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Another function that goes on with a batch, asynchronously.
pub trait FanOut: Send + Sync {
    /// Hands `batch` over; once this has returned, it is the other's to finish.
    fn dispatch(&self, batch: &PushBatch) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A connection that is to receive frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The connection.
    pub connection_id: ConnectionId,
    /// Its user.
    pub user_id: UserId,
    /// [`Subscription::member`].
    #[serde(default)]
    pub member: bool,
    /// Tells it from another that got the same id.
    pub connected_at: Timestamp,
    /// From when on it must not receive any more.
    pub expires_at: Timestamp,
    /// Index of the first frame that it has not received.
    #[serde(default)]
    pub next_frame: usize,
}

impl From<Subscription> for Recipient {
    fn from(subscription: Subscription) -> Self {
        let Subscription { connection_id, user_id, connected_at, expires_at, member } = subscription;
        Self { connection_id, user_id, member, connected_at, expires_at, next_frame: 0 }
    }
}

/// Frames of one channel and who is to receive them: the payload of `SendMessageFunction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushBatch {
    /// The channel.
    pub channel: ChannelKey,
    /// The frames, in order.
    pub frames: Vec<String>,
    /// Who receives them.
    pub recipients: Vec<Recipient>,
    /// How often it was handed over because of failing sockets.
    #[serde(default)]
    pub attempt: u32,
}

/// What came of a delivery, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushReport {
    /// Sockets that have everything.
    pub delivered: usize,
    /// Sockets that had vanished, or whose time was over.
    pub gone: usize,
    /// Sockets handed over to another invocation.
    pub requeued: usize,
    /// Sockets given up. Their clients find the gap by `seq`.
    pub failed: usize,
    /// Attempts beyond the first, at any frame.
    pub retried: usize,
}

impl PushReport {
    /// All sockets.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.delivered + self.gone + self.requeued + self.failed
    }

    /// Notes it on a span that has these fields.
    fn record(&self, span: &Span) {
        span.record("switchboard.pushes.delivered", integer(self.delivered));
        span.record("switchboard.pushes.gone", integer(self.gone));
        span.record("switchboard.pushes.requeued", integer(self.requeued));
        span.record("switchboard.pushes.failed", integer(self.failed));
        span.record("switchboard.pushes.retried", integer(self.retried));
    }
}

impl std::ops::AddAssign for PushReport {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.gone += other.gone;
        self.requeued += other.requeued;
        self.failed += other.failed;
        self.retried += other.retried;
    }
}

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
        Ok(PushReport { requeued: requeued, ..PushReport::default() })
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
            rpc.system = "aws-api",
            rpc.service = "ApiGatewayManagementApi",
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

/// Cuts a batch so that each part fits one asynchronous invocation: by recipients, and by frames where these
/// alone are too large.
fn shards(batch: PushBatch) -> Vec<PushBatch> {
    let PushBatch { channel, frames, recipients, attempt } = batch;
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, frame) in frames.iter().enumerate() {
        // Inside the payload a frame is a JSON string: each quote and backslash takes two bytes.
        let size = frame.len() + frame.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        if index > start && bytes + size > SHARD_BYTES {
            ranges.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    ranges.push(start..frames.len());

    let mut shards = Vec::new();
    for range in ranges {
        let waiting: Vec<Recipient> = recipients
            .iter()
            .filter(|recipient| recipient.next_frame < range.end)
            .map(|recipient| Recipient {
                next_frame: recipient.next_frame.saturating_sub(range.start),
                ..recipient.clone()
            })
            .collect();
        for recipients in waiting.chunks(SHARD_CONNECTIONS) {
            let (channel, frames) = (channel.clone(), frames[range.clone()].to_vec());
            shards.push(PushBatch { channel, frames, recipients: recipients.to_vec(), attempt });
        }
    }
    shards
}

#[cfg(test)]
mod tests;
