//! Checks of requests and tokens.

use std::collections::BTreeMap;

use super::{Judge, Rule};
use crate::{gateway::answer::Answer, plan::Kind, protocol::Request};

const MINUTE_MS: u64 = 60_000;
/// Most requests of a minute.
const PER_MINUTE: u64 = 240;
/// Most requests for tokens of a minute, whether or not they succeed.
const TOKENS_PER_MINUTE: u64 = 80;
/// Most reads of one channel without a cause.
const READS_PER_CAUSE: u64 = 40;

/// Observations of requests.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Number of events that may lead to requests.
    pub(super) causes: u64,
    /// Time until which a request must not be repeated, by its kind.
    not_before: BTreeMap<String, u64>,
    /// Number of causes when a read was refused.
    refused: BTreeMap<String, u64>,
    refused_keys: BTreeMap<String, u16>,
    /// Number of causes, and of reads since then, by channel.
    reads: BTreeMap<String, (u64, u64)>,
    /// Time until which a channel must not be read, and the reason.
    quiet: BTreeMap<String, (u64, &'static str)>,
    minute: (u64, u64),
    token_minute: (u64, u64),
    tokens_in_flight: u64,
    last_token: Option<u64>,
    is_token_refused: bool,
}

/// Counts an event of its minute. Returns the number of events of this minute.
fn count(minute: &mut (u64, u64), now: u64) -> u64 {
    let number = now / MINUTE_MS;
    *minute = if minute.0 == number { (number, minute.1 + 1) } else { (number, 1) };
    minute.1
}

/// Returns the kind of a request: its path and the names of its parameters.
fn kind_of(request: &Request) -> String {
    let names: Vec<String> = request.parameters().into_keys().collect();
    format!("{} {}?{}", request.method, request.bare_path(), names.join("&"))
}

fn whole(request: &Request) -> String {
    format!("{} {} {:?}", request.method, request.bare_path(), request.parameters())
}

/// Returns the channel of a path.
pub(crate) fn channel_of(path: &str) -> Option<&str> {
    path.trim_start_matches('/').strip_prefix("channels/").and_then(|rest| rest.split('/').next())
}

/// Returns whether a request sends a message.
pub(crate) fn is_send(request: &Request) -> bool {
    request.method == "POST" && request.bare_path().ends_with("/messages")
}

impl Judge {
    /// Checks a request when the client makes it.
    pub(crate) fn request(&mut self, request: &Request, kind: Kind, now: u64) {
        if is_send(request) {
            self.check_key(request);
        }
        let is_repeatable = request.method == "GET" || is_send(request);
        let name = kind_of(request);
        if is_repeatable && let Some(end) = self.watch.not_before.get(&name).filter(|end| **end > now) {
            let text = format!("{name} is repeated {} ms before its Retry-After has passed", end - now);
            self.find(Rule::RetryAfter, text);
        }
        if request.method == "GET" {
            self.check_read(request, now);
        }
        let count = count(&mut self.watch.minute, now);
        let limit = if kind == Kind::Many { PER_MINUTE * 5 } else { PER_MINUTE };
        if count == limit {
            self.find(Rule::NoStorm, format!("{limit} requests within one minute"));
        }
    }

    fn check_key(&mut self, request: &Request) {
        let body = request.json();
        let content = body["content"].as_str().unwrap_or_default();
        let Some(key) = request.header("idempotency-key").filter(|key| !key.is_empty()).map(str::to_owned) else {
            self.find(Rule::IdempotencyKey, format!("{content:?} is sent without an Idempotency-Key"));
            return;
        };
        let other = self.sends.iter().find(|sent| sent.content != content && sent.key.as_ref() == Some(&key));
        if let Some(other) = other {
            let text = format!("{content:?} is sent with the key of {:?}", other.content);
            self.find(Rule::IdempotencyKey, text);
        }
        if let Some(status) = self.watch.refused_keys.get(&key) {
            let text = format!("{content:?} is sent again after the status {status}");
            self.find(Rule::NoRetryAfterRefusal, text);
        }
        let Some(sent) = self.sends.iter_mut().find(|sent| sent.content == content) else { return };
        let held = sent.key.get_or_insert_with(|| key.clone());
        if *held != key {
            let text = format!("{content:?} is sent with the key {key}, and was with {held}");
            self.find(Rule::IdempotencyKey, text);
        }
    }

    fn check_read(&mut self, request: &Request, now: u64) {
        if self.watch.refused.get(&whole(request)) == Some(&self.watch.causes) {
            let text = format!("{} is repeated after it was refused", whole(request));
            self.find(Rule::NoRetryAfterRefusal, text);
        }
        let Some(channel) = channel_of(request.bare_path()).map(str::to_owned) else { return };
        let is_catch_up = request.parameters().contains_key("after");
        let early = self.watch.quiet.get(&channel).copied().filter(|(end, _)| is_catch_up && *end > now);
        if let Some((end, reason)) = early {
            self.find(Rule::NoStorm, format!("{} {} ms before the end of {reason}", whole(request), end - now));
        }
        let causes = self.watch.causes;
        let reads = self.watch.reads.entry(channel).or_insert((causes, 0));
        *reads = if reads.0 == causes { (causes, reads.1 + 1) } else { (causes, 1) };
        if reads.1 == READS_PER_CAUSE {
            let text = format!("{READS_PER_CAUSE} reads without a cause, the last of them {}", whole(request));
            self.find(Rule::NoStorm, text);
        }
    }

    /// Sets the time until which a gap of a channel must cost no request.
    pub(crate) fn quiet(&mut self, channel: &str, end: u64, reason: &'static str) {
        self.watch.quiet.insert(channel.to_owned(), (end, reason));
    }

    /// Takes note of a response when the client receives it.
    pub(crate) fn answered(&mut self, request: &Request, answer: &Answer, now: u64) {
        match answer.status {
            401 => self.watch.is_token_refused = true,
            410 => {
                if let Some(channel) = channel_of(request.bare_path()) {
                    self.reloads(channel);
                }
            }
            429 | 503 => {
                let seconds: Option<u64> = answer.headers.get("retry-after").and_then(|text| text.parse().ok());
                if let Some(seconds) = seconds {
                    self.watch.not_before.insert(kind_of(request), now + seconds * 1000);
                }
            }
            400 | 403 | 404 | 409 | 422 if request.method == "GET" => {
                self.watch.refused.insert(whole(request), self.watch.causes);
            }
            400 | 403 | 404 | 409 | 422 if is_send(request) => {
                if let Some(key) = request.header("idempotency-key") {
                    self.watch.refused_keys.insert(key.to_owned(), answer.status);
                }
            }
            _ => {}
        }
    }

    /// Takes note of a send that the server refuses for good.
    pub(crate) fn refused_send(&mut self, request: &Request) {
        let body = request.json();
        let content = body["content"].as_str().unwrap_or_default();
        if let Some(sent) = self.sends.iter_mut().find(|sent| sent.content == content) {
            sent.is_refused = true;
        }
    }

    /// Checks a request for a token.
    pub(crate) fn token(&mut self, now: u64) {
        self.watch.tokens_in_flight += 1;
        if self.watch.tokens_in_flight > 1 {
            let text = format!("{} requests for tokens are in flight", self.watch.tokens_in_flight);
            self.find(Rule::OneFetchInFlight, text);
        }
        let since = self.watch.last_token.map(|last| now - last).filter(|since| *since < MINUTE_MS);
        if let Some(since) = since.filter(|_| !self.watch.is_token_refused) {
            self.find(
                Rule::TokenRate,
                format!("a token is requested {since} ms after the last one, which was accepted"),
            );
        }
        self.watch.last_token = Some(now);
        self.watch.is_token_refused = false;
        if count(&mut self.watch.token_minute, now) == TOKENS_PER_MINUTE {
            self.find(Rule::TokenRate, format!("{TOKENS_PER_MINUTE} requests for tokens within one minute"));
        }
    }

    /// Takes note of a response to a request for a token.
    pub(crate) fn token_answered(&mut self, is_token: bool) {
        self.watch.tokens_in_flight = self.watch.tokens_in_flight.saturating_sub(1);
        if !is_token {
            self.watch.last_token = None;
        }
    }

    /// Takes note that the server may have refused the token: a handshake failed, or a socket ended with its token.
    pub(crate) fn token_refused(&mut self) {
        self.watch.is_token_refused = true;
    }
}
