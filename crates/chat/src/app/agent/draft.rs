//! Drafts: replies while they are generated, as subscribers see them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    app::delivery::Delivery,
    model::{
        connection::Subscription,
        draft::{Delta, DraftStatus},
        id::MessageId,
        incarnation::ChannelKey,
        limits::{AUTHORITY_DURATION, DELTA_BYTES},
    },
    ports::{
        clock::Clock, connection_store::ConnectionStore, draft_sink::DraftSink, fan_out::FanOut,
        socket_gateway::SocketGateway,
    },
};

/// Audience of the drafts of one channel. It is cached, because drafts are more frequent than changes of subscriptions.
#[derive(Debug, Default)]
pub struct DraftAudience {
    /// The subscriptions, and the time at which they were read, by [`Clock::monotonic`].
    read: Mutex<Option<(Duration, Vec<Subscription>)>>,
}

impl DraftAudience {
    /// Pushes a piece of a draft to the audience of `channel`, from here if it has at most `threshold` sockets. Reads the
    /// audience again after [`AUTHORITY_DURATION`]. Failures are logged: a later piece, or the message, repeats the text.
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
        let now = delivery.clock.monotonic();
        let cached = self.read.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (at, listeners) = match cached.filter(|(at, _)| *at + AUTHORITY_DURATION > now) {
            Some(cached) => cached,
            None => match delivery.connections.audience(channel, delivery.clock.now()).await {
                Ok(audience) => (now, audience.admitted()),
                Err(error) => return tracing::warn!(%error, "subscribers of a draft could not be read"),
            },
        };
        match serde_json::to_string(delta) {
            Ok(frame) => delivery.push_ephemeral(channel, &frame, &listeners, threshold).await,
            Err(error) => tracing::error!(%error, "draft could not be encoded"),
        }
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, listeners));
    }
}

/// Draft of a reply that is being generated.
pub(crate) struct ReplyDraft<'a, Sink> {
    sink: &'a Sink,
    channel: ChannelKey,
    next: Delta,
    /// Complete text so far.
    pub(crate) text: String,
}

impl<'a, Sink: DraftSink> ReplyDraft<'a, Sink> {
    pub(crate) fn new(sink: &'a Sink, channel: ChannelKey, reply_to: u64, clock: &impl Clock) -> Self {
        let next = Delta {
            channel_id: channel.channel_id.clone(),
            draft_id: MessageId::generate(clock.seed()),
            reply_to,
            status: DraftStatus::Thinking,
            position: 0,
            text: String::new(),
            seq: None,
        };
        Self { sink, channel, next, text: String::new() }
    }

    pub(crate) fn id(&self) -> MessageId {
        self.next.draft_id
    }

    /// Adds text. Returns `true` if the pending text reaches [`DELTA_BYTES`] and should be shown at once.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.next.text.push_str(text);
        self.next.text.len() >= DELTA_BYTES
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.next.text.is_empty()
    }

    /// Shows the text that was added since the last call.
    pub(crate) async fn show(&mut self, status: DraftStatus) {
        self.next.status = status;
        self.sink.show(&self.channel, &self.next).await;
        self.next.position += self.next.text.chars().count();
        self.next.text.clear();
    }

    /// Discards the text, which turned out to be no part of the reply. If it was `shown`, this draft ends as failed. Then
    /// another draft begins.
    pub(crate) async fn discard(&mut self, shown: bool, clock: &impl Clock) {
        self.text.clear();
        self.next.text.clear();
        if shown {
            self.show(DraftStatus::Failed).await;
        }
        self.next.draft_id = MessageId::generate(clock.seed());
        self.next.status = DraftStatus::Thinking;
        self.next.position = 0;
    }

    /// Shows the final status, and the `seq` of the stored message if there is one.
    pub(crate) async fn end(mut self, status: DraftStatus, seq: Option<u64>) {
        self.next.seq = seq;
        self.show(status).await;
    }
}
