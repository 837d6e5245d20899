//! One subscription over a series of sockets, without I/O: when to open, replace, check and leave a socket.

use crate::{ClosingReason, Frame, chance::Chance};

/// Interval between pings. An idle socket is closed after 10 minutes.
const PING_EVERY: u64 = 4 * 60_000;
const PONG_WITHIN: u64 = 10_000;
/// Timeout of a handshake. API Gateway allows 29 s for `$connect`.
const OPEN_WITHIN: u64 = 30_000;
/// Time within which a socket ends after the server has announced it.
const CLOSE_WITHIN: u64 = 5_000;
/// Duration after which a socket counts as stable: the next failure begins with the shortest wait.
const STABLE_AFTER: u64 = 10_000;
/// Age at which a socket is replaced, at the earliest. API Gateway closes it after 2 hours.
const MOVE_AFTER: u64 = 105 * 60_000;
/// Time over which the replacements of sockets of the same age spread.
const MOVE_WITHIN: u64 = 10 * 60_000;

/// Close codes that tell that the client broke the protocol, so that another socket would end in the same way.
const BROKEN_PROTOCOL: [u16; 4] = [1002, 1003, 1007, 1009];

/// An order of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send a text frame.
    Send(u64, &'static str),
    /// Close a socket. Its end is not reported to the session.
    Close(u64),
}

/// State of a session for its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No socket was needed yet, or one is being opened.
    Connecting,
    /// A socket is open.
    Live,
    /// The next attempt is at this time.
    Waiting(u64),
    /// The session has ended, for this reason.
    Closed(String),
}

/// Reason for the end of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// Close code.
    pub code: Option<u16>,
    /// Status of the response to the handshake.
    pub status: Option<u16>,
    /// Time to wait before the next handshake, in milliseconds.
    pub retry_after: Option<u64>,
}

/// Token that the next handshake requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFor {
    /// The current one.
    Current,
    /// Another one, because the server does not accept the current one.
    Fresh,
    /// Another one, if it is time for it: the handshake failed for an unknown reason.
    Doubted,
}

#[derive(Debug)]
struct Live {
    socket: u64,
    opened_at: u64,
    connection_id: Option<String>,
    ping_at: u64,
    pong_by: Option<u64>,
    move_at: u64,
    /// The last frame of the server: its reason, whether to connect again, and when to stop waiting for the end.
    closing: Option<(ClosingReason, bool, u64)>,
}

/// A subscription to channels, or to all channels of the user if there are none.
#[derive(Debug, Default)]
pub struct Session {
    channels: Vec<String>,
    current: Option<Live>,
    /// The socket that is being opened, and its timeout.
    next: Option<(u64, u64)>,
    /// Channels of the last handshake.
    named: Vec<String>,
    /// Time before which the server wants no handshake.
    not_before: u64,
    attempt: u32,
    retry_at: u64,
    ended: Option<String>,
    /// Whether it ended because the server refused the channels of the last handshake.
    is_refused: bool,
    /// Whether its last channel was removed.
    is_unused: bool,
}

impl Session {
    /// Creates a session, which wants a socket at once.
    #[must_use]
    pub fn new(channels: Vec<String>) -> Self {
        Self { channels, ..Self::default() }
    }

    /// Returns the channels; all of the user if there are none.
    #[must_use]
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Returns whether the session names a channel.
    #[must_use]
    pub fn listens_to(&self, channel: &str) -> bool {
        self.channels.iter().any(|one| one == channel)
    }

    /// Returns whether the session receives a channel, named or as one of all.
    #[must_use]
    pub fn receives(&self, channel: &str) -> bool {
        !self.is_unused && (self.channels.is_empty() || self.listens_to(channel))
    }

    /// Returns whether the last named channel was removed. [`Session::add`] uses the session again.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.is_unused
    }

    /// Adds a channel, which the next socket receives. It replaces the open one.
    pub fn add(&mut self, channel: &str, now: u64) {
        if std::mem::take(&mut self.is_unused) {
            (self.ended, self.is_refused) = (None, false);
        }
        self.channels.push(channel.to_owned());
        self.replace(now);
    }

    /// Removes a named channel, which later sockets do not receive. Without another one, the session ends, because a
    /// socket without names receives all channels. A refusal of the channel does not count for the others.
    pub fn remove(&mut self, channel: &str) -> Vec<Step> {
        if !self.listens_to(channel) {
            return Vec::new();
        }
        self.channels.retain(|one| one != channel);
        self.is_unused = self.channels.is_empty();
        if self.is_unused {
            return self.end();
        }
        if self.is_refused && self.named.iter().any(|one| one == channel) {
            (self.ended, self.is_refused) = (None, false);
        }
        Vec::new()
    }

    /// Returns the state at `now`.
    #[must_use]
    pub fn state(&self, now: u64) -> State {
        match &self.ended {
            _ if self.current.is_some() => State::Live,
            Some(reason) => State::Closed(reason.clone()),
            None if self.next.is_none() && self.retry_at > now => State::Waiting(self.retry_at),
            None => State::Connecting,
        }
    }

    /// Returns the id of the open connection, once `hello` has told it.
    #[must_use]
    pub fn connection_id(&self) -> Option<&str> {
        self.current.as_ref()?.connection_id.as_deref()
    }

    /// Returns whether a socket belongs to this session.
    #[must_use]
    pub fn has(&self, socket: u64) -> bool {
        self.is_current(socket) || self.is_next(socket)
    }

    /// Returns whether a socket is wanted now.
    #[must_use]
    pub fn wants_socket(&self, now: u64) -> bool {
        self.open_at().is_some_and(|at| at <= now)
    }

    /// Returns the time of the next step, if no input comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let of_current = self.current.iter().flat_map(|live| {
            let closing = live.closing.map(|(_, _, by)| by);
            [Some(live.ping_at), live.pong_by, closing].into_iter().flatten()
        });
        of_current.chain(self.next.map(|(_, by)| by)).chain(self.open_at()).min()
    }

    /// Notes that the handshake of a socket begins.
    pub fn opening(&mut self, socket: u64, now: u64) {
        self.next = Some((socket, now.saturating_add(OPEN_WITHIN)));
        self.named.clone_from(&self.channels);
    }

    /// Takes an opened socket, and leaves the one before.
    pub fn opened(&mut self, socket: u64, now: u64, chance: &mut Chance) -> Vec<Step> {
        if !self.is_next(socket) {
            return vec![Step::Close(socket)];
        }
        self.next = None;
        // A channel that was added during the handshake needs another socket.
        let is_outdated = self.channels.iter().any(|channel| !self.named.contains(channel));
        let age = if is_outdated { 0 } else { MOVE_AFTER.saturating_add(chance.up_to(MOVE_WITHIN)) };
        let move_at = now.saturating_add(age);
        let ping_at = now.saturating_add(PING_EVERY);
        let live = Live { socket, opened_at: now, connection_id: None, ping_at, pong_by: None, move_at, closing: None };
        self.current.replace(live).map(|previous| Step::Close(previous.socket)).into_iter().collect()
    }

    /// Takes a frame about the socket itself.
    pub fn take(&mut self, socket: u64, frame: &Frame, now: u64) {
        let Some(live) = self.current.as_mut().filter(|live| live.socket == socket) else { return };
        match frame {
            Frame::Hello { connection_id, .. } | Frame::Pong { connection_id } => {
                live.connection_id = Some(connection_id.clone());
            }
            Frame::Closing { reason, reconnect } => {
                live.closing = Some((*reason, *reconnect, now.saturating_add(CLOSE_WITHIN)));
            }
            _ => {}
        }
        // Any frame shows that the peer lives.
        live.pong_by = None;
        live.ping_at = now.saturating_add(PING_EVERY);
    }

    /// Takes the end of a socket. Returns the token that the next handshake requires.
    pub fn closed(&mut self, socket: u64, end: End, now: u64, chance: &mut Chance) -> TokenFor {
        if self.is_current(socket) {
            return self.lost(end, now, chance);
        }
        if !self.is_next(socket) {
            return TokenFor::Current;
        }
        self.next = None;
        self.failed(end.retry_after.unwrap_or_default(), now, chance);
        match end.status {
            Some(401) => TokenFor::Fresh,
            Some(status @ (400 | 402..=407 | 409..=428 | 430..=499)) => {
                self.is_refused |= self.ended.is_none();
                self.ended.get_or_insert_with(|| format!("handshake_refused_{status}"));
                TokenFor::Current
            }
            Some(_) => TokenFor::Current,
            None => TokenFor::Doubted,
        }
    }

    /// Takes the time. Returns orders for sockets that did not respond.
    pub fn tick(&mut self, now: u64, chance: &mut Chance) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some((socket, by)) = self.next
            && by <= now
        {
            self.next = None;
            self.failed(0, now, chance);
            steps.push(Step::Close(socket));
        }
        let Some(live) = self.current.as_ref() else { return steps };
        let socket = live.socket;
        if live.pong_by.is_some_and(|by| by <= now) || live.closing.is_some_and(|(_, _, by)| by <= now) {
            steps.push(Step::Close(socket));
            self.lost(End::default(), now, chance);
        } else if live.ping_at <= now {
            steps.extend(self.check(now));
        }
        steps
    }

    /// Sends a ping. Without a response, the socket is replaced.
    pub fn check(&mut self, now: u64) -> Option<Step> {
        let live = self.current.as_mut()?;
        live.pong_by.get_or_insert(now.saturating_add(PONG_WITHIN));
        live.ping_at = now.saturating_add(PING_EVERY);
        Some(Step::Send(live.socket, r#"{"action":"ping"}"#))
    }

    /// Connects at once, also after a refusal, but not before the time that the server has named.
    pub fn retry_now(&mut self, now: u64) {
        if !self.is_unused {
            (self.ended, self.is_refused) = (None, false);
            self.hurry(now);
        }
    }

    /// Connects at once, unless the server asked not to.
    pub fn hurry(&mut self, now: u64) {
        (self.attempt, self.retry_at) = (0, now.max(self.not_before));
    }

    /// Replaces the socket, because the server does not know it.
    pub fn replace(&mut self, now: u64) {
        if let Some(live) = &mut self.current {
            live.move_at = now;
        }
    }

    /// Ends the session.
    pub fn end(&mut self) -> Vec<Step> {
        self.ended.get_or_insert_with(|| "left".to_owned());
        let sockets = [self.current.take().map(|live| live.socket), self.next.take().map(|(socket, _)| socket)];
        sockets.into_iter().flatten().map(Step::Close).collect()
    }

    /// Returns whether a socket is the open one.
    #[must_use]
    pub fn is_current(&self, socket: u64) -> bool {
        self.current.as_ref().is_some_and(|live| live.socket == socket)
    }

    fn is_next(&self, socket: u64) -> bool {
        self.next.is_some_and(|(next, _)| next == socket)
    }

    /// Returns the time of the next handshake.
    fn open_at(&self) -> Option<u64> {
        if self.ended.is_some() || self.next.is_some() {
            return None;
        }
        let needed = self.current.as_ref().map_or(0, |live| live.move_at);
        Some(needed.max(self.retry_at))
    }

    fn lost(&mut self, end: End, now: u64, chance: &mut Chance) -> TokenFor {
        let Some(live) = self.current.take() else { return TokenFor::Current };
        if now.saturating_sub(live.opened_at) >= STABLE_AFTER {
            self.attempt = 0;
        }
        if let Some((reason, false, _)) = live.closing {
            self.ended = Some(reason.name().to_owned());
        } else if end.code.is_some_and(|code| BROKEN_PROTOCOL.contains(&code)) {
            self.ended = Some("broken_protocol".to_owned());
        }
        // The next socket may be on its way already.
        if self.next.is_none() {
            self.failed(0, now, chance);
        }
        let is_expired = live.closing.is_some_and(|(reason, _, _)| reason == ClosingReason::TokenExpired);
        if is_expired { TokenFor::Fresh } else { TokenFor::Current }
    }

    fn failed(&mut self, at_least: u64, now: u64, chance: &mut Chance) {
        self.not_before = now.saturating_add(at_least);
        self.retry_at = now.saturating_add(chance.wait(self.attempt).max(at_least));
        self.attempt = self.attempt.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(session: &mut Session, socket: u64, now: u64, chance: &mut Chance) {
        assert!(session.wants_socket(now));
        session.opening(socket, now);
        assert!(!session.wants_socket(now));
        assert!(session.opened(socket, now, chance).is_empty());
    }

    #[test]
    fn a_lost_socket_is_opened_again_after_a_wait() {
        let (mut session, mut chance) = (Session::new(Vec::new()), Chance::new(1));
        opened(&mut session, 1, 0, &mut chance);
        assert_eq!(session.state(0), State::Live);
        assert_eq!(session.closed(1, End::default(), 100, &mut chance), TokenFor::Current);
        let at = session.deadline().unwrap();
        assert!((100..=600).contains(&at) && session.wants_socket(at));
    }

    #[test]
    fn a_socket_without_a_response_is_left() {
        let (mut session, mut chance) = (Session::new(Vec::new()), Chance::new(1));
        opened(&mut session, 1, 0, &mut chance);
        assert_eq!(session.deadline(), Some(PING_EVERY));
        assert!(matches!(session.tick(PING_EVERY, &mut chance)[..], [Step::Send(1, _)]));
        assert!(session.tick(PING_EVERY + PONG_WITHIN - 1, &mut chance).is_empty());
        let pong = Frame::Pong { connection_id: "one=".to_owned() };
        session.take(1, &pong, PING_EVERY + 50);
        assert!(session.tick(PING_EVERY + PONG_WITHIN, &mut chance).is_empty());
        session.check(PING_EVERY + 20_000);
        let late = PING_EVERY + 20_000 + PONG_WITHIN;
        assert_eq!(session.tick(late, &mut chance), [Step::Close(1)]);
        assert!(!session.has(1));
    }

    #[test]
    fn a_channel_that_is_added_during_a_handshake_gets_a_socket() {
        let (mut session, mut chance) = (Session::new(vec!["a".to_owned()]), Chance::new(1));
        session.opening(1, 0);
        session.add("b", 5);
        assert!(session.opened(1, 10, &mut chance).is_empty());
        assert!(session.wants_socket(10), "the socket does not receive it");
        session.opening(2, 10);
        assert_eq!(session.opened(2, 20, &mut chance), [Step::Close(1)]);
        assert!(!session.wants_socket(60_000));
    }

    #[test]
    fn a_network_that_comes_back_does_not_shorten_the_time_that_the_server_has_named() {
        let (mut session, mut chance) = (Session::new(Vec::new()), Chance::new(1));
        session.opening(1, 0);
        let busy = End { status: Some(429), retry_after: Some(9_000), ..End::default() };
        session.closed(1, busy, 10, &mut chance);
        session.hurry(100);
        assert_eq!(session.deadline(), Some(9_010));
        session.retry_now(100);
        assert_eq!(session.deadline(), Some(9_010));
        session.opening(2, 9_010);
        session.closed(2, End { status: Some(503), ..End::default() }, 9_020, &mut chance);
        session.hurry(9_030);
        assert!(session.wants_socket(9_030));
    }

    #[test]
    fn a_refusal_is_not_repeated() {
        for reconnect in [false, true] {
            let (mut session, mut chance) = (Session::new(Vec::new()), Chance::new(1));
            opened(&mut session, 1, 0, &mut chance);
            let closing = Frame::Closing { reason: ClosingReason::TokenExpired, reconnect };
            session.take(1, &closing, 10);
            let code = Some(1000);
            assert_eq!(session.closed(1, End { code, ..End::default() }, 20, &mut chance), TokenFor::Fresh);
            assert_eq!(session.wants_socket(60_000), reconnect);
            session.retry_now(60_000);
            assert!(session.wants_socket(60_000));
        }
        for (end, is_final) in [
            (End { status: Some(404), ..End::default() }, true),
            (End { status: Some(429), retry_after: Some(9_000), ..End::default() }, false),
            (End::default(), false),
        ] {
            let (mut session, mut chance) = (Session::new(vec!["general".to_owned()]), Chance::new(1));
            session.opening(1, 0);
            session.closed(1, end, 10, &mut chance);
            assert_eq!(session.deadline().is_none(), is_final, "{end:?}");
            assert!(session.deadline().is_none_or(|at| at >= end.retry_after.unwrap_or_default()));
        }
    }

    #[test]
    fn a_removed_channel_is_not_named_again() {
        let names = ["a", "b"].map(str::to_owned);
        let (mut session, mut chance) = (Session::new(names.to_vec()), Chance::new(1));
        opened(&mut session, 1, 0, &mut chance);
        assert!(session.remove("a").is_empty() && session.remove("c").is_empty());
        assert!(session.receives("b") && !session.receives("a"));
        assert_eq!(session.remove("b"), [Step::Close(1)]);
        session.retry_now(10);
        assert!(!session.wants_socket(60_000) && !session.receives("b"), "no socket with all channels");
        session.add("c", 20);
        assert!(session.wants_socket(20) && session.receives("c"));
    }

    #[test]
    fn a_refused_channel_does_not_end_the_others() {
        let (mut session, mut chance) = (Session::new(vec!["a".to_owned()]), Chance::new(1));
        opened(&mut session, 1, 0, &mut chance);
        session.add("b", 10);
        session.opening(2, 10);
        session.closed(2, End { status: Some(403), ..End::default() }, 20, &mut chance);
        assert_eq!(session.state(20), State::Live, "the open socket still receives the first channel");
        assert!(!session.wants_socket(60_000), "the same handshake is not repeated");
        assert!(session.remove("b").is_empty());
        session.closed(1, End::default(), 60_000, &mut chance);
        assert!(session.wants_socket(120_000) && session.channels() == ["a"]);
        // A connection that the server excludes stays so.
        session.opening(3, 120_000);
        session.opened(3, 120_010, &mut chance);
        session.add("b", 120_020);
        session.take(3, &Frame::Closing { reason: ClosingReason::Removed, reconnect: false }, 120_030);
        session.closed(3, End::default(), 120_040, &mut chance);
        session.remove("b");
        assert!(!session.wants_socket(240_000));
    }

    #[test]
    fn an_old_socket_is_replaced_without_a_gap() {
        let (mut session, mut chance) = (Session::new(Vec::new()), Chance::new(5));
        opened(&mut session, 1, 0, &mut chance);
        assert!(!session.wants_socket(MOVE_AFTER - 1));
        let now = MOVE_AFTER + MOVE_WITHIN;
        assert!(session.wants_socket(now) && now < 2 * 3_600_000);
        session.opening(2, now);
        assert_eq!(session.state(now), State::Live);
        assert_eq!(session.opened(2, now + 5, &mut chance), [Step::Close(1)]);
        assert_eq!(session.closed(1, End::default(), now + 6, &mut chance), TokenFor::Current);
        assert_eq!(session.state(now + 6), State::Live);
    }
}
