//! Requests that read, and those of connections.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Gateway, SOCKET_CHANNELS, SOCKET_MS, TICKET_MS, Ticket,
    answer::Answer,
    channel::{Channel, Event},
    message::Message,
    time::{http_date, timestamp},
};
use crate::protocol::{Request, decode};

/// Items of a page without `limit`.
const PAGE: usize = 50;
/// Most items of a page.
const MAX_PAGE: usize = 100;

impl Gateway {
    /// Answers a request. Returns the events that sockets of the channel receive, with the channel.
    pub(crate) fn answer(&mut self, request: &Request, now: u64) -> (Answer, Option<(String, Vec<Event>)>) {
        let path = request.bare_path().trim_start_matches('/').to_owned();
        let parts: Vec<String> = path.split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (answer, events) = match self.claims(request.token(), now) {
            Err(code) => (Answer::problem(401, code), None),
            Ok(_) => match self.change(request, &parts, now) {
                Some((answer, events)) => {
                    let channel = parts.get(1).copied().unwrap_or_default();
                    (answer, (!events.is_empty()).then(|| (channel.to_owned(), events)))
                }
                None => (self.read(request, &parts, now), None),
            },
        };
        let answer = if answer.body.is_null() || answer.headers.contains_key("content-type") {
            answer
        } else {
            answer.with("content-type", "application/json".to_owned())
        };
        (answer.with("date", http_date(now)), events)
    }

    fn read(&mut self, request: &Request, parts: &[&str], now: u64) -> Answer {
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        match (method, parts) {
            ("GET", ["me"]) => Answer::ok(self.me(request, now)),
            ("GET", ["invitations"]) => Answer::ok(json!({"invitations": [], "has_more": false})),
            ("GET", ["channels"]) => self.list(&request.parameters()),
            ("POST", ["connections", "tickets"]) => self.ticket(request, now),
            ("POST", ["connections", id, "token"]) => self.renew(request, id, now),
            (_, ["channels", id, rest @ ..]) => {
                if !self.is_readable(id) {
                    return Answer::problem(404, "channel_not_found");
                }
                let user_id = self.user_id.clone();
                match self.channels.get_mut(*id) {
                    Some(channel) => in_channel(channel, request, method, rest, &user_id),
                    None => Answer::problem(404, "channel_not_found"),
                }
            }
            _ => Answer::problem(404, "no_such_route"),
        }
    }

    fn me(&self, request: &Request, now: u64) -> Value {
        let ends_at = self.claims(request.token(), now).map_or(now, |claims| claims.expires_at * 1000);
        json!({
            "user_id": self.user_id,
            "expires_at": timestamp(ends_at),
            "server_time": timestamp(now),
            "agent_name": "agent",
            "invites": false,
        })
    }

    fn list(&self, parameters: &BTreeMap<String, String>) -> Answer {
        let start = parameters.get("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let readable: Vec<&Channel> = self.channels.values().filter(|channel| !channel.is_hidden).collect();
        let limit = limit(parameters);
        let page: Vec<Value> =
            readable.iter().skip(start).take(limit).map(|channel| shape(channel, &self.user_id)).collect();
        let end = start + page.len();
        let mut body = json!({"channels": page, "has_more": end < readable.len()});
        if end < readable.len() {
            body["next"] = json!({"cursor": end.to_string()});
        }
        Answer::ok(body)
    }

    fn ticket(&mut self, request: &Request, now: u64) -> Answer {
        let body = request.json();
        let channels: Option<Vec<String>> = match &body["channels"] {
            Value::Array(ids) => Some(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()),
            _ => None,
        };
        if channels.as_ref().is_some_and(|ids| ids.len() > SOCKET_CHANNELS) {
            return Answer::problem(400, "invalid_request");
        }
        if channels.iter().flatten().any(|id| !self.is_readable(id)) {
            return Answer::problem(404, "channel_not_found");
        }
        let Ok(claims) = self.claims(request.token(), now) else { return Answer::problem(401, "token_expired") };
        self.made += 1;
        let name = format!("{:0>43}", self.made);
        let ends_at = now + TICKET_MS;
        self.tickets.insert(name.clone(), Ticket { channels, ends_at, token_ends_at: claims.expires_at * 1000 });
        Answer::new(201, json!({"ticket": name, "expires_at": timestamp(ends_at)}))
    }

    fn renew(&mut self, request: &Request, id: &str, now: u64) -> Answer {
        let Ok(claims) = self.claims(request.token(), now) else { return Answer::problem(401, "token_expired") };
        let Some(connection) = self.connections.values_mut().find(|connection| connection.id == id) else {
            return Answer::problem(404, "connection_not_found");
        };
        connection.expires_at = (claims.expires_at * 1000).min(connection.opened_at + SOCKET_MS);
        Answer::ok(json!({"connection_id": id, "expires_at": timestamp(connection.expires_at)}))
    }
}

fn in_channel(channel: &mut Channel, request: &Request, method: &str, rest: &[&str], user_id: &str) -> Answer {
    let parameters = request.parameters();
    let member = json!({
        "channel_id": channel.id, "user_id": user_id, "role": "member", "joined_at": timestamp(0),
    });
    match (method, rest) {
        ("GET", []) => Answer::ok(shape(channel, user_id)).with("etag", "\"1\"".to_owned()),
        ("GET", ["messages"]) => messages(channel, &parameters, user_id),
        ("GET", ["changes"]) => changes(channel, &parameters, user_id),
        ("GET", ["messages", seq]) => match channel.messages.get(&number(seq)) {
            Some(message) => {
                Answer::ok(message.shape(&channel.id, Some(user_id))).with("etag", format!("\"{}\"", message.version()))
            }
            None => Answer::problem(404, "message_not_found"),
        },
        ("GET", ["messages", seq, "reply"]) => reply(channel, number(seq)),
        ("GET", ["messages", _, "replies"]) => {
            Answer::ok(json!({"messages": [], "has_more": false, "rev": channel.rev}))
        }
        ("GET", ["messages", _, "reactions"]) => Answer::ok(json!({"reactions": [], "has_more": false})),
        ("GET", ["threads"]) => Answer::ok(json!({"threads": [], "has_more": false})),
        ("GET", ["members"]) => Answer::ok(json!({"members": [member], "has_more": false})),
        ("GET" | "PUT", ["members", _]) => Answer::ok(member),
        ("GET", ["presence"]) => {
            Answer::ok(json!({"users": [{"user_id": user_id, "since": timestamp(0)}], "has_more": false}))
        }
        ("POST", ["typing"]) => Answer::empty(202),
        ("PUT", ["read"]) => {
            let seq = request.json()["seq"].as_u64().unwrap_or(0);
            if seq > channel.last_seq() {
                return Answer::problem(400, "invalid_request");
            }
            channel.read_seq = channel.read_seq.max(seq);
            Answer::ok(json!({"channel_id": channel.id, "read_seq": channel.read_seq}))
        }
        _ => Answer::problem(404, "no_such_route"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn limit(parameters: &BTreeMap<String, String>) -> usize {
    parameters.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE).clamp(1, MAX_PAGE)
}

/// Returns a channel in the shape of the contract.
fn shape(channel: &Channel, user_id: &str) -> Value {
    let unread = channel.messages.range(channel.read_seq + 1..).filter(|(_, message)| message.sender_id != user_id);
    let unread = unread.take(100).count();
    let mut shape = json!({
        "channel_id": channel.id,
        "name": channel.id,
        "visibility": "public",
        "agent": {"mode": "always"},
        "read_receipts": false,
        "last_seq": channel.last_seq(),
        "created_by": "alice",
        "created_at": timestamp(0),
        "version": 1,
        "membership": {
            "role": "member", "joined_at": timestamp(0), "read_seq": channel.read_seq, "unread_count": unread,
        },
    });
    if let Some((_, message)) = channel.messages.last_key_value() {
        shape["last_message_at"] = json!(timestamp(message.created_at));
    }
    shape
}

fn messages(channel: &Channel, parameters: &BTreeMap<String, String>, user_id: &str) -> Answer {
    let given = |name: &str| parameters.get(name).map(|text| number(text));
    let (before, after, around) = (given("before"), given("after"), given("around"));
    if [before, after, around].iter().flatten().count() > 1 {
        return Answer::problem(400, "invalid_request");
    }
    let limit = limit(parameters);
    let seqs: Vec<u64> = channel.messages.keys().copied().collect();
    let (page, direction): (Vec<u64>, &str) = match (before, after, around) {
        (_, Some(after), _) => (seqs.iter().copied().filter(|seq| *seq > after).take(limit).collect(), "after"),
        (_, _, Some(around)) => {
            let first = around.saturating_sub(u64::try_from(limit / 2).unwrap_or(0));
            (seqs.iter().copied().filter(|seq| *seq > first).take(limit).collect(), "after")
        }
        (before, ..) => {
            let older = seqs.iter().rev().copied().filter(|seq| before.is_none_or(|end| *seq < end));
            (older.take(limit).collect(), "before")
        }
    };
    let last = page.last().copied();
    let has_more = last.is_some_and(|last| match direction {
        "after" => last < channel.last_seq(),
        _ => seqs.first().is_some_and(|first| *first < last),
    });
    let shapes: Vec<Value> = page
        .iter()
        .filter_map(|seq| channel.messages.get(seq))
        .map(|message| message.shape(&channel.id, Some(user_id)))
        .collect();
    let mut body = json!({"messages": shapes, "has_more": has_more, "rev": channel.rev});
    if let Some(last) = last.filter(|_| has_more) {
        body["next"] = json!({direction: last});
    }
    if let (Some(first), Some(_)) = (page.first().filter(|first| seqs.first() < Some(*first)), around) {
        body["previous"] = json!({"before": first});
    }
    let writing: Vec<u64> = channel.replying_to().into_iter().filter(|seq| page.contains(seq)).collect();
    if !writing.is_empty() && page.contains(&channel.last_seq()) {
        body["replying_to"] = json!(writing);
    }
    Answer::ok(body)
}

fn changes(channel: &Channel, parameters: &BTreeMap<String, String>, user_id: &str) -> Answer {
    let Some(after) = parameters.get("after").and_then(|after| after.parse::<u64>().ok()) else {
        return Answer::problem(400, "invalid_request");
    };
    if after < channel.floor || after > channel.rev {
        return Answer::problem(410, "changes_expired");
    }
    let limit = limit(parameters);
    let later: Vec<(&u64, &u64)> = channel.changes.range(after + 1..).collect();
    let page: Vec<Value> = later
        .iter()
        .take(limit)
        .filter_map(|(rev, seq)| {
            let message = channel.messages.get(*seq)?;
            Some(json!({"rev": rev, "message": message.shape(&channel.id, Some(user_id))}))
        })
        .collect();
    let has_more = later.len() > limit;
    let mut body = json!({"changes": page, "has_more": has_more, "rev": channel.rev});
    if let Some((rev, _)) = later.get(limit - 1).filter(|_| has_more) {
        body["next"] = json!({"after": rev});
    }
    Answer::ok(body)
}

fn reply(channel: &Channel, seq: u64) -> Answer {
    if channel.messages.get(&seq).is_none_or(Message::is_deleted) {
        return Answer::problem(404, "message_not_found");
    }
    let Some(draft) = channel.drafts.get(&seq) else { return Answer::problem(404, "reply_not_found") };
    let mut body = json!({
        "status": draft.status,
        "draft_id": draft.draft_id,
        "position": draft.text.chars().count(),
        "text": draft.text,
    });
    if let Some(stored) = draft.seq {
        body["seq"] = json!(stored);
    }
    Answer::ok(body)
}
