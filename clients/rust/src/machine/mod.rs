//! The whole client without I/O: it takes what happens, and returns what to do.

mod io;
mod sockets;
mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use self::io::{Action, Answer, Connection, Input, Request};

use crate::{
    ChannelLog, Entry, NewMessage, Problem, Sent,
    chance::{Chance, milliseconds},
    session::{Session, State, Step},
    sync::ChannelSync,
    time,
    token::{ServerClock, Tokens},
};

/// Maximum number of channels of one socket.
const CHANNELS_OF_A_SOCKET: usize = 100;

/// Maximum number of reads in flight.
const READS: usize = 4;

/// Purpose of a request in flight.
#[derive(Debug)]
enum Purpose {
    Read { channel: String },
    Send { channel: String, key: String },
    Renew { socket: u64, serial: u64 },
}

/// A request in flight.
#[derive(Debug)]
struct InFlight {
    purpose: Purpose,
    token: String,
    /// Time after which it counts as unanswered.
    by: u64,
}

/// Opening of a socket, and renewals of its token.
#[derive(Debug)]
struct Opened {
    session: usize,
    /// Token of the handshake.
    token: String,
    /// Number of the token that the server has for the socket.
    serial: u64,
    is_renewing: bool,
    attempt: u32,
    not_before: u64,
}

/// A client of one user. Times are milliseconds of any clock that only goes forward.
#[derive(Debug)]
pub struct Core {
    chance: Chance,
    user_id: String,
    clock: ServerClock,
    tokens: Tokens,
    /// Number of the held token.
    serial: u64,
    sessions: Vec<Session>,
    sockets: BTreeMap<u64, Opened>,
    channels: BTreeMap<String, ChannelSync>,
    requests: BTreeMap<u64, InFlight>,
    /// Whether the user of this client waits for a token.
    wants_token: bool,
    next_id: u64,
    is_online: bool,
    is_closed: bool,
    now: u64,
    shown: Option<Connection>,
    actions: VecDeque<Action>,
}

impl Core {
    /// Creates a client that listens to `channels`; if there are none, to all channels of its user. `user_id` may be empty:
    /// the server tells it.
    #[must_use]
    pub fn new(seed: u64, user_id: &str, channels: &[String]) -> Self {
        let sessions = match channels {
            [] => vec![Session::new(Vec::new())],
            _ => channels.chunks(CHANNELS_OF_A_SOCKET).map(|some| Session::new(some.to_vec())).collect(),
        };
        Self {
            chance: Chance::new(seed),
            user_id: user_id.to_owned(),
            clock: ServerClock::default(),
            tokens: Tokens::default(),
            serial: 0,
            sessions,
            sockets: BTreeMap::new(),
            channels: BTreeMap::new(),
            requests: BTreeMap::new(),
            wants_token: false,
            next_id: 0,
            is_online: true,
            is_closed: false,
            now: 0,
            shown: None,
            actions: VecDeque::new(),
        }
    }

    /// Returns what to do next. Repeated until there is nothing.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the time at which [`Input::Time`] is expected, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        if self.is_closed {
            return None;
        }
        let of_sessions = self.sessions.iter().filter_map(Session::deadline);
        let of_channels = self.channels.values().flat_map(|sync| [sync.due().map(|due| due.0), sync.outbox.due()]);
        let of_sockets = self.sockets.values().map(|opened| opened.not_before);
        let of_token = self.needs_token().then(|| self.tokens.fetch_at(self.clock, self.now)).flatten();
        let of_requests = self.requests.values().map(|one| one.by);
        let all = of_sessions.chain(of_channels.flatten()).chain(of_sockets).chain(of_token).chain(of_requests);
        // What is due already waits for something else, such as a token.
        all.filter(|at| *at > self.now).min()
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, input: Input, now: u64) {
        self.now = self.now.max(now);
        match input {
            Input::Time => {}
            Input::Opened { socket } => self.opened(socket),
            Input::Frame { socket, text } => self.frame(socket, &text),
            Input::Closed { socket, end } => self.closed(socket, end),
            Input::Token(Some(text)) => {
                if self.tokens.take(text, self.now) {
                    self.serial += 1;
                }
            }
            Input::Token(None) => self.tokens.failed(self.now, &mut self.chance),
            Input::Answer(answer) => self.answer(&answer),
            Input::NoAnswer { id } => self.no_answer(id),
            Input::Online(is_online) => self.online(is_online),
        }
        self.work();
    }

    /// Opens a channel: its messages are read and kept complete.
    pub fn open(&mut self, channel: &str, now: u64) {
        let is_open = self.channels.contains_key(channel);
        if !is_open {
            let mut sync = ChannelSync::new(&self.user_id);
            let is_new = self.listen_to(channel);
            let mut sessions = self.sessions.iter();
            let session = sessions.find(|session| session.receives(channel));
            match session.map(|session| session.state(self.now)) {
                Some(State::Live) if !is_new => sync.connected(),
                Some(State::Waiting(_) | State::Closed(_)) => sync.disconnected(),
                _ => {}
            }
            self.channels.insert(channel.to_owned(), sync);
        }
        self.handle(Input::Time, now);
    }

    /// Sends a message. Returns its key.
    pub fn send(&mut self, channel: &str, message: NewMessage, now: u64) -> String {
        let key = self.chance.key();
        self.open(channel, now);
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.send(key.clone(), message);
        }
        self.changed(channel);
        self.handle(Input::Time, now);
        key
    }

    /// Sends a refused message again, with the same key.
    pub fn retry(&mut self, channel: &str, key: &str, now: u64) {
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.outbox.retry(key);
        }
        self.changed(channel);
        self.handle(Input::Time, now);
    }

    /// Drops a message that is not stored yet. The next one is sent.
    pub fn discard(&mut self, channel: &str, key: &str) {
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.outbox.settle(key);
        }
        self.changed(channel);
        self.work();
    }

    /// Reads a page of messages before the oldest held one.
    pub fn load_earlier(&mut self, channel: &str, now: u64) {
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.load_earlier();
        }
        self.handle(Input::Time, now);
    }

    /// Connects and reads again, also after refusals: at once, or when the server's `Retry-After` has passed.
    pub fn retry_now(&mut self, now: u64) {
        self.sessions.iter_mut().for_each(|session| session.retry_now(now));
        self.channels.values_mut().for_each(ChannelSync::retry);
        let opened: Vec<String> = self.channels.keys().cloned().collect();
        for channel in opened {
            self.listen_to(&channel);
        }
        self.handle(Input::Time, now);
    }

    /// Checks that the sockets still work, such as after a sleep of the device.
    pub fn check(&mut self, now: u64) {
        let steps: Vec<Step> = self.sessions.iter_mut().filter_map(|session| session.check(now)).collect();
        self.follow(steps);
        self.handle(Input::Time, now);
    }

    /// Asks for a token that is valid: [`Core::token`] has it later.
    pub fn want_token(&mut self, now: u64) {
        self.wants_token = true;
        self.handle(Input::Time, now);
    }

    /// Returns the token, if it is valid.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.tokens.valid(self.clock, self.now)
    }

    /// Notes that the server does not accept a token.
    pub fn refuse_token(&mut self, token: &str, now: u64) {
        self.tokens.refuse(token);
        self.want_token(now);
    }

    /// Takes a message as a response of the server has it, such as that to an edit.
    pub fn take_message(&mut self, channel: &str, message: crate::Message) {
        if let Some(sync) = self.channels.get_mut(channel) {
            sync.log.take_message(message);
        }
        self.changed(channel);
    }

    /// Closes all sockets, for good.
    pub fn close(&mut self) {
        self.is_closed = true;
        let steps: Vec<Step> = self.sessions.iter_mut().flat_map(Session::end).collect();
        self.follow(steps);
        self.show();
    }

    /// Returns the messages and drafts of an open channel.
    #[must_use]
    pub fn log(&self, channel: &str) -> Option<&ChannelLog> {
        self.channels.get(channel).map(|sync| &sync.log)
    }

    /// Returns the messages of an open channel that are not stored yet.
    #[must_use]
    pub fn outbox(&self, channel: &str) -> &[Entry] {
        self.channels.get(channel).map(|sync| sync.outbox.entries()).unwrap_or_default()
    }

    /// Returns the refusal that ended the reading of a channel. A channel that is not found is left out of later sockets, so
    /// that the others are received. [`Core::retry_now`] tries it again.
    #[must_use]
    pub fn refusal(&self, channel: &str) -> Option<&Problem> {
        self.channels.get(channel)?.refusal.as_ref()
    }

    /// Returns the id of an open connection of this client, once the server has told it.
    #[must_use]
    pub fn connection_id(&self) -> Option<&str> {
        self.sessions.iter().find_map(Session::connection_id)
    }

    /// Returns the state of the connection: that of the socket that is worst off.
    #[must_use]
    pub fn state(&self) -> Connection {
        let used = self.sessions.iter().filter(|session| !session.is_unused());
        let states = || used.clone().map(|session| session.state(self.now));
        if states().next().is_none() {
            return Connection::Closed { reason: "left".to_owned() };
        }
        for state in states() {
            if let State::Closed(reason) = state {
                return Connection::Closed { reason };
            }
        }
        if states().all(|state| state == State::Live) {
            return Connection::Live;
        }
        if !self.is_online {
            return Connection::Offline;
        }
        let waits = states().filter_map(|state| if let State::Waiting(at) = state { Some(at) } else { None });
        waits.max().map_or(Connection::Connecting, |retry_at| Connection::Waiting { retry_at })
    }

    /// Adds a channel to the subscription. Returns whether a socket must be opened for it.
    fn listen_to(&mut self, channel: &str) -> bool {
        if self.sessions.iter().any(|session| session.receives(channel)) {
            return false;
        }
        let now = self.now;
        match self.sessions.iter_mut().find(|session| session.channels().len() < CHANNELS_OF_A_SOCKET) {
            Some(session) => session.add(channel, now),
            None => self.sessions.push(Session::new(vec![channel.to_owned()])),
        }
        true
    }

    fn answer(&mut self, answer: &Answer) {
        if let Some(time) = answer.date.as_deref().and_then(time::of_http_date) {
            self.clock.learn(time, self.now);
        }
        let Some(InFlight { purpose, token, .. }) = self.requests.remove(&answer.id) else { return };
        let is_success = (200..300).contains(&answer.status);
        // A response of 429 or 5xx may come from a part that does not read tokens.
        if answer.status == 401 {
            self.tokens.refuse(&token);
        } else if is_success {
            self.tokens.accepted(&token);
        }
        let problem = (!is_success).then(|| Problem::of(answer.status, answer.retry_after, &answer.body));
        let (now, chance) = (self.now, &mut self.chance);
        match purpose {
            Purpose::Read { channel } => {
                let Some(sync) = self.channels.get_mut(&channel) else { return };
                match problem {
                    Some(problem) if problem.status == 401 => sync.repeat(),
                    Some(problem) => sync.refused(problem, now, chance),
                    None if sync.take(&answer.body) => {}
                    None => sync.failed(0, now, chance),
                }
                // A handshake that names it is refused, also for the other channels.
                if sync.is_hidden() {
                    self.leave(&channel);
                }
                self.changed(&channel);
            }
            Purpose::Send { channel, key } => {
                let Some(sync) = self.channels.get_mut(&channel) else { return };
                match problem {
                    Some(problem) if problem.status == 401 => sync.outbox.repeat(&key),
                    Some(problem) if problem.is_transient() => {
                        sync.outbox.failed(&key, problem.retry_after.map_or(0, milliseconds), now, chance);
                    }
                    Some(problem) => sync.outbox.refused(&key, problem),
                    None => {
                        sync.outbox.settle(&key);
                        // A response that cannot be parsed is replaced by the frame of the message.
                        if let Ok(sent) = serde_json::from_slice::<Sent>(&answer.body) {
                            sync.log.take_sent(sent);
                        }
                    }
                }
                self.changed(&channel);
            }
            Purpose::Renew { socket, serial } => self.renewed(socket, serial, problem.as_ref()),
        }
    }

    fn no_answer(&mut self, id: u64) {
        let Some(InFlight { purpose, .. }) = self.requests.remove(&id) else { return };
        let (now, chance) = (self.now, &mut self.chance);
        match purpose {
            Purpose::Read { channel } => {
                if let Some(sync) = self.channels.get_mut(&channel) {
                    sync.failed(0, now, chance);
                }
            }
            Purpose::Send { channel, key } => {
                if let Some(sync) = self.channels.get_mut(&channel) {
                    sync.outbox.failed(&key, 0, now, chance);
                }
                self.changed(&channel);
            }
            Purpose::Renew { socket, serial } => {
                self.renewed(socket, serial, Some(&Problem { status: 503, ..Problem::default() }));
            }
        }
    }

    /// Takes the response to a renewal. The server closes a socket that was not renewed, and tells why.
    fn renewed(&mut self, socket: u64, serial: u64, problem: Option<&Problem>) {
        let Some(opened) = self.sockets.get_mut(&socket) else { return };
        opened.is_renewing = false;
        match problem {
            Some(problem) if problem.is_transient() => {
                let wait = self.chance.wait(opened.attempt).max(problem.retry_after.map_or(0, milliseconds));
                opened.not_before = self.now.saturating_add(wait);
                opened.attempt = opened.attempt.saturating_add(1);
            }
            Some(problem) if problem.status == 401 => {}
            Some(problem) => {
                opened.serial = serial;
                // The server does not know the connection.
                if problem.status == 404
                    && let Some(session) = self.sessions.get_mut(opened.session)
                {
                    session.replace(self.now);
                }
            }
            None => (opened.serial, opened.attempt) = (serial, 0),
        }
    }

    fn follow(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.actions.push_back(match step {
                Step::Send(socket, text) => Action::Send { socket, text: text.to_owned() },
                Step::Close(socket) => {
                    self.sockets.remove(&socket);
                    self.channels.values_mut().for_each(ChannelSync::disconnected);
                    Action::Close { socket }
                }
            });
        }
    }

    fn changed(&mut self, channel: &str) {
        self.actions.push_back(Action::Changed { channel: channel.to_owned() });
    }

    fn show(&mut self) {
        let state = self.state();
        if self.shown.as_ref() != Some(&state) {
            self.shown = Some(state.clone());
            self.actions.push_back(Action::State(state));
        }
    }

    fn needs_token(&self) -> bool {
        self.wants_token
            || self.sessions.iter().any(|session| session.deadline().is_some())
            || self.channels.values().any(|sync| sync.due().is_some() || sync.outbox.due().is_some())
    }
}
