//! Audience of drafts: the sockets that see replies while they are generated.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join;

use crate::{
    app::delivery::Delivery,
    model::{
        connection::{ConnectionKey, Subscription},
        draft::Delta,
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
    state: Mutex<Listening>,
}

/// Audience as it was last read, and the draft that it follows.
#[derive(Debug, Default)]
struct Listening {
    /// The subscriptions, and the time at which they were read, by [`Clock::monotonic`].
    read: Option<(Duration, Vec<Subscription>)>,
    /// Draft of the last piece.
    draft: Option<MessageId>,
    /// Text of the draft so far.
    text: String,
    /// Connections that got the text so far.
    informed: HashSet<ConnectionKey>,
    /// Time up to which connections were opened that got the text so far from another worker.
    informed_up_to: Option<Timestamp>,
}

impl DraftAudience {
    /// Goes on with a draft that another worker has pushed up to the end of `text`. That worker last renewed its lease at
    /// `renewed_at`. Connections that existed [`AUTHORITY_DURATION`] before were in the audience that it read, so they
    /// have the text. Later ones get the whole text with the next piece.
    pub fn resume(&self, draft_id: MessageId, text: &str, renewed_at: Timestamp) {
        let mut listening = self.lock();
        listening.draft = Some(draft_id);
        text.clone_into(&mut listening.text);
        listening.informed.clear();
        let before = i64::try_from(AUTHORITY_DURATION.as_millis()).unwrap_or(i64::MAX);
        let up_to = renewed_at.as_millis().saturating_sub(before);
        listening.informed_up_to = Some(Timestamp::from_millis(up_to));
    }

    /// Pushes a piece of a draft to the audience of `channel`, from here if it has at most `threshold` sockets. Reads
    /// the audience again after [`AUTHORITY_DURATION`]. A socket that was not in it before, or not open, gets the whole
    /// text so far, in one frame with the position 0. Failures are logged: a later piece, or the message, repeats the text.
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
        if let Err(error) = listening.refresh(delivery, channel).await {
            tracing::warn!(%error, "subscribers of a draft could not be read");
            // No socket gets this piece, so each gets the whole text next time.
            listening.forget_informed();
            *self.lock() = listening;
            return;
        }
        let listeners = listening.read.as_ref().map(|(_, listeners)| listeners.as_slice()).unwrap_or_default();
        let is_informed = |listener: &Subscription| listening.is_informed(&listener.connection);
        let opening = match whole {
            Some(whole) if !listeners.iter().all(is_informed) => {
                let (informed, late): (Vec<_>, Vec<_>) = listeners.iter().cloned().partition(is_informed);
                let piece = push_piece(delivery, channel, delta, &informed, threshold);
                join(piece, push_piece(delivery, channel, &whole, &late, threshold)).await.1
            }
            _ => push_piece(delivery, channel, delta, listeners, threshold).await,
        };
        let connections = listeners.iter().map(|listener| &listener.connection);
        listening.informed = connections.filter(|connection| !opening.contains(connection)).cloned().collect();
        listening.informed_up_to = None;
        *self.lock() = listening;
    }

    fn lock(&self) -> MutexGuard<'_, Listening> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Returns whether a connection got the text so far.
    fn is_informed(&self, connection: &ConnectionKey) -> bool {
        self.informed.contains(connection) || self.informed_up_to.is_some_and(|time| connection.connected_at <= time)
    }

    fn forget_informed(&mut self) {
        self.informed.clear();
        self.informed_up_to = None;
    }

    /// Adds a piece to the text. Returns the frame for a socket that has nothing of the draft, unless the text before
    /// the piece is unknown.
    fn add(&mut self, delta: &Delta) -> Option<Delta> {
        if self.draft != Some(delta.draft_id) {
            self.draft = Some(delta.draft_id);
            self.text.clear();
            self.forget_informed();
        }
        if self.text.chars().count() != delta.position {
            return None;
        }
        self.text.push_str(&delta.text);
        Some(Delta { position: 0, text: self.text.clone(), ..delta.clone() })
    }

    /// Reads the audience, if it was read too long ago.
    async fn refresh<Connections, Sockets, Fan, Time>(
        &mut self,
        delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
        channel: &ChannelKey,
    ) -> Result<(), StoreError>
    where
        Connections: ConnectionStore,
        Time: Clock,
    {
        let now = delivery.clock.monotonic();
        if self.read.as_ref().is_some_and(|(at, _)| *at + AUTHORITY_DURATION > now) {
            return Ok(());
        }
        self.read = None;
        let audience = delivery.connections.audience(channel, delivery.clock.now()).await?;
        self.read = Some((now, audience.admitted()));
        Ok(())
    }
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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::{
        model::{
            connection::{Connection, UserConnection},
            draft::DraftStatus,
            id::ConnectionId,
            seq::Seq,
        },
        ports::{fan_out::PushBatch, socket_gateway::Pushed},
        testing::{TestClock, TestStore, broken, key},
    };

    /// Sockets that record the positions and texts of the pieces that they get.
    #[derive(Default)]
    struct Sockets {
        pieces: Mutex<BTreeMap<String, Vec<(u64, String)>>>,
        /// Sockets that are not open yet.
        opening: Mutex<BTreeSet<String>>,
    }

    impl SocketGateway for Sockets {
        async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
            if self.opening.lock().unwrap().contains(id.as_str()) {
                return Ok(Pushed::Gone);
            }
            let frame: Value = serde_json::from_str(frame).unwrap();
            let piece = (frame["position"].as_u64().unwrap(), frame["text"].as_str().unwrap().to_owned());
            self.pieces.lock().unwrap().entry(id.to_string()).or_default().push(piece);
            Ok(Pushed::Delivered)
        }

        async fn is_open(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("a draft asks for no socket")
        }

        async fn close(&self, _: &ConnectionId) -> Result<bool, StoreError> {
            unreachable!("a draft closes no socket")
        }
    }

    impl FanOut for Sockets {
        async fn dispatch(&self, _: &PushBatch) -> Result<(), StoreError> {
            Err(broken())
        }
    }

    impl Sockets {
        fn of(&self, name: &str) -> Vec<(u64, String)> {
            self.pieces.lock().unwrap().get(name).cloned().unwrap_or_default()
        }
    }

    fn subscribe(store: &TestStore, clock: &TestClock, name: &str) {
        let ends_at = clock.now().plus(Duration::from_hours(2));
        let opened = Connection {
            key: ConnectionKey { id: name.parse().unwrap(), connected_at: clock.now() },
            user_id: "bob".parse().unwrap(),
            channels: vec![key("c")],
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: ends_at,
            expires_at: ends_at,
        };
        let subscription = Subscription { member: true, ..UserConnection::from(&opened).subscription(&opened.user_id) };
        let mut state = store.state();
        state.connections.insert(opened.key.id.clone(), opened);
        state.put_subscription(&key("c"), subscription);
    }

    /// Returns the pieces of one draft, one for each text.
    fn pieces(clock: &TestClock, texts: &[&str]) -> Vec<Delta> {
        let draft_id = MessageId::generate(clock.seed());
        let mut position = 0;
        let piece = |text: &&str| {
            let piece = Delta {
                channel_id: "c".parse().unwrap(),
                draft_id,
                reply_to: Seq::FIRST,
                status: DraftStatus::Writing,
                position,
                text: (*text).to_owned(),
                seq: None,
            };
            position += text.chars().count();
            piece
        };
        texts.iter().map(piece).collect()
    }

    fn texts(pieces: &[(u64, &str)]) -> Vec<(u64, String)> {
        pieces.iter().map(|(position, text)| (*position, (*text).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_socket_that_comes_late_gets_the_whole_text_once() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let audience = DraftAudience::default();
        let all = pieces(&clock, &["", "Hé", "llo", " wö", "rld"]);
        subscribe(&store, &clock, "early=");
        for piece in &all[..2] {
            audience.push(&delivery, &key("c"), piece, 10).await;
        }
        subscribe(&store, &clock, "late=");
        audience.push(&delivery, &key("c"), &all[2], 10).await;
        assert_eq!(sockets.of("late="), [], "the audience is read once a second");
        clock.sleep(AUTHORITY_DURATION).await;
        for piece in &all[3..] {
            audience.push(&delivery, &key("c"), piece, 10).await;
        }
        assert_eq!(sockets.of("early="), texts(&[(0, ""), (0, "Hé"), (2, "llo"), (5, " wö"), (8, "rld")]));
        assert_eq!(sockets.of("late="), texts(&[(0, "Héllo wö"), (8, "rld")]));
    }

    #[tokio::test]
    async fn a_socket_that_is_not_open_yet_gets_the_whole_text_when_it_is() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let audience = DraftAudience::default();
        subscribe(&store, &clock, "open=");
        subscribe(&store, &clock, "opening=");
        sockets.opening.lock().unwrap().insert("opening=".to_owned());
        let all = pieces(&clock, &["a", "b", "c", "d"]);
        for piece in &all[..2] {
            audience.push(&delivery, &key("c"), piece, 10).await;
        }
        sockets.opening.lock().unwrap().clear();
        for piece in &all[2..] {
            audience.push(&delivery, &key("c"), piece, 10).await;
        }
        assert_eq!(sockets.of("open="), texts(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]));
        assert_eq!(sockets.of("opening="), texts(&[(0, "abc"), (3, "d")]));
    }

    #[tokio::test]
    async fn another_draft_begins_anew_for_each_socket() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let audience = DraftAudience::default();
        subscribe(&store, &clock, "one=");
        for piece in pieces(&clock, &["hm", "m"]).iter().chain(&pieces(&clock, &["so", "!"])) {
            audience.push(&delivery, &key("c"), piece, 10).await;
        }
        assert_eq!(sockets.of("one="), texts(&[(0, "hm"), (2, "m"), (0, "so"), (2, "!")]));
    }

    #[tokio::test]
    async fn after_a_failed_read_each_socket_gets_the_whole_text() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let audience = DraftAudience::default();
        subscribe(&store, &clock, "one=");
        let all = pieces(&clock, &["a", "b", "c"]);
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        audience.push(&delivery, &key("c"), &all[0], 10).await;
        clock.sleep(AUTHORITY_DURATION).await;
        let failing = TestStore::seeded(1, 100);
        let without = Delivery { connections: &failing, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        audience.push(&without, &key("c"), &all[1], 10).await;
        audience.push(&delivery, &key("c"), &all[2], 10).await;
        assert_eq!(sockets.of("one="), texts(&[(0, "a"), (0, "abc")]));
    }

    #[tokio::test]
    async fn a_socket_that_comes_after_a_takeover_gets_the_whole_text_once() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        let (before, after) = (DraftAudience::default(), DraftAudience::default());
        let all = pieces(&clock, &["Hé", "llo", " wö", "rld", "!"]);
        subscribe(&store, &clock, "early=");
        clock.sleep(AUTHORITY_DURATION).await;
        for piece in &all[..2] {
            before.push(&delivery, &key("c"), piece, 10).await;
        }
        let renewed_at = clock.now();
        // The worker may have read its audience before this connection came.
        subscribe(&store, &clock, "close=");
        clock.sleep(Duration::from_secs(15)).await;
        subscribe(&store, &clock, "late=");
        after.resume(all[0].draft_id, "Héllo", renewed_at);
        for piece in &all[2..] {
            after.push(&delivery, &key("c"), piece, 10).await;
        }
        assert_eq!(sockets.of("early="), texts(&[(0, "Hé"), (2, "llo"), (5, " wö"), (8, "rld"), (11, "!")]));
        assert_eq!(sockets.of("close="), texts(&[(0, "Héllo wö"), (8, "rld"), (11, "!")]));
        assert_eq!(sockets.of("late="), texts(&[(0, "Héllo wö"), (8, "rld"), (11, "!")]));
    }

    #[tokio::test]
    async fn after_a_failed_read_of_a_takeover_each_socket_gets_the_whole_text() {
        let (store, clock, sockets) = (TestStore::seeded(1, 0), TestClock::new(1), Sockets::default());
        let deadline = clock.now().plus(Duration::from_mins(1));
        let audience = DraftAudience::default();
        subscribe(&store, &clock, "one=");
        let renewed_at = clock.now().plus(AUTHORITY_DURATION);
        let all = pieces(&clock, &["a", "b", "c", "d"]);
        audience.resume(all[0].draft_id, "a", renewed_at);
        let failing = TestStore::seeded(1, 100);
        let without = Delivery { connections: &failing, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        audience.push(&without, &key("c"), &all[1], 10).await;
        let delivery = Delivery { connections: &store, sockets: &sockets, fan_out: &sockets, clock: &clock, deadline };
        for piece in &all[2..] {
            audience.push(&delivery, &key("c"), piece, 10).await;
        }
        assert_eq!(sockets.of("one="), texts(&[(0, "abc"), (3, "d")]));
    }
}
