//! A client that keeps to the rules: it drops what it has, asks for what is missing when it sees a gap, and again whenever
//! it comes back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chat::{
    connect::{Connect, connect},
    connection::ConnectionStore,
    error::ChatError,
    history::history,
    id::{ChannelId, ConnectionId, UserId},
    message::Range,
};

use crate::{
    actors::request,
    node::Node,
    plant::Plant,
    tables::{ClientView, Socket},
    world::{MEMBER, PRIVATE, STRANGER, World, channel, user},
};

/// Messages that a client asks for at once.
const PAGE: u16 = 3;

struct Client {
    world: Arc<World>,
    name: &'static str,
    user: UserId,
    /// The channel that it names; `None`: it follows the memberships.
    named: Option<ChannelId>,
    /// What it shows.
    shown: BTreeMap<ChannelId, Vec<(u64, String)>>,
    /// Connections it has had.
    connections: u32,
}

/// Why a socket was left.
enum Left {
    /// It was closed, or the client went.
    Closed,
    /// The channel is not there for this user.
    NotFound,
}

/// Starts a client, which stays to the end.
pub(crate) fn start(world: &Arc<World>, name: &'static str, of: &str, named: Option<&str>) {
    let client = Client {
        world: Arc::clone(world),
        name,
        user: user(of),
        named: named.map(channel),
        shown: BTreeMap::new(),
        connections: 0,
    };
    world.time.spawn(false, client.run());
}

impl Client {
    async fn run(mut self) {
        let mut goes = self.world.time.below(3);
        loop {
            let pause = self.world.time.below(800);
            self.world.time.sleep(Duration::from_millis(pause)).await;
            let id = self.next_id();
            match self.handshake(&id).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(Left::NotFound | Left::Closed) => return self.tell(None),
            }
            let frames = if goes > 0 { self.world.time.below(8) } else { u64::MAX };
            goes = goes.saturating_sub(1);
            let left = self.listen(&id, frames).await;
            self.tell(None);
            self.leave(&id).await;
            if matches!(left, Left::NotFound) {
                return;
            }
        }
    }

    /// The id of the next connection: mostly another one, sometimes that of the one before. Not of one whose membership may
    /// end: a push that is under way for the old socket then must not reach the new one, and only the gateway could tell.
    fn next_id(&mut self) -> ConnectionId {
        if self.connections == 0 || self.user == user(MEMBER) || !self.world.time.one_in(4) {
            self.connections += 1;
        }
        let id = format!("{}{}=", self.name.replace([' ', ','], ""), self.connections);
        id.parse().unwrap_or_else(|_| unreachable!("a connection's name in the simulator is an id"))
    }

    /// `$connect`, and then the open socket. `false`: it has failed.
    async fn handshake(&self, id: &ConnectionId) -> Result<bool, Left> {
        let (user_id, channels) = (self.user.clone(), self.named.clone().map(|one| vec![one]));
        let (connection_id, of_id) = (id.clone(), id.clone());
        let connected = request(&self.world, |node| async move {
            let token_expires_at = node.deadline(3_600);
            let asked = Connect { connection_id, user_id, token_expires_at, channels, limited_to: None };
            connect(&node, &node, &node, asked, 20).await
        })
        .await;
        match connected {
            Some(Ok(_)) => {}
            Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
            Some(Err(_)) | None => return Ok(false),
        }
        if self.user == user(STRANGER) && self.named == Some(channel(PRIVATE)) {
            self.world.violation(format!("{} is connected to a private channel", self.name));
        }
        let socket = Socket {
            user: self.user.clone(),
            open: true,
            throttled_until: 0,
            inbox: std::collections::VecDeque::new(),
        };
        self.world.tell(|| format!("{of_id} is open"));
        self.world.tables().sockets.insert(of_id, socket);
        Ok(true)
    }

    /// Shows what comes, for so many frames.
    async fn listen(&mut self, id: &ConnectionId, frames: u64) -> Left {
        let mut channels: Vec<ChannelId> = match &self.named {
            Some(channel) => vec![channel.clone()],
            None => self.world.tables().connections.get(id).map(|one| one.channels.clone()).unwrap_or_default(),
        };
        if self.connections == 1 || !self.world.has(Plant::NoCatchUp) {
            for channel in &channels {
                self.shown.entry(channel.clone()).or_default();
                if self.catch_up(channel).await.is_err() {
                    return if self.named.is_some() { Left::NotFound } else { Left::Closed };
                }
            }
        }
        channels.sort_unstable();
        for _ in 0..frames {
            self.tell(Some((id, &channels)));
            let world = Arc::clone(&self.world);
            let frame = world
                .pushed
                .until(|| {
                    let mut tables = world.tables();
                    match tables.sockets.get_mut(id) {
                        Some(socket) => match socket.inbox.pop_front() {
                            Some(frame) => Some(Some(frame)),
                            None => (!socket.open).then_some(None),
                        },
                        None => Some(None),
                    }
                })
                .await;
            let Some(frame) = frame else { return Left::Closed };
            if self.take(&frame).await.is_err() {
                return if self.named.is_some() { Left::NotFound } else { Left::Closed };
            }
        }
        Left::Closed
    }

    async fn take(&mut self, frame: &str) -> Result<(), Left> {
        let Ok(frame) = serde_json::from_str::<serde_json::Value>(frame) else { return Ok(()) };
        let Some(Ok(of)) = frame["channel_id"].as_str().map(str::parse::<ChannelId>) else { return Ok(()) };
        for event in frame["events"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let (Some(seq), Some(text)) = (event["seq"].as_u64(), event["message"]["content"].as_str()) else {
                continue;
            };
            let has = self.last(&of);
            if seq <= has && !self.world.has(Plant::DuplicatesKept) {
                continue;
            }
            if seq > has + 1 && !self.world.has(Plant::GapIgnored) {
                self.catch_up(&of).await?;
                continue;
            }
            self.shown.entry(of.clone()).or_default().push((seq, text.to_owned()));
        }
        Ok(())
    }

    fn last(&self, of: &ChannelId) -> u64 {
        self.shown.get(of).and_then(|shown| shown.last()).map_or(0, |(seq, _)| *seq)
    }

    /// Asks for what comes after what it has, page by page.
    async fn catch_up(&mut self, of: &ChannelId) -> Result<(), Left> {
        loop {
            let after = self.last(of) + u64::from(self.world.has(Plant::CursorOffByOne));
            let (of_channel, of_user) = (of.clone(), self.user.clone());
            let page = request(&self.world, |node| async move {
                history(&node, &node, &node, &of_channel, &of_user, Range::After(after), PAGE).await
            })
            .await;
            match page {
                Some(Ok(page)) => {
                    let shown = self.shown.entry(of.clone()).or_default();
                    shown.extend(page.messages.into_iter().map(|message| (message.seq, message.content)));
                    if page.next.is_none() {
                        return Ok(());
                    }
                }
                Some(Err(ChatError::ChannelNotFound)) => return Err(Left::NotFound),
                Some(Err(_)) | None => self.world.time.sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Goes, with or without a word.
    async fn leave(&self, id: &ConnectionId) {
        self.world.tell(|| format!("{id} is left"));
        if let Some(socket) = self.world.tables().sockets.get_mut(id) {
            socket.open = false;
        }
        if self.world.time.one_in(3) {
            return;
        }
        // `$disconnect`, once.
        let id = id.clone();
        request(&self.world, |node: Node| async move {
            if let Ok(Some(found)) = node.connection(&id).await {
                // What is left then goes with the next push.
                let _ = ConnectionStore::close(&node, &id, found.connected_at).await;
            }
        })
        .await;
    }

    /// Tells the oracle what it shows.
    fn tell(&self, live: Option<(&ConnectionId, &Vec<ChannelId>)>) {
        let view = live.map(|(id, channels)| ClientView {
            user: Some(self.user.clone()),
            connection: Some(id.clone()),
            shown: channels.iter().map(|one| (one.clone(), self.shown.get(one).cloned().unwrap_or_default())).collect(),
        });
        self.world.tables().notes.clients.insert(self.name.to_owned(), view.unwrap_or_default());
    }
}
