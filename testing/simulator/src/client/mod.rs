//! A client that follows the protocol: it ignores duplicates, and reads the history and the changes after a gap and
//! after each reconnect.

mod drafts;
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use chat::{
    app::{
        channel_lists::Filter,
        connect::{Asked, Connect, ConnectLimits, Renewal},
        tickets::{issue, redeem},
    },
    model::{
        access,
        error::ChatError,
        id::{ChannelId, ConnectionId, UserId},
        seq::Seq,
        token_bucket::Bucket,
    },
    ports::{connection_store::ConnectionStore, ticket_store::Ticket},
};

use switchboard_client::Frame;

use self::reading::ChannelCopy;
use crate::{
    invocation::request,
    mutant::Mutant,
    node::Node,
    oracle::{Caller, Derived},
    tables::{ClientView, Socket},
    world::{LOUNGE, MEMBER, PRIVATE, STRANGER, World, channel, user},
};

/// Limits of connections that no client reaches.
pub(crate) const CONNECT_LIMITS: ConnectLimits =
    ConnectLimits { bucket: Bucket { every: Duration::from_millis(1), burst: 1_000 }, connections: 20 };

/// Maximum repeated requests for a channel that is not found.
const PATIENCE: u32 = 5;

struct Client {
    world: Arc<World>,
    name: &'static str,
    user: UserId,
    /// The channel that the client subscribes to by name. `None`: all channels of its user (`auto_subscribe`).
    named: Option<ChannelId>,
    /// Messages that the client shows, by channel.
    copies: BTreeMap<ChannelId, ChannelCopy>,
    /// States of messages that the client derives from events and pages.
    derived: Derived,
    /// Drafts that a client with a planted bug shows.
    kept_drafts: BTreeSet<(ChannelId, Seq)>,
    /// Number of connections so far.
    connections: u32,
}

/// Reason for leaving a socket.
enum Left {
    /// The socket was closed, or the client left.
    Closed,
    /// The channel does not exist for this user.
    NotFound,
}

/// Starts a client that runs until the end of the schedule.
pub(crate) fn start(world: &Arc<World>, name: &'static str, of: &str, named: Option<&str>) {
    let client = Client {
        world: Arc::clone(world),
        name,
        user: user(of),
        named: named.map(channel),
        copies: BTreeMap::new(),
        derived: Derived::default(),
        kept_drafts: BTreeSet::new(),
        connections: 0,
    };
    world.time.spawn(client.run());
}

impl Client {
    async fn run(mut self) {
        let mut goes = self.world.time.below(3);
        let mut refusals = 0;
        loop {
            let pause = self.world.time.below(800);
            self.world.time.sleep(Duration::from_millis(pause)).await;
            let id = self.next_id();
            match self.handshake(&id).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(Left::NotFound | Left::Closed) if !self.waits() || refusals >= PATIENCE => return self.tell(None),
                Err(_) => {
                    refusals += 1;
                    let pause = self.world.time.below(3_000);
                    self.world.time.sleep(Duration::from_millis(pause)).await;
                    continue;
                }
            }
            let frames = if goes > 0 { self.world.time.below(8) } else { u64::MAX };
            goes = goes.saturating_sub(1);
            let left = self.listen(&id, frames).await;
            self.tell(None);
            self.leave(&id).await;
            if matches!(left, Left::NotFound) && !self.waits() {
                return;
            }
        }
    }

    /// Returns whether a channel that is not found may exist again later.
    fn waits(&self) -> bool {
        self.named.as_ref().is_some_and(|named| named.as_str() == LOUNGE)
    }

    /// Returns the id of the next connection: usually a new one, sometimes that of the previous connection. An id is
    /// not reused if its subscriptions may end. A push in progress for the old socket must not reach the new one, and
    /// only the gateway could tell them apart.
    fn next_id(&mut self) -> ConnectionId {
        let is_static = self.named.as_ref().is_some_and(|named| named.as_str() != LOUNGE) && self.user != user(MEMBER);
        if self.connections == 0 || !is_static || !self.world.time.one_in(4) {
            self.connections += 1;
        }
        let id = format!("{}{}=", self.name.replace([' ', ','], ""), self.connections);
        id.parse().unwrap_or_else(|_| unreachable!("a connection's name in the simulator is an id"))
    }

    fn caller(&self) -> Caller {
        Caller::User(self.user.clone())
    }

    /// Returns the subscription that the socket asks for, directly or as a ticket. `None`: the client got no ticket.
    async fn asked(&self) -> Option<Asked> {
        let named = self.named.clone().map(|one| vec![one]);
        let by_ticket = self.waits() && self.world.time.one_in(3);
        if !by_ticket {
            return Some(Asked::of_request(named));
        }
        let of_user = self.user.clone();
        let issued = request(&self.world, self.caller(), |node| async move {
            let ends_at = node.deadline(3_600);
            let mut ticket = Ticket {
                user_id: of_user,
                tenant: None,
                channels: None,
                allowed_channels: None,
                token_expires_at: ends_at,
                expires_at: ends_at,
            };
            issue(&node.store, &node.store, &node, named, &mut ticket).await
        });
        let text = issued.await.1?.ok()?;
        let pause = self.world.time.below(1_500);
        self.world.time.sleep(Duration::from_millis(pause)).await;
        let redeemed =
            request(&self.world, self.caller(), |node| async move { redeem(&node.store, &node, &text).await });
        let ticket = redeemed.await.1?.ok()?;
        Some(Asked::of_ticket(ticket.channels))
    }

    /// Runs `$connect` and opens the socket. Returns `false` if that fails.
    async fn handshake(&self, id: &ConnectionId) -> Result<bool, Left> {
        let Some(asked) = self.asked().await else { return Err(Left::NotFound) };
        let user_id = self.user.clone();
        let (connection_id, of_id) = (id.clone(), id.clone());
        let connected = request(&self.world, self.caller(), |node| async move {
            let token_expires_at = node.deadline(3_600);
            let asked = Connect { connection_id, user_id, token_expires_at, asked, allowed_channels: None };
            node.connector().connect(asked, CONNECT_LIMITS).await
        })
        .await
        .1;
        match connected {
            Some(Ok(_)) => {}
            Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
            Some(Err(_)) | None => return Ok(false),
        }
        if self.user == user(STRANGER) && self.named == Some(channel(PRIVATE)) {
            self.world.violation(format!("{} is connected to a private channel", self.name));
        }
        let inbox = Some(VecDeque::new());
        let socket = Socket { user: self.user.clone(), open: true, throttled_until: 0, inbox };
        self.world.tell(|| format!("{of_id} is open"));
        self.world.tables().sockets.insert(of_id, socket);
        Ok(true)
    }

    /// Applies up to `frames` frames.
    async fn listen(&mut self, id: &ConnectionId, frames: u64) -> Left {
        let has_named_only = self.named.is_some();
        let not_there = || if has_named_only { Left::NotFound } else { Left::Closed };
        let since_open: BTreeSet<_> = {
            let state = self.world.store.state();
            state.connections.get(id).into_iter().flat_map(|one| one.channels.clone()).collect()
        };
        let channels = match &self.named {
            Some(channel) => vec![channel.clone()],
            None => self.own_channels().await,
        };
        // The id may lead to a new channel. Only the end of a socket tells the client so.
        self.forget(&channel(LOUNGE));
        if (self.connections == 1 || !self.world.has(Mutant::NoCatchUp)) && !self.catch_up_all(&channels).await {
            return not_there();
        }
        for frame_number in 0..frames {
            self.tell(Some((id, &since_open)));
            if frame_number > 0 && !has_named_only && self.world.time.one_in(12) {
                self.change_token(id).await;
                // Frames sent in the meantime did not go to this socket.
                if !self.catch_up_all(&channels).await {
                    return not_there();
                }
                self.tell(Some((id, &since_open)));
            }
            let world = Arc::clone(&self.world);
            let frame = world
                .pushed
                .until(|| {
                    let mut tables = world.tables();
                    match tables.sockets.get_mut(id) {
                        Some(socket) => match socket.inbox.as_mut().and_then(VecDeque::pop_front) {
                            Some(frame) => Some(Some(frame)),
                            None => (!socket.open).then_some(None),
                        },
                        None => Some(None),
                    }
                })
                .await;
            let Some(frame) = frame else { return Left::Closed };
            if self.take(&frame).await.is_err() {
                return not_there();
            }
        }
        Left::Closed
    }

    /// Reads the channels of the client's user.
    async fn own_channels(&self) -> Vec<ChannelId> {
        loop {
            let of_user = access::Caller { user_id: self.user.clone(), tenant: None, allowed_channels: None };
            let filter = Filter { archived: true, ..Filter::default() };
            let listed = request(&self.world, self.caller(), |node| async move {
                node.channel_messages().own_channels(&of_user, &filter, None, 10).await
            });
            if let Some(Ok(page)) = listed.await.1 {
                return page.channels.into_iter().map(|view| view.channel.channel_id).collect();
            }
            self.world.time.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Reads the missing messages of all channels. Returns `false` if a channel is not found.
    async fn catch_up_all(&mut self, channels: &[ChannelId]) -> bool {
        for channel in channels {
            // A channel of an `auto_subscribe` socket may be deleted.
            let may_be_gone = self.named.is_none() && channel.as_str() == LOUNGE;
            if self.catch_up(channel).await.is_err() {
                if !may_be_gone {
                    return false;
                }
                // A later channel with this id is another channel.
                self.forget(channel);
            }
        }
        true
    }

    /// Renews with a token restricted to the lounge, and then with an unrestricted one.
    async fn change_token(&self, id: &ConnectionId) {
        for limited_to in [Some(BTreeSet::from([channel(LOUNGE)])), None] {
            loop {
                let (connection_id, user_id, limited_to) = (id.clone(), self.user.clone(), limited_to.clone());
                let renewed = request(&self.world, self.caller(), |node| async move {
                    let token_expires_at = node.deadline(3_600);
                    let renewal = Renewal { connection_id, user_id, token_expires_at, limited_to };
                    node.connector().renew(renewal).await
                });
                match renewed.await.1 {
                    Some(Ok(_)) => break,
                    Some(Err(ChatError::ConnectionNotFound)) => return,
                    _ => self.world.time.sleep(Duration::from_millis(100)).await,
                }
            }
            let pause = self.world.time.below(500);
            self.world.time.sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn take(&mut self, frame: &str) -> Result<(), Left> {
        let Ok(frame) = Frame::parse(frame) else {
            self.world.violation(format!("{} got a frame that is not as documented: {frame}", self.name));
            return Ok(());
        };
        if !matches!(frame, Frame::Events { .. } | Frame::Draft { .. }) {
            return Ok(());
        }
        let Some(Ok(of)) = frame.channel_id().map(str::parse::<ChannelId>) else { return Ok(()) };
        self.keep_draft(&of, &frame);
        let taken = self.take_frame(&of, frame).await;
        self.unless_gone(&of, taken)
    }

    /// Ignores that a channel of an `auto_subscribe` socket is not found: it may be deleted.
    fn unless_gone(&self, of: &ChannelId, taken: Result<(), Left>) -> Result<(), Left> {
        if self.named.is_none() && of.as_str() == LOUNGE { Ok(()) } else { taken }
    }

    async fn pause(&self) {
        self.world.time.sleep(Duration::from_millis(100)).await;
    }

    /// Leaves the socket, with or without a `$disconnect`.
    async fn leave(&self, id: &ConnectionId) {
        self.world.tell(|| format!("{id} is left"));
        if let Some(socket) = self.world.tables().sockets.get_mut(id) {
            socket.open = false;
        }
        if self.world.time.one_in(3) {
            return;
        }
        // `$disconnect` is sent once and not retried.
        let id = id.clone();
        request(&self.world, Caller::System, |node: Node| async move {
            if let Ok(Some(found)) = node.store.connection(&id).await {
                // The next push removes the remaining items.
                let _ = ConnectionStore::close(&node.store, &found.key).await;
            }
        })
        .await;
    }

    /// Reports the shown messages to the oracle.
    fn tell(&self, live: Option<(&ConnectionId, &BTreeSet<chat::model::incarnation::ChannelKey>)>) {
        let view = live.map(|(id, since_open)| ClientView {
            user: Some(self.user.clone()),
            connection: Some(id.clone()),
            shown: self.copies.iter().map(|(of, copy)| (of.clone(), copy.shown())).collect(),
            known: Arc::clone(&self.derived.0),
            drafts: self.drafts(),
            since_open: since_open.clone(),
            follows: self.named.is_none(),
        });
        self.world.tables().notes.clients.insert(self.name.to_owned(), view.unwrap_or_default());
    }
}
