//! State shared by all clients of the fleet: requests, tokens dated by the client's clock, and pauses with jitter.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use local::{secret::Secret, token};
use rand::{RngExt, rngs::StdRng};
use reqwest::Method;
use serde_json::Value;

use crate::{ledger::Ledger, machine::Machine};

/// Timeout of one attempt at a request. API Gateway's own timeout is 29 s.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Maximum size of a response, in bytes. A function's response has at most 6 MB.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Maximum `Retry-After` that a client waits for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

const BACKOFF_BASE: Duration = Duration::from_millis(500);
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// Addresses of the stack, and the ledger.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) http: reqwest::Client,
    pub(crate) rest: String,
    pub(crate) websocket: String,
    pub(crate) secret: Secret,
    pub(crate) ledger: Ledger,
}

impl Shared {
    /// Requires a running stack: its secret exists then, and stays the same after a kill.
    pub(crate) fn new(machine: &Machine) -> Result<Arc<Self>, String> {
        let http = reqwest::Client::builder().timeout(ATTEMPT).build().map_err(|error| error.to_string())?;
        let (rest, websocket, secret) = (machine.rest(), machine.websocket(), machine.secret()?);
        Ok(Arc::new(Self { http, rest, websocket, secret, ledger: Ledger::default() }))
    }
}

/// A response of the REST API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    retry_after: Option<Duration>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns whether the same request may be sent again.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 429) || self.status >= 500
    }
}

/// A user whose clock may be wrong.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) clock: SignedDuration,
    pub(crate) shared: Arc<Shared>,
}

impl User {
    pub(crate) fn new(name: impl Into<String>, clock: SignedDuration, shared: &Arc<Shared>) -> Self {
        Self { name: name.into(), clock, shared: Arc::clone(shared) }
    }

    /// Returns a token dated by the user's clock.
    pub(crate) fn token(&self) -> String {
        let now = Timestamp::now().saturating_add(self.clock).unwrap_or(Timestamp::now());
        // Users' names in this crate are valid ids, and an hour is within the limit.
        token::sign(&self.shared.secret, &self.name, token::DEFAULT_TTL, now).unwrap_or_default()
    }

    /// Sends one attempt. Fails with the reason if there is no response.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Answer, String> {
        let url = format!("{}{path}", self.shared.rest);
        let mut request = self.shared.http.request(method, url).bearer_auth(self.token());
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let mut response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
            if bytes.len() + chunk.len() > ANSWER_BYTES {
                return Err(format!("the response is longer than {ANSWER_BYTES} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        Ok(Answer { status, body, retry_after })
    }

    /// Repeats attempts until the response is not transient.
    pub(crate) async fn request_until_answered(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
        chance: &mut StdRng,
    ) -> Answer {
        let mut attempt = 0;
        loop {
            let wait = match self.ask(method.clone(), path, body, key).await {
                Ok(answer) if !answer.is_transient() => return answer,
                Ok(answer) => {
                    self.shared.ledger.count(if answer.status == 429 { "responses 429" } else { "responses 5xx" });
                    answer.retry_after.unwrap_or_default()
                }
                Err(_) => {
                    self.shared.ledger.count("requests without a response");
                    Duration::ZERO
                }
            };
            tokio::time::sleep(backoff(attempt, chance).max(wait)).await;
            attempt += 1;
        }
    }
}

/// Returns the wait before the next attempt: one half fixed, one half random.
pub(crate) fn backoff(attempt: u32, chance: &mut StdRng) -> Duration {
    let ceiling = BACKOFF_BASE.saturating_mul(1 << attempt.min(16)).min(BACKOFF_CAP);
    ceiling / 2 + (ceiling / 2).mul_f64(chance.random_range(0.0..1.0))
}
