//! Audience of drafts: the sockets that see replies while they are generated.
//!
//! Each frame costs a push to every socket, so the frames of a large audience are rarer ([`DraftPace`]). Text between two
//! frames waits for the next one. The stored message has the whole text, so no frame is made for text that still waits
//! when the message is stored.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join;

use crate::{
    app::delivery::Delivery,
    model::{
        connection::{Audience, ConnectionKey, Subscription},
        draft::{Delta, DraftPace, DraftStatus},
        error::StoreError,
        id::MessageId,
        incarnation::ChannelKey,
        limits::AUTHORITY_DURATION,
        time::Timestamp,
    },
    ports::{clock::Clock, connection_store::ConnectionStore, fan_out::FanOut, socket_gateway::SocketGateway},
};

/// Audience of the drafts of one channel. It is cached, because drafts are more frequent than changes of subscriptions.
#[derive(Debug, Default)]
pub struct DraftAudience {
    pace: DraftPace,
    state: Mutex<Listening>,
}

/// Audience as it was last read, and the draft that it follows.
#[derive(Debug, Default)]
struct Listening {
    /// Time at which the subscriptions were read, by [`Clock::monotonic`].
    read_at: Option<Duration>,
    /// The subscriptions. `None`: they are too many for drafts.
    listeners: Option<Vec<Subscription>>,
    /// Draft of the last piece.
    draft: Option<MessageId>,
    /// Text of the draft so far.
    text: String,
    /// Pieces that no socket got yet, as one piece.
    waiting: Option<Delta>,
    /// Time of the last frame, by [`Clock::monotonic`].
    pushed_at: Option<Duration>,
    /// Subscriptions that got a frame of the draft. They get its end too, also when the audience has grown.
    told: Vec<Subscription>,
    /// Connections that got the text before the waiting pieces.
    informed: HashSet<ConnectionKey>,
    /// Time up to which connections were opened that got the text so far from another worker.
    informed_up_to: Option<Timestamp>,
}

impl DraftAudience {
    /// Creates an audience whose frames have this pace.
    #[must_use]
    pub fn new(pace: DraftPace) -> Self {
        Self { pace, state: Mutex::default() }
    }

    /// Goes on with a draft that another worker has pushed up to the end of `text`. That worker last renewed its lease at
    /// `renewed_at`. Connections that existed [`AUTHORITY_DURATION`] before were in the audience that it read, so they
    /// have the text. Later ones get the whole text with the next piece.
    ///
    /// In an audience whose frames are [paced](DraftPace::is_paced), the text may have waited for a frame. Then every
    /// connection gets the whole text.
    pub fn resume(&self, draft_id: MessageId, text: &str, renewed_at: Timestamp) {
        let mut listening = self.lock();
        listening.draft = Some(draft_id);
        text.clone_into(&mut listening.text);
        listening.waiting = None;
        listening.told.clear();
        listening.informed.clear();
        let before = i64::try_from(AUTHORITY_DURATION.as_millis()).unwrap_or(i64::MAX);
        let up_to = renewed_at.as_millis().saturating_sub(before);
        listening.informed_up_to = Some(Timestamp::from_millis(up_to));
    }

    /// Pushes a piece of a draft to the audience of `channel`, from here if it has at most `threshold` sockets. Reads
    /// the audience again after [`AUTHORITY_DURATION`]. A socket that was not in it before, or not open, gets the whole
    /// text so far, in one frame with the position 0. Failures are logged: a later piece, or the message, repeats the text.
    ///
    /// A piece that comes too early for the [pace](DraftPace::interval) waits for the next one. A larger audience than the
    /// pace allows gets no frame. The end of a draft without a message goes at once to all that got a frame.
    pub async fn push<Connections, Sockets, Fan, Time>(
        &self,
        delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
        channel: &ChannelKey,
        delta: &Delta,
        threshold: usize,
    ) where
        Connections: ConnectionStore,
        Sockets: SocketGateway,
        Fan: FanOut,
        Time: Clock,
    {
        let mut listening = std::mem::take(&mut *self.lock());
        let whole = listening.add(delta);
        let refreshed = listening.refresh(delivery, channel, self.pace).await;
        if let Err(error) = refreshed {
            tracing::warn!(%error, "subscribers of a draft could not be read");
            // No socket gets this piece, so each gets the whole text next time.
            listening.forget_informed();
        } else if listening.listeners.is_none() {
            listening.end_for_told(delivery, channel, delta, threshold).await;
        } else if listening.is_due(delta, self.pace, delivery.clock.monotonic()) {
            listening.send(delivery, channel, whole, threshold).await;
        }
        *self.lock() = listening;
    }

    fn lock(&self) -> MutexGuard<'_, Listening> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Returns whether a connection got the text before the waiting pieces.
    fn is_informed(&self, connection: &ConnectionKey) -> bool {
        self.informed.contains(connection) || self.informed_up_to.is_some_and(|time| connection.connected_at <= time)
    }

    fn forget_informed(&mut self) {
        self.waiting = None;
        self.informed.clear();
        self.informed_up_to = None;
    }

    /// Adds a piece to the text and to the waiting pieces. Returns the frame for a socket that has nothing of the draft,
    /// unless the text before the piece is unknown.
    fn add(&mut self, delta: &Delta) -> Option<Delta> {
        if self.draft != Some(delta.draft_id) {
            self.draft = Some(delta.draft_id);
            self.text.clear();
            self.told.clear();
            self.forget_informed();
        }
        let next = |waiting: &Delta| waiting.position + waiting.text.chars().count();
        let joined = self.waiting.take().filter(|waiting| next(waiting) == delta.position);
        self.waiting = Some(match joined {
            Some(waiting) => {
                let text = if is_end_without_message(delta) { String::new() } else { waiting.text + &delta.text };
                Delta { position: waiting.position, text, ..delta.clone() }
            }
            None => delta.clone(),
        });
        if self.text.chars().count() != delta.position {
            return None;
        }
        self.text.push_str(&delta.text);
        Some(Delta { position: 0, text: self.text.clone(), ..delta.clone() })
    }

    /// Returns whether the waiting pieces, of which `delta` is the last one, are sent at the time `now`.
    fn is_due(&self, delta: &Delta, pace: DraftPace, now: Duration) -> bool {
        let interval = self.listeners.as_ref().and_then(|listeners| pace.interval(listeners.len())).unwrap_or_default();
        is_end_without_message(delta) || self.pushed_at.is_none_or(|at| at + interval <= now)
    }

    /// Sends the waiting pieces to the listeners. `whole` is the frame for those that have nothing of the draft.
    async fn send<Connections, Sockets, Fan, Time>(
        &mut self,
        delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
        channel: &ChannelKey,
        whole: Option<Delta>,
        threshold: usize,
    ) where
        Connections: ConnectionStore,
        Sockets: SocketGateway,
        Fan: FanOut,
        Time: Clock,
    {
        let Some(piece) = self.waiting.take() else { return };
        let listeners = self.listeners.clone().unwrap_or_default();
        let is_informed = |listener: &Subscription| self.is_informed(&listener.connection);
        let opening = match whole {
            Some(whole) if !listeners.iter().all(is_informed) => {
                let (informed, late): (Vec<_>, Vec<_>) = listeners.iter().cloned().partition(is_informed);
                let piece = push_piece(delivery, channel, &piece, &informed, threshold);
                join(piece, push_piece(delivery, channel, &whole, &late, threshold)).await.1
            }
            _ => push_piece(delivery, channel, &piece, &listeners, threshold).await,
        };
        let connections = listeners.iter().map(|listener| &listener.connection);
        self.informed = connections.filter(|connection| !opening.contains(connection)).cloned().collect();
        self.informed_up_to = None;
        self.pushed_at = Some(delivery.clock.monotonic());
        self.told = listeners;
    }

    /// Sends the end of a draft without a message to the sockets that got a frame before the audience grew. Another piece
    /// is dropped: each socket gets the whole text if the audience shrinks.
    async fn end_for_told<Connections, Sockets, Fan, Time>(
        &mut self,
        delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
        channel: &ChannelKey,
        delta: &Delta,
        threshold: usize,
    ) where
        Connections: ConnectionStore,
        Sockets: SocketGateway,
        Fan: FanOut,
        Time: Clock,
    {
        self.forget_informed();
        if !is_end_without_message(delta) || self.told.is_empty() {
            return;
        }
        match delivery.connections.gate(channel, delivery.clock.now()).await {
            Ok(gate) => {
                let told = Audience { gate, subscriptions: std::mem::take(&mut self.told) }.admitted();
                // Without a position beyond the text that these sockets have.
                let end = Delta { position: 0, text: String::new(), ..delta.clone() };
                push_piece(delivery, channel, &end, &told, threshold).await;
            }
            Err(error) => tracing::warn!(%error, "the end of a draft was not shown"),
        }
    }

    /// Reads the audience, if it was read too long ago. Reads one subscription more than the pace allows.
    async fn refresh<Connections, Sockets, Fan, Time>(
        &mut self,
        delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
        channel: &ChannelKey,
        pace: DraftPace,
    ) -> Result<(), StoreError>
    where
        Connections: ConnectionStore,
        Time: Clock,
    {
        let now = delivery.clock.monotonic();
        if self.read_at.is_some_and(|at| at + AUTHORITY_DURATION > now) {
            return Ok(());
        }
        self.read_at = None;
        let most = pace.listeners.saturating_add(1);
        let audience = delivery.connections.audience_up_to(channel, most, delivery.clock.now()).await?;
        let is_small = pace.interval(audience.subscriptions.len()).is_some();
        self.listeners = is_small.then(|| audience.admitted());
        if self.listeners.as_ref().is_some_and(|listeners| pace.is_paced(listeners.len())) {
            // The worker before may have held text back.
            self.informed_up_to = None;
        }
        self.read_at = Some(now);
        Ok(())
    }
}

/// Returns whether a piece ends a draft that becomes no message.
fn is_end_without_message(delta: &Delta) -> bool {
    delta.seq.is_none() && !matches!(delta.status, DraftStatus::Thinking | DraftStatus::Writing)
}

/// Pushes a piece of a draft to some sockets. Returns those that are not open yet.
async fn push_piece<Connections, Sockets, Fan, Time>(
    delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
    channel: &ChannelKey,
    piece: &Delta,
    listeners: &[Subscription],
    threshold: usize,
) -> Vec<ConnectionKey>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    match serde_json::to_string(piece) {
        Ok(frame) => delivery.push_ephemeral(channel, &frame, listeners, threshold).await,
        Err(error) => {
            tracing::error!(%error, "draft could not be encoded");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
