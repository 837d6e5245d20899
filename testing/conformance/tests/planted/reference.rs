//! A small client that keeps all rules, in the process of the test. It decides after each line what to do next.

use std::collections::BTreeMap;

use conformance::Client;
use serde_json::{Value, json};

use crate::{
    bug::Bug,
    link::{Link, Phase},
    log::{Log, Send},
};

const SOCKET_CHANNELS: usize = 100;

/// Reason of a request.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    First(String),
    Earlier(String),
    Later(String),
    Changes(String),
    Reply(String, u64),
    Post(String, String),
    Renew(usize),
    Act,
}

/// Reason of a timer.
#[derive(Debug, Clone)]
pub(crate) enum Alarm {
    Read(String),
    Post(String, String),
    Connect(usize),
    Ping(usize, u64),
    Pong(usize, u64),
    Renew(usize, u64),
    Token,
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) bug: Option<Bug>,
    pub(crate) out: Vec<String>,
    made: u64,
    random: u64,
    pub(crate) now: i64,
    pub(crate) token: Option<String>,
    /// Time of the last request for a token.
    pub(crate) token_at: i64,
    tokens_pending: u64,
    is_token_waiting: bool,
    acts: Vec<(String, String, Value)>,
    pub(crate) channels: Vec<String>,
    pub(crate) logs: BTreeMap<String, Log>,
    pub(crate) links: Vec<Link>,
    fetches: BTreeMap<u64, (Purpose, Option<String>)>,
    timers: BTreeMap<u64, Alarm>,
    pub(crate) is_refused: bool,
    /// Sockets to renew with the next token, and their connections.
    pub(crate) renewing: Vec<(usize, String)>,
    /// Time by which the server's clock is ahead of the device's.
    pub(crate) server_ahead: i64,
}

impl Client for Reference {
    fn exchange(&mut self, line: &str) -> Result<Vec<String>, String> {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        self.take(&line);
        if line.get("end").is_none() {
            self.pump();
        }
        self.order(&json!({"do": "idle"}));
        Ok(std::mem::take(&mut self.out))
    }
}

impl Reference {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn order(&mut self, order: &Value) {
        self.out.push(order.to_string());
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Returns a random number from 0 to `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % (limit + 1)
    }

    pub(crate) fn wait(&mut self, ms: u64, alarm: Alarm) {
        let id = self.id();
        self.timers.insert(id, alarm);
        self.order(&json!({"do": "timer", "id": id, "ms": ms}));
    }

    /// Returns the wait before a repetition: random, and with a limit that doubles.
    pub(crate) fn backoff(&mut self, attempt: u32) -> u64 {
        let limit = (1000_u64 << attempt.min(5)).min(30_000);
        if self.has(Bug::NoBackoff) {
            return 500;
        }
        if self.has(Bug::NoJitter) { limit } else { self.below(limit) }
    }

    fn fetch(&mut self, purpose: Purpose, method: &str, path: &str, key: Option<&str>, body: &Value) {
        let Some(token) = self.token.clone() else { return };
        let id = self.id();
        let mut headers = json!({"authorization": format!("Bearer {token}")});
        if let Some(key) = key {
            headers["idempotency-key"] = json!(key);
        }
        self.fetches.insert(id, (purpose, Some(token)));
        self.order(&json!({
            "do": "fetch", "id": id, "method": method, "path": path, "headers": headers, "body": body,
        }));
        if self.has(Bug::TokenPerRequest) {
            self.token = None;
        }
    }

    fn renew(&mut self, link: usize, connection_id: &str) {
        let path = format!("/connections/{connection_id}/token");
        self.fetch(Purpose::Renew(link), "POST", &path, None, &Value::Null);
    }

    fn take(&mut self, line: &Value) {
        self.now = line["now"].as_i64().unwrap_or(0);
        if let Some(start) = line.get("start") {
            self.start(start);
        } else if line["token"].is_u64() {
            self.take_token(line["value"].as_str());
        } else if let Some(id) = line["fire"].as_u64() {
            if let Some(alarm) = self.timers.remove(&id) {
                self.fire(alarm);
            }
        } else if let Some(id) = line["answer"].as_u64() {
            let status = line["status"].as_u64().unwrap_or(0);
            let seconds: Option<u64> = line["headers"]["retry-after"].as_str().and_then(|text| text.parse().ok());
            let body = line["body"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
            self.answered(id, status, seconds, &body);
        } else if let Some(id) = line["fail"].as_u64() {
            self.answered(id, 0, None, &Value::Null);
        } else if let Some(socket) = line["opened"].as_u64() {
            self.opened(socket);
        } else if let Some(frame) = line.get("frame") {
            let text = frame["text"].as_str().unwrap_or_default();
            let parsed: Value = serde_json::from_str(text).unwrap_or(Value::Null);
            self.frame(frame["socket"].as_u64().unwrap_or(0), &parsed);
        } else if let Some(closed) = line.get("closed") {
            self.closed(closed["socket"].as_u64().unwrap_or(0));
        } else if let Some(act) = line["act"].as_object() {
            for (name, fields) in act {
                self.act(name, fields);
            }
        } else if line["online"] == true {
            for link in &mut self.links {
                if link.phase == Phase::Waiting {
                    (link.phase, link.attempt) = (Phase::Wanted, 0);
                }
            }
        }
    }

    fn start(&mut self, start: &Value) {
        let ids = |name: &str| -> Vec<String> {
            let ids = start[name].as_array().into_iter().flatten();
            ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
        };
        let (bug, out, now) = (self.bug, std::mem::take(&mut self.out), self.now);
        let random = start["seed"].as_u64().unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        *self = Self { bug, out, now, random, channels: ids("channels"), ..Self::default() };
        let groups = self.channels.chunks(SOCKET_CHANNELS).map(<[String]>::to_vec);
        let most = if bug == Some(Bug::OneSocket) { 1 } else { usize::MAX };
        self.links = groups.take(most).map(Link::new).collect();
        for id in ids("open") {
            self.logs.insert(id, Log::new(bug));
        }
    }

    fn take_token(&mut self, token: Option<&str>) {
        self.tokens_pending = self.tokens_pending.saturating_sub(1);
        self.token = token.map(str::to_owned);
        if token.is_none() {
            self.is_token_waiting = true;
            let ms = 1000 + self.below(4000);
            self.wait(ms, Alarm::Token);
        }
    }

    fn fire(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Read(id) => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.is_waiting = false;
                    log.must_recover |= log.known.is_some() && log.has_gap();
                }
            }
            Alarm::Post(id, key) => {
                let sends = self.logs.get_mut(&id).into_iter().flat_map(|log| &mut log.outbox);
                for send in sends.filter(|send| send.key == key) {
                    send.is_busy = false;
                }
            }
            Alarm::Token => self.is_token_waiting = false,
            Alarm::Connect(_) | Alarm::Ping(..) | Alarm::Pong(..) | Alarm::Renew(..) => self.fire_link(&alarm),
        }
    }

    /// Sends again after a failure, or drops what was refused.
    fn answered(&mut self, id: u64, status: u64, seconds: Option<u64>, body: &Value) {
        let Some((purpose, token)) = self.fetches.remove(&id) else { return };
        if status == 401 && self.token == token {
            self.token = None;
        }
        let is_transient = status == 0 || status == 401 || status == 429 || status >= 500;
        match purpose {
            Purpose::Post(channel, key) => self.posted(&channel, &key, status, seconds, body, is_transient),
            Purpose::Renew(link) => self.renewed(link, status, body),
            Purpose::Act => {}
            Purpose::First(ref channel)
            | Purpose::Earlier(ref channel)
            | Purpose::Later(ref channel)
            | Purpose::Changes(ref channel)
            | Purpose::Reply(ref channel, _) => {
                let channel = channel.clone();
                self.read(&channel, &purpose, status, body);
                if is_transient {
                    let ms = self.pause(&channel, seconds);
                    self.wait(ms, Alarm::Read(channel));
                }
            }
        }
    }

    /// Returns the wait before the next read of a channel.
    fn pause(&mut self, channel: &str, seconds: Option<u64>) -> u64 {
        let Some(log) = self.logs.get_mut(channel) else { return 0 };
        log.is_waiting = true;
        log.attempt += 1;
        let attempt = log.attempt - 1;
        if self.has(Bug::RetryAfterIgnored) {
            return 10;
        }
        let backoff = self.backoff(attempt);
        seconds.map_or(backoff, |seconds| seconds * 1000 + self.below(500))
    }

    fn read(&mut self, channel: &str, purpose: &Purpose, status: u64, body: &Value) {
        let Some(log) = self.logs.get_mut(channel) else { return };
        log.is_reading = false;
        match (status, purpose) {
            (200, _) => {
                log.attempt = 0;
                match purpose {
                    Purpose::Earlier(_) => {
                        log.take_page(body, true);
                        log.wants_earlier = false;
                    }
                    Purpose::Changes(_) => log.take_changes(body),
                    Purpose::Reply(_, reply_to) => log.take_reply(*reply_to, body),
                    _ => {
                        log.take_page(body, false);
                        let is_later = matches!(purpose, Purpose::Later(_));
                        log.must_recover = is_later && body["has_more"] == true;
                    }
                }
                self.gap(channel);
                self.show(channel);
            }
            (410, _) => log.reload(),
            (400..=409, Purpose::Reply(_, reply_to)) if status != 401 => {
                log.drafts.remove(reply_to);
            }
            (400 | 403 | 404, _) => log.is_refused = log.bug != Some(Bug::RefusedReadRepeated),
            _ => {}
        }
    }

    fn posted(&mut self, id: &str, key: &str, status: u64, seconds: Option<u64>, body: &Value, is_transient: bool) {
        if is_transient && !(self.has(Bug::SendForgotten) && status == 0)
            || status >= 400 && self.has(Bug::RefusalRepeated)
        {
            let random = self.below(4000);
            let ms = seconds.map_or(1000 + random, |seconds| seconds * 1000 + 1 + random / 8);
            let allowed_at = self.now + seconds.map_or(0, |seconds| i64::try_from(seconds * 1000).unwrap_or(0));
            if let Some(log) = self.logs.get_mut(id) {
                log.post_at = log.post_at.max(allowed_at);
            }
            self.wait(ms, Alarm::Post(id.to_owned(), key.to_owned()));
            return;
        }
        let Some(log) = self.logs.get_mut(id) else { return };
        log.outbox.retain(|send| send.key != key);
        if status == 200 || status == 201 {
            log.take_events(&[json!({"type": "message.created", "seq": body["seq"], "message": body})]);
        }
        self.gap(id);
        self.show(id);
    }

    fn act(&mut self, name: &str, fields: &Value) {
        let id = fields["channel"].as_str().unwrap_or_default().to_owned();
        let path = format!("/channels/{id}/messages/{}", fields["seq"]);
        let emoji = fields["emoji"].as_str().unwrap_or_default();
        match name {
            "send" => {
                let key = format!("key-{}", self.id());
                let content = fields["content"].as_str().unwrap_or_default().to_owned();
                if let Some(log) = self.logs.get_mut(&id) {
                    log.outbox.push_back(Send { key, content, is_busy: false });
                    self.show(&id);
                }
            }
            "edit" => self.acts.push(("PATCH".to_owned(), path, json!({"content": fields["content"]}))),
            "react" => self.acts.push(("PUT".to_owned(), format!("{path}/reactions/{emoji}"), Value::Null)),
            "unreact" => self.acts.push(("DELETE".to_owned(), format!("{path}/reactions/{emoji}"), Value::Null)),
            "load_earlier" => {
                if let Some(log) = self.logs.get_mut(&id) {
                    log.wants_earlier = true;
                }
            }
            _ => {}
        }
    }

    /// Waits for the frame that another one overtook, if something is missing.
    pub(crate) fn gap(&mut self, id: &str) {
        let at_once = self.has(Bug::GapAsksAtOnce);
        let Some(log) = self.logs.get_mut(id) else { return };
        if log.is_waiting || log.is_reading || log.must_recover || !log.lacks() {
            return;
        }
        log.is_waiting = true;
        let ms = if at_once { 1 } else { 260 + self.below(480) };
        self.wait(ms, Alarm::Read(id.to_owned()));
    }

    pub(crate) fn show(&mut self, id: &str) {
        if let Some(line) = self.logs.get(id).filter(|log| log.known.is_some()).map(|log| log.show(id)) {
            self.order(&line);
        }
    }

    /// Does everything that can be done.
    fn pump(&mut self) {
        let is_single = self.tokens_pending == 0 && !self.is_token_waiting;
        if self.token.is_none() && (is_single || self.has(Bug::TokenPerNeed)) {
            self.tokens_pending += 1;
            self.token_at = self.now;
            let id = self.id();
            self.order(&json!({"do": "token", "id": id}));
        }
        if self.token.is_none() {
            return;
        }
        self.connect_all();
        for (link, connection_id) in std::mem::take(&mut self.renewing) {
            self.renew(link, &connection_id);
        }
        for (method, path, body) in std::mem::take(&mut self.acts) {
            self.fetch(Purpose::Act, &method, &path, None, &body);
        }
        for id in self.logs.keys().cloned().collect::<Vec<_>>() {
            self.read_next(&id);
            self.post_next(&id);
        }
    }

    fn read_next(&mut self, id: &str) {
        let Some(log) = self.logs.get_mut(id) else { return };
        if log.is_reading || log.is_waiting || log.is_refused || self.token.is_none() {
            return;
        }
        let first = log.messages.keys().next().copied().unwrap_or(0);
        let base = format!("/channels/{id}");
        let (purpose, path) = if log.known.is_none() {
            (Purpose::First(id.to_owned()), format!("{base}/messages?limit=50"))
        } else if log.must_recover {
            (Purpose::Later(id.to_owned()), format!("{base}/messages?after={}&limit=100", log.settled))
        } else if let Some(known) = log.missed_changes() {
            (Purpose::Changes(id.to_owned()), format!("{base}/changes?after={known}"))
        } else if let Some(reply_to) = log.draft_behind() {
            (Purpose::Reply(id.to_owned(), reply_to), format!("{base}/messages/{reply_to}/reply"))
        } else if log.wants_earlier && first > 1 {
            (Purpose::Earlier(id.to_owned()), format!("{base}/messages?before={first}&limit=50"))
        } else {
            log.wants_earlier = false;
            return;
        };
        log.is_reading = true;
        self.fetch(purpose, "GET", &path, None, &Value::Null);
    }

    fn post_next(&mut self, id: &str) {
        let all_at_once = self.has(Bug::SendsAtOnce);
        let Some(log) = self.logs.get_mut(id) else { return };
        if self.token.is_none() || self.now < log.post_at {
            return;
        }
        let mut ready = Vec::new();
        for send in log.outbox.iter_mut().take(if all_at_once { usize::MAX } else { 1 }) {
            if !std::mem::replace(&mut send.is_busy, true) {
                ready.push(send.clone());
            }
        }
        for send in ready {
            let body = json!({"content": send.content, "metadata": {"client_key": send.key}});
            let attempt =
                if self.has(Bug::KeyPerAttempt) { format!("{}-{}", send.key, self.id()) } else { send.key.clone() };
            let path = format!("/channels/{id}/messages");
            self.fetch(Purpose::Post(id.to_owned(), send.key), "POST", &path, Some(&attempt), &body);
        }
    }
}
