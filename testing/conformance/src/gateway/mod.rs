//! A model of the server, which follows `contracts/`. It knows nothing of networks and faults.

pub(crate) mod answer;
pub(crate) mod channel;
pub(crate) mod message;
mod routes;
mod sends;
pub(crate) mod time;
pub(crate) mod token;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::{channel::Channel, time::timestamp, token::Claims};
use crate::protocol::Handshake;

/// Most channels of one socket.
pub(crate) const SOCKET_CHANNELS: usize = 100;
/// Longest life of a socket.
pub(crate) const SOCKET_MS: u64 = 2 * 60 * 60 * 1000;
/// Time after which a socket without frames is closed.
pub(crate) const IDLE_MS: u64 = 10 * 60 * 1000;
const TICKET_MS: u64 = 60 * 1000;

/// A socket that the server has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) channels: Vec<String>,
    pub(crate) opened_at: u64,
    /// End of the token or of the 2 hours.
    pub(crate) expires_at: u64,
    /// Time of the last frame in either direction.
    pub(crate) active_at: u64,
}

#[derive(Debug, Clone)]
struct Ticket {
    channels: Option<Vec<String>>,
    ends_at: u64,
    token_ends_at: u64,
}

/// The server.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) user_id: String,
    pub(crate) channels: BTreeMap<String, Channel>,
    /// By the number that the client gave to the socket.
    pub(crate) connections: BTreeMap<u64, Connection>,
    /// Tokens that were issued earlier, in seconds, are refused.
    pub(crate) revoked_before: u64,
    tickets: BTreeMap<String, Ticket>,
    made: u64,
}

impl Gateway {
    pub(crate) fn new(user_id: &str, channels: &[String]) -> Self {
        Self {
            user_id: user_id.to_owned(),
            channels: channels.iter().map(|id| (id.clone(), Channel::new(id))).collect(),
            connections: BTreeMap::new(),
            revoked_before: 0,
            tickets: BTreeMap::new(),
            made: 0,
        }
    }

    /// Reads a token. Fails with the code of the problem.
    pub(crate) fn claims(&self, token: Option<&str>, now: u64) -> Result<Claims, &'static str> {
        let claims = Claims::read(token.ok_or("missing_token")?).ok_or("invalid_token")?;
        if claims.issued_at < self.revoked_before {
            return Err("invalid_token");
        }
        if claims.expires_at * 1000 <= now { Err("token_expired") } else { Ok(claims) }
    }

    /// Accepts a handshake. Fails with the status.
    pub(crate) fn open(&mut self, handshake: &Handshake, now: u64) -> Result<Connection, u16> {
        let parameters = handshake.parameters();
        let (named, token_ends_at) = match parameters.get("ticket") {
            Some(_) if parameters.contains_key("channels") => return Err(400),
            Some(ticket) => {
                let ticket = self.tickets.remove(ticket).filter(|ticket| ticket.ends_at > now).ok_or(401_u16)?;
                (ticket.channels, ticket.token_ends_at)
            }
            None => {
                let claims = self.claims(handshake.token(), now).map_err(|_| 401_u16)?;
                let named = parameters.get("channels").map(|ids| ids.split(',').map(str::to_owned).collect());
                (named, claims.expires_at * 1000)
            }
        };
        let channels: Vec<String> = if let Some(ids) = named {
            if ids.is_empty() || ids.len() > SOCKET_CHANNELS {
                return Err(400);
            }
            if ids.iter().any(|id| !self.is_readable(id)) {
                return Err(403);
            }
            ids
        } else {
            let readable = self.channels.values().filter(|channel| !channel.is_hidden);
            readable.map(|channel| channel.id.clone()).take(SOCKET_CHANNELS).collect()
        };
        self.made += 1;
        let connection = Connection {
            id: format!("Connection{}=", self.made),
            channels,
            opened_at: now,
            expires_at: token_ends_at.min(now + SOCKET_MS),
            active_at: now,
        };
        self.connections.insert(handshake.id, connection.clone());
        Ok(connection)
    }

    /// Returns the first frame of a socket.
    pub(crate) fn hello(&self, connection: &Connection, now: u64) -> Value {
        let readable = self.channels.values().filter(|channel| !channel.is_hidden).count();
        let left_out =
            if connection.channels.len() == SOCKET_CHANNELS { readable.saturating_sub(SOCKET_CHANNELS) } else { 0 };
        json!({
            "type": "hello",
            "connection_id": connection.id,
            "user_id": self.user_id,
            "expires_at": timestamp(connection.expires_at),
            "server_time": timestamp(now),
            "channels_left_out": left_out,
        })
    }

    /// Answers a frame of the client.
    pub(crate) fn receive(&mut self, socket: u64, text: &str, now: u64) -> Option<Value> {
        let connection = self.connections.get_mut(&socket)?;
        connection.active_at = now;
        let frame: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let is_ping = text == "ping" || frame["action"] == "ping" || frame["type"] == "ping";
        Some(if is_ping {
            json!({"type": "pong", "connection_id": connection.id})
        } else {
            json!({"type": "error", "code": "receive_only", "message": "send messages over REST"})
        })
    }

    pub(crate) fn is_readable(&self, channel_id: &str) -> bool {
        self.channels.get(channel_id).is_some_and(|channel| !channel.is_hidden)
    }
}

#[cfg(test)]
mod tests;
