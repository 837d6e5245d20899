//! Sockets of the reference client, one for each 100 channels.

use serde_json::{Value, json};

use crate::{
    bug::Bug,
    reference::{Alarm, Reference},
};

const PING_MS: u64 = 4 * 60_000;
const PONG_MS: u64 = 10_000;
const MINUTE_MS: i64 = 60_000;
const SOCKET_MS: i64 = 2 * 60 * MINUTE_MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Wanted,
    Opening,
    Open,
    Waiting,
}

/// The socket of a group of channels, and the next one while it replaces the first.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    channels: Vec<String>,
    pub(crate) phase: Phase,
    pub(crate) attempt: u32,
    socket: u64,
    next: Option<u64>,
    connection_id: String,
    opened_at: i64,
}

impl Link {
    pub(crate) fn new(channels: Vec<String>) -> Self {
        let connection_id = String::new();
        Self { channels, phase: Phase::Wanted, attempt: 0, socket: 0, next: None, connection_id, opened_at: 0 }
    }
}

fn millis(value: &Value) -> i64 {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_millisecond)
}

impl Reference {
    fn link_of(&self, socket: u64) -> Option<usize> {
        self.links.iter().position(|link| link.socket == socket || link.next == Some(socket))
    }

    pub(crate) fn connect_all(&mut self) {
        for at in 0..self.links.len() {
            if self.links[at].phase == Phase::Wanted && (!self.is_refused || self.has(Bug::ReconnectsAfterRefusal)) {
                let socket = self.handshake(at);
                let link = &mut self.links[at];
                (link.phase, link.socket) = (Phase::Opening, socket);
            }
        }
    }

    fn handshake(&mut self, at: usize) -> u64 {
        let socket = self.id();
        let url = format!("wss://kit.test/?channels={}", self.links[at].channels.join(","));
        let token = self.token.clone().unwrap_or_default();
        self.order(&json!({"do": "socket", "id": socket, "url": url, "protocols": ["bearer", token]}));
        socket
    }

    pub(crate) fn opened(&mut self, socket: u64) {
        let Some(at) = self.link_of(socket) else { return };
        let now = self.now;
        let link = &mut self.links[at];
        let earlier = (link.next == Some(socket)).then_some(link.socket);
        (link.socket, link.next, link.phase, link.attempt, link.opened_at) = (socket, None, Phase::Open, 0, now);
        if let Some(earlier) = earlier {
            self.order(&json!({"do": "close", "socket": earlier}));
        }
        self.wait(PING_MS, Alarm::Ping(at, socket));
        if !self.has(Bug::NoCatchUp) {
            for id in self.links[at].channels.clone() {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.must_recover = log.known.is_some();
                }
            }
        }
    }

    pub(crate) fn closed(&mut self, socket: u64) {
        let Some(at) = self.link_of(socket) else { return };
        let link = &mut self.links[at];
        if link.next == Some(socket) {
            link.next = None;
            self.token = None;
            self.wait(5_000, Alarm::Renew(at, self.links[at].socket));
            return;
        }
        // The status of a refused handshake is not visible: the token may be the reason.
        if link.phase == Phase::Opening && !self.has(Bug::TokenKept) {
            self.token = None;
        }
        self.lost(at);
    }

    fn lost(&mut self, at: usize) {
        if self.is_refused && !self.has(Bug::ReconnectsAfterRefusal) || self.has(Bug::NeverReconnects) {
            return;
        }
        let attempt = self.links[at].attempt;
        self.links[at].phase = Phase::Waiting;
        self.links[at].attempt += 1;
        let ms = self.backoff(attempt);
        self.wait(ms, Alarm::Connect(at));
    }

    pub(crate) fn fire_link(&mut self, alarm: &Alarm) {
        match *alarm {
            Alarm::Connect(at) if self.links[at].phase == Phase::Waiting => self.links[at].phase = Phase::Wanted,
            Alarm::Ping(at, socket) if self.links[at].socket == socket && self.links[at].phase == Phase::Open => {
                self.order(&json!({"do": "send", "socket": socket, "text": "{\"action\":\"ping\"}"}));
                self.links[at].connection_id.push('?');
                self.wait(PONG_MS, Alarm::Pong(at, socket));
                self.wait(PING_MS, Alarm::Ping(at, socket));
            }
            Alarm::Pong(at, socket)
                if self.links[at].socket == socket
                    && self.links[at].phase == Phase::Open
                    && self.links[at].connection_id.ends_with('?') =>
            {
                self.order(&json!({"do": "close", "socket": socket}));
                self.links[at].socket = 0;
                self.lost(at);
            }
            Alarm::Renew(at, socket) if self.links[at].socket == socket && self.links[at].phase == Phase::Open => {
                self.renew_link(at);
            }
            _ => {}
        }
    }

    /// Renews the token of a socket; near the end of its 2 hours, opens the next one.
    fn renew_link(&mut self, at: usize) {
        if self.links[at].opened_at + SOCKET_MS - self.now < 3 * MINUTE_MS {
            if self.links[at].next.is_none() && self.token.is_some() {
                let socket = self.handshake(at);
                self.links[at].next = Some(socket);
            }
            return;
        }
        let id = self.links[at].connection_id.trim_end_matches('?').to_owned();
        self.renewing.push((at, id));
        if self.now - self.token_at >= MINUTE_MS {
            self.token = None;
        }
    }

    pub(crate) fn renewed(&mut self, at: usize, status: u64, body: &Value) {
        let socket = self.links[at].socket;
        if status == 200 {
            let left = millis(&body["expires_at"]) - self.server_now();
            self.renew_after(at, socket, left);
        } else if status != 404 {
            self.wait(10_000, Alarm::Renew(at, socket));
        }
    }

    fn renew_after(&mut self, at: usize, socket: u64, left: i64) {
        if !self.has(Bug::NeverRenews) {
            let ms = u64::try_from(left - MINUTE_MS).unwrap_or(0).max(1000);
            self.wait(ms, Alarm::Renew(at, socket));
        }
    }

    fn server_now(&self) -> i64 {
        if self.has(Bug::DeviceClock) { self.now } else { self.now + self.server_ahead }
    }

    pub(crate) fn frame(&mut self, socket: u64, frame: &Value) {
        let Some(at) = self.link_of(socket) else { return };
        let id = frame["channel_id"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "hello" => {
                let is_first = self.links[at].connection_id.trim_end_matches('?') != frame["connection_id"];
                frame["connection_id"].as_str().unwrap_or_default().clone_into(&mut self.links[at].connection_id);
                self.server_ahead = millis(&frame["server_time"]) - self.now;
                if is_first {
                    let left = millis(&frame["expires_at"]) - self.server_now();
                    self.renew_after(at, socket, left);
                }
            }
            "pong" => {
                let id = self.links[at].connection_id.trim_end_matches('?').to_owned();
                self.links[at].connection_id = id;
            }
            "closing" => {
                self.is_refused |= frame["reconnect"] == false;
                if frame["reason"] == "token_expired" {
                    self.token = None;
                }
            }
            "member.removed" => {
                for link in &mut self.links {
                    link.channels.retain(|channel| *channel != id);
                }
            }
            "events" => {
                let events = frame["events"].as_array().cloned().unwrap_or_default();
                if let Some(log) = self.logs.get_mut(&id) {
                    log.take_events(&events);
                }
                self.gap(&id);
                self.show(&id);
            }
            "message.delta" => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.take_delta(frame);
                }
                self.gap(&id);
                self.show(&id);
            }
            _ => {}
        }
    }
}
