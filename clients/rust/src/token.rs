//! The token of a client: when it ends by the server's clock, and when the next one may be fetched.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::chance::Chance;

/// Minimum time between two fetches, unless a response of 401 asks for a fresh token.
const FETCH_EVERY: u64 = 60_000;

/// Longest time before the end of a token at which the next one is fetched. It is at most a quarter of the lifetime.
const MARGIN: u64 = 120_000;

/// Claims about the lifetime of a token, in seconds since 1970. Nothing else of a token is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Lifetime {
    /// Time of its issue.
    pub iat: Option<i64>,
    /// Time of its end.
    pub exp: Option<i64>,
}

impl Lifetime {
    /// Reads the claims of a JWT, without a check of its signature.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default()
    }
}

/// The server's clock, as an offset of the client's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServerClock(Option<i64>);

impl ServerClock {
    /// Learns that the server's clock showed `server` at `now`.
    pub(crate) fn learn(&mut self, server: i64, now: u64) {
        self.0 = Some(server.saturating_sub(signed(now)));
    }

    /// Returns the client's time of a time of the server. `None` if no response of the server has come.
    fn local(self, server: i64) -> Option<u64> {
        let local = server.saturating_sub(self.0?);
        Some(u64::try_from(local).unwrap_or_default())
    }
}

fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

#[derive(Debug)]
struct Held {
    text: String,
    lifetime: Lifetime,
    received_at: u64,
    /// Whether it came because the server had not accepted the one before.
    is_replacement: bool,
    is_refused: bool,
    /// Whether a handshake failed for an unknown reason.
    is_doubted: bool,
}

/// Purpose of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetch {
    First,
    Replacement,
}

/// The current token.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    held: Option<Held>,
    fetch: Option<Fetch>,
    fetched_at: Option<u64>,
    failures: u32,
    not_before: u64,
}

impl Tokens {
    /// Returns the token, unless it was refused or has ended.
    pub(crate) fn valid(&self, clock: ServerClock, now: u64) -> Option<&str> {
        let held = self.held.as_ref().filter(|held| !held.is_refused)?;
        (ends_at(held, clock).is_none_or(|end| now < end)).then_some(held.text.as_str())
    }

    /// Returns the time of the next fetch. `None` while one is in flight, or if none is needed.
    pub(crate) fn fetch_at(&self, clock: ServerClock, now: u64) -> Option<u64> {
        if self.fetch.is_some() {
            return None;
        }
        let earliest = match self.fetched_at {
            Some(_) if self.is_to_be_replaced() => self.not_before,
            Some(fetched_at) => self.not_before.max(fetched_at.saturating_add(FETCH_EVERY)),
            None => self.not_before,
        };
        let is_doubted = self.held.as_ref().is_some_and(|held| held.is_doubted);
        if is_doubted || self.valid(clock, now).is_none() {
            return Some(earliest);
        }
        let held = self.held.as_ref()?;
        let end = ends_at(held, clock)?;
        let margin = (lifetime(held).unwrap_or(end.saturating_sub(held.received_at)) / 4).min(MARGIN);
        Some(end.saturating_sub(margin).max(earliest))
    }

    /// Notes that a fetch begins.
    pub(crate) fn fetching(&mut self) {
        self.fetch = Some(if self.is_to_be_replaced() { Fetch::Replacement } else { Fetch::First });
    }

    /// Takes a fetched token. Returns whether it differs from the held one.
    pub(crate) fn take(&mut self, text: String, now: u64) -> bool {
        let is_other = self.held.as_ref().is_none_or(|held| held.text != text);
        let lifetime = Lifetime::of(&text);
        let is_replacement = self.fetch.take() == Some(Fetch::Replacement);
        self.held =
            Some(Held { text, lifetime, received_at: now, is_replacement, is_refused: false, is_doubted: false });
        (self.failures, self.fetched_at) = (0, Some(now));
        is_other
    }

    /// Notes that a fetch failed.
    pub(crate) fn failed(&mut self, now: u64, chance: &mut Chance) {
        self.fetch = None;
        self.not_before = now.saturating_add(chance.wait(self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// Notes that the server does not accept a token.
    pub(crate) fn refuse(&mut self, text: &str) {
        if let Some(held) = self.held.as_mut().filter(|held| held.text == text) {
            held.is_refused = true;
        }
    }

    /// Notes that a handshake with the token failed, perhaps because of it. The token is used until the next one comes.
    pub(crate) fn doubt(&mut self) {
        if let Some(held) = &mut self.held {
            held.is_doubted = true;
        }
    }

    /// Notes that the server accepted the token: its next refusal is a reason for another one.
    pub(crate) fn accepted(&mut self, text: &str) {
        if let Some(held) = self.held.as_mut().filter(|held| held.text == text) {
            held.is_replacement = false;
        }
    }

    /// Returns whether another token may be fetched at once. The first refusal of a token is a reason, and that of its
    /// replacement is none.
    fn is_to_be_replaced(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_refused && !held.is_replacement)
    }
}

/// Returns the lifetime of a token in milliseconds.
fn lifetime(held: &Held) -> Option<u64> {
    let seconds = held.lifetime.exp?.checked_sub(held.lifetime.iat?)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000)
}

/// Returns the end of a token by the server's clock. Before the server's clock is known, the token counts as fresh.
fn ends_at(held: &Held, clock: ServerClock) -> Option<u64> {
    let exp = held.lifetime.exp?.checked_mul(1_000)?;
    clock.local(exp).or_else(|| held.received_at.checked_add(lifetime(held)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a token of an hour.
    fn token(iat: i64) -> String {
        let claims = format!(r#"{{"sub":"alice","iat":{iat},"exp":{}}}"#, iat + 3_600);
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_servers_clock_decides() {
        let mut tokens = Tokens::default();
        let mut clock = ServerClock::default();
        assert_eq!(tokens.fetch_at(clock, 5), Some(0));
        tokens.fetching();
        assert_eq!(tokens.fetch_at(clock, 5), None);
        assert!(tokens.take(token(1_000_000), 10));
        // Until the server's clock is known, the token counts from its arrival.
        assert_eq!(tokens.fetch_at(clock, 10), Some(10 + 3_600_000 - MARGIN));
        // The token is half an hour old.
        clock.learn(1_001_800_000, 20);
        assert_eq!(tokens.fetch_at(clock, 20), Some(20 + 1_800_000 - MARGIN));
        assert!(tokens.valid(clock, 1_800_019).is_some() && tokens.valid(clock, 1_800_020).is_none());
    }

    #[test]
    fn one_token_a_minute_unless_it_was_refused() {
        let (mut tokens, clock) = (Tokens::default(), ServerClock::default());
        let fetch = |tokens: &mut Tokens, iat, now| {
            tokens.fetching();
            tokens.take(token(iat), now);
        };
        fetch(&mut tokens, 1, 0);
        tokens.refuse("another token");
        assert!(tokens.valid(clock, 1).is_some());
        tokens.refuse(&token(1));
        assert_eq!((tokens.valid(clock, 1), tokens.fetch_at(clock, 1)), (None, Some(0)));
        fetch(&mut tokens, 2, 1);
        tokens.refuse(&token(2));
        assert_eq!(tokens.fetch_at(clock, 2), Some(1 + FETCH_EVERY), "the replacement was refused too");
        fetch(&mut tokens, 3, 70_000);
        tokens.accepted(&token(3));
        tokens.refuse(&token(3));
        assert_eq!(tokens.fetch_at(clock, 70_001), Some(0));
    }

    #[test]
    fn a_failed_fetch_waits_longer_each_time() {
        let (mut tokens, clock, mut chance) = (Tokens::default(), ServerClock::default(), Chance::new(3));
        tokens.fetching();
        tokens.failed(10, &mut chance);
        let at = tokens.fetch_at(clock, 10).unwrap();
        assert!((10..=510).contains(&at), "no token came, so the minute does not count: {at}");
        tokens.fetching();
        tokens.take(token(1), 600);
        tokens.doubt();
        assert_eq!(tokens.fetch_at(clock, 700), Some(600 + FETCH_EVERY));
        assert!(tokens.valid(clock, 700).is_some());
    }

    #[test]
    fn a_text_that_is_no_jwt_has_no_end() {
        assert_eq!(Lifetime::of("opaque"), Lifetime::default());
        let mut tokens = Tokens::default();
        tokens.fetching();
        tokens.take("opaque".to_owned(), 0);
        assert_eq!(tokens.fetch_at(ServerClock::default(), 1), None);
    }
}
