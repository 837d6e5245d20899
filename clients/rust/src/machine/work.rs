//! Orders that follow from the state of a client.

use super::{Action, Core, InFlight, Opened, Purpose, READS, Request};
use crate::{
    session::{Session, Step},
    sync::Read,
};

/// Timeout of a request: one second more than API Gateway's own 29 s.
const ANSWER_WITHIN: u64 = 30_000;

impl Core {
    /// Does everything that is due.
    pub(super) fn work(&mut self) {
        if self.is_closed {
            return self.show();
        }
        let now = self.now;
        let mut steps: Vec<Step> = Vec::new();
        for session in &mut self.sessions {
            steps.extend(session.tick(now, &mut self.chance));
        }
        self.follow(steps);
        let late: Vec<u64> = self.requests.iter().filter(|(_, one)| one.by <= now).map(|(id, _)| *id).collect();
        for id in late {
            self.no_answer(id);
        }
        if self.needs_token() && self.tokens.fetch_at(self.clock, now).is_some_and(|at| at <= now) {
            self.tokens.fetching();
            self.actions.push_back(Action::Token);
        }
        if let Some(token) = self.tokens.valid(self.clock, now).map(str::to_owned) {
            self.wants_token = false;
            self.open_sockets(&token);
            self.renew(&token);
            self.read(&token);
            self.send_waiting(&token);
        }
        self.show();
    }

    fn open_sockets(&mut self, token: &str) {
        for (number, session) in self.sessions.iter_mut().enumerate() {
            if !session.wants_socket(self.now) {
                continue;
            }
            self.next_id += 1;
            let socket = self.next_id;
            session.opening(socket, self.now);
            let opened = Opened {
                session: number,
                token: token.to_owned(),
                serial: self.serial,
                is_renewing: false,
                attempt: 0,
                not_before: 0,
            };
            self.sockets.insert(socket, opened);
            let channels = session.channels().to_vec();
            self.actions.push_back(Action::Open { socket, channels, token: token.to_owned() });
        }
    }

    /// Renews the open sockets that were opened with an earlier token.
    fn renew(&mut self, token: &str) {
        let mut renewals = Vec::new();
        for (socket, opened) in &mut self.sockets {
            if opened.serial >= self.serial || opened.is_renewing || opened.not_before > self.now {
                continue;
            }
            let session = self.sessions.get(opened.session);
            if let Some(id) = session.filter(|session| session.is_current(*socket)).and_then(Session::connection_id) {
                opened.is_renewing = true;
                renewals.push((*socket, format!("/connections/{}/token", crate::path::segment(id))));
            }
        }
        for (socket, path) in renewals {
            let purpose = Purpose::Renew { socket, serial: self.serial };
            self.fetch(purpose, token, Request { method: "POST", path, ..empty() });
        }
    }

    fn read(&mut self, token: &str) {
        let in_flight = self.requests.values().filter(|one| matches!(one.purpose, Purpose::Read { .. })).count();
        let mut due: Vec<(u64, Read, String)> = Vec::new();
        for (channel, sync) in &self.channels {
            due.extend(sync.due().filter(|(at, _)| *at <= self.now).map(|(at, read)| (at, read, channel.clone())));
        }
        due.sort_by_key(|(at, ..)| *at);
        for (_, read, channel) in due.into_iter().take(READS.saturating_sub(in_flight)) {
            if let Some(sync) = self.channels.get_mut(&channel) {
                sync.begin(read);
            }
            let (end, query) = read.address();
            let path = format!("/channels/{}/{end}", crate::path::segment(&channel));
            self.fetch(Purpose::Read { channel }, token, Request { method: "GET", path, query, ..empty() });
        }
    }

    fn send_waiting(&mut self, token: &str) {
        let now = self.now;
        let mut sends = Vec::new();
        for (channel, sync) in &mut self.channels {
            if sync.outbox.due().is_none_or(|at| at > now) {
                continue;
            }
            if let Some(entry) = sync.outbox.send() {
                sends.push((channel.clone(), entry.key.clone(), serde_json::to_value(&entry.message).ok()));
            }
        }
        for (channel, key, body) in sends {
            let path = format!("/channels/{}/messages", crate::path::segment(&channel));
            let request = Request { method: "POST", path, key: Some(key.clone()), body, ..empty() };
            self.fetch(Purpose::Send { channel, key }, token, request);
        }
    }

    fn fetch(&mut self, purpose: Purpose, token: &str, request: Request) {
        self.next_id += 1;
        let (id, by) = (self.next_id, self.now.saturating_add(ANSWER_WITHIN));
        self.requests.insert(id, InFlight { purpose, token: token.to_owned(), by });
        self.actions.push_back(Action::Fetch(Request { id, token: token.to_owned(), ..request }));
    }
}

/// Returns a request without content.
fn empty() -> Request {
    Request {
        id: 0,
        method: "GET",
        path: String::new(),
        query: Vec::new(),
        token: String::new(),
        key: None,
        body: None,
    }
}
