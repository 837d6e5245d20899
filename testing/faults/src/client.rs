//! State shared by all clients of the fleet: requests, tokens dated by the client's clock, and pauses with jitter.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use local::{secret::Secret, token};
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;
use switchboard_client::{Api, Method, longest_wait};

use crate::{ledger::Ledger, machine::Machine};

/// Maximum `Retry-After` that a client waits for.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Addresses of the stack, and the ledger.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The REST API, without a token.
    pub(crate) api: Api,
    pub(crate) websocket: String,
    pub(crate) secret: Secret,
    pub(crate) ledger: Ledger,
}

impl Shared {
    /// Requires a running stack: its secret exists then, and stays the same after a kill.
    pub(crate) fn new(machine: &Machine) -> Result<Arc<Self>, String> {
        let api = Api::new(&machine.rest(), "").map_err(|error| error.to_string())?;
        let (websocket, secret) = (machine.websocket(), machine.secret()?);
        Ok(Arc::new(Self { api, websocket, secret, ledger: Ledger::default() }))
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
        let headers: Vec<(&str, &str)> = key.iter().map(|key| ("idempotency-key", *key)).collect();
        let body = body.map(Value::to_string);
        let api = self.shared.api.with_token(&self.token());
        let response = api.ask(method, path, &headers, body.as_deref()).await.map_err(|error| error.to_string())?;
        let (status, body) = (response.status.as_u16(), response.json());
        let retry_after = response.retry_after().map(|wait| wait.min(MAX_RETRY_AFTER));
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

/// Returns the wait before the next attempt, with full jitter.
pub(crate) fn backoff(attempt: u32, chance: &mut StdRng) -> Duration {
    longest_wait(attempt).mul_f64(chance.random_range(0.0..1.0))
}
