//! Sockets, from their handshake to their end.

use serde_json::{Value, json};

use super::{Event, Wire, World};
use crate::{
    gateway::{IDLE_MS, SOCKET_MS, channel::Channel},
    plan::Kind,
    protocol::Handshake,
};

/// Time after the faults from which a client must renew its sockets.
const SETTLED_MS: u64 = 10 * 60 * 1000;

impl World<'_> {
    /// Sends a handshake of the client on its way.
    pub(super) fn connect(&mut self, handshake: Handshake) {
        // A socket that follows its ticket is part of the same attempt.
        if !handshake.parameters().contains_key("ticket") {
            self.judge.attempts(self.plan.kind, self.now);
        }
        self.wires.insert(handshake.id, Wire::default());
        let is_slow = self.has_fault(self.plan.faults.slow);
        let delay = self.dice.between(20, if is_slow { 5_000 } else { 200 });
        self.after(delay, Event::Handshake(handshake));
    }

    /// Accepts or refuses a handshake at the server.
    pub(super) fn shake_hands(&mut self, handshake: &Handshake) {
        let socket = handshake.id;
        if !self.wires.contains_key(&socket) {
            return;
        }
        let fails = self.is_outage || self.has_fault(self.plan.faults.handshake_fails);
        let opened = if fails { Err(503) } else { self.gateway.open(handshake, self.now) };
        let Ok(connection) = opened else {
            self.after(0, Event::Closed(socket, 1006));
            return;
        };
        if let Some(wire) = self.wires.get_mut(&socket) {
            wire.is_open = true;
        }
        self.judge.attempts_begin_again();
        self.judge.cause();
        let hello = self.gateway.hello(&connection, self.now);
        let delay = self.dice.between(1, 800);
        self.after(delay, Event::Frame(socket, hello.clone()));
        if self.dice.chance(10) {
            self.after(delay + 50, Event::Frame(socket, hello));
        }
        self.after(delay, Event::Drafts(socket));
        self.exchange(json!({"opened": socket}));
    }

    /// Pushes the whole text of each reply that is being written to a new socket.
    pub(super) fn push_drafts(&mut self, socket: u64) {
        let Some(connection) = self.gateway.connections.get(&socket) else { return };
        let channels = connection.channels.iter().filter_map(|id| self.gateway.channels.get(id));
        for frame in channels.flat_map(Channel::draft_frames).collect::<Vec<Value>>() {
            self.after(30, Event::Frame(socket, frame));
        }
    }

    /// Passes a frame to the client, if its socket is open.
    pub(super) fn pass_frame(&mut self, socket: u64, frame: &Value) {
        if !self.wires.get(&socket).is_some_and(|wire| wire.is_open && !wire.is_half_open) {
            return;
        }
        if let Some(connection) = self.gateway.connections.get_mut(&socket) {
            connection.active_at = connection.active_at.max(self.now);
        }
        if frame["type"] == "closing" {
            if frame["reason"] == "token_expired" {
                self.judge.token_refused();
            }
            if frame["reconnect"] == false {
                self.judge.refused(frame["reason"].as_str().unwrap_or_default());
            }
        }
        if frame["type"] != "pong" {
            self.judge.cause();
        }
        self.exchange(json!({"frame": {"socket": socket, "text": frame.to_string()}}));
    }

    /// Passes the end of a socket to the client.
    pub(super) fn pass_close(&mut self, socket: u64, code: u16) {
        let Some(wire) = self.wires.remove(&socket) else { return };
        self.gateway.connections.remove(&socket);
        if !wire.is_open {
            // Without a status, the client cannot know that the token was not the reason.
            self.judge.token_refused();
            self.judge.attempt_failed(self.now);
        }
        self.judge.cause();
        self.exchange(json!({"closed": {"socket": socket, "code": code}}));
    }

    /// Closes a socket for the client, which then receives its end.
    pub(super) fn close(&mut self, socket: u64) {
        let Some(wire) = self.wires.get(&socket).copied() else { return };
        self.gateway.connections.remove(&socket);
        if wire.is_open {
            let (delay, code) = if wire.is_half_open { (2_000, 1006) } else { (20, 1000) };
            self.after(delay, Event::Closed(socket, code));
        } else {
            // The end of a handshake that the client has dropped is no failure of an attempt.
            self.wires.remove(&socket);
        }
        if let Some(wire) = self.wires.get_mut(&socket) {
            wire.is_half_open = true;
        }
    }

    /// Cuts all open sockets.
    pub(super) fn cut(&mut self) {
        for socket in self.open_sockets() {
            self.gateway.connections.remove(&socket);
            let delay = self.dice.between(0, 500);
            self.after(delay, Event::Closed(socket, 1006));
        }
    }

    /// Stops all open sockets without closing them.
    pub(super) fn half_open(&mut self) {
        for wire in self.wires.values_mut().filter(|wire| wire.is_open) {
            wire.is_half_open = true;
        }
    }

    pub(super) fn open_sockets(&self) -> Vec<u64> {
        let open = self.wires.iter().filter(|(_, wire)| wire.is_open && !wire.is_half_open);
        open.map(|(socket, _)| *socket).collect()
    }

    /// Closes one socket with its reason, as the server does.
    pub(super) fn close_with(&mut self, socket: u64, reason: &str, reconnect: bool) {
        let frame = json!({"type": "closing", "reason": reason, "reconnect": reconnect});
        self.gateway.connections.remove(&socket);
        self.after(10, Event::Frame(socket, frame));
        self.after(200, Event::Closed(socket, 1000));
    }

    /// Closes sockets that are idle, old, or without a valid token, as the server does each minute.
    pub(super) fn sweep(&mut self) {
        let is_settled = !self.faults_on && self.now > self.calm_since + SETTLED_MS && self.is(Kind::Hours);
        let connections: Vec<_> = self.gateway.connections.clone().into_iter().collect();
        for (socket, connection) in connections {
            let is_old = connection.opened_at + SOCKET_MS <= self.now;
            let is_idle = connection.active_at + IDLE_MS <= self.now;
            if !is_old && !is_idle && connection.expires_at > self.now {
                continue;
            }
            if self.wires.get(&socket).is_some_and(|wire| wire.is_half_open) {
                // The end of this socket does not reach the client.
                self.gateway.connections.remove(&socket);
                continue;
            }
            if is_settled {
                let reason = match (is_old, is_idle) {
                    (true, _) => "its 2 hours",
                    (_, true) => "its silence",
                    _ => "its token",
                };
                self.judge.not_renewed(&connection, reason);
            }
            if is_old || is_idle {
                self.gateway.connections.remove(&socket);
                self.after(10, Event::Closed(socket, 1001));
            } else {
                self.close_with(socket, "token_expired", true);
            }
        }
    }

    /// Checks that open sockets receive all channels.
    pub(super) fn check_live(&mut self) {
        let open = self.open_sockets();
        let live: Vec<_> = self
            .gateway
            .connections
            .iter()
            .filter(|(socket, connection)| open.contains(socket) && connection.expires_at > self.now)
            .map(|(_, connection)| connection)
            .collect();
        self.judge.check_live(&self.gateway, &live);
    }
}
