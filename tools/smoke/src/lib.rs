//! Smoke test of a running Switchboard that uses every function. It uses the public APIs only, so it runs against a
//! deployment and against `cargo local`.
//!
//! It creates its own channel and deletes it in the end, also after a failed step.

pub mod command;
mod inbox;
mod rest;
mod socket;
mod walk;

use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// Lifetime of the tokens that are signed here, in seconds. All steps that wait for a stream end within it.
const TOKEN_SECONDS: i64 = 30 * 60;

/// Addresses and users of a test.
#[derive(Debug)]
pub struct Target {
    /// Address of the REST API's stage, without a slash at its end.
    pub rest: String,
    /// Address of the WebSocket API's stage, without a slash at its end.
    pub websocket: String,
    /// Tokens of the users.
    pub tokens: Tokens,
    /// Timeout of one step.
    pub patience: Duration,
    /// Timeout of a step that waits for a stream. The mapping of a new stack may take several minutes to start
    /// ("Polling and stream starting positions" in the Lambda developer guide).
    pub stream_patience: Duration,
}

/// The tokens of two different users.
pub struct Tokens(pub [String; 2]);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tokens(…)")
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl Tokens {
    /// Signs tokens (HS256) that are valid for 30 minutes.
    pub fn signed(secret: &str, iss: &str, aud: &str) -> Result<Self, Failure> {
        let iat = jiff::Timestamp::now().as_second();
        let key = EncodingKey::from_secret(secret.as_bytes());
        let sign = |sub| {
            let claims = Claims { sub, iss, aud, iat, exp: iat + TOKEN_SECONDS };
            let signed = jsonwebtoken::encode(&Header::default(), &claims, &key);
            signed.map_err(|error| Failure { step: "sign", reason: error.to_string() })
        };
        Ok(Self([sign("smoke-one")?, sign("smoke-two")?]))
    }
}

/// The first step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Failure {
    /// The step, as listed in `docs/guides/deploy.md`.
    pub step: &'static str,
    /// Expectation and result.
    pub reason: String,
}

/// Runs the steps, and reports each successful step with its duration.
///
/// # Errors
/// Fails with the first step that does not succeed within [`Target::patience`], or
/// [`Target::stream_patience`] if it waits for a stream.
pub async fn run(target: &Target, done: impl FnMut(&'static str, Duration)) -> Result<(), Failure> {
    let (patience, stream_patience) = (target.patience, target.stream_patience);
    walk::walk(target, &mut Steps { patience, stream_patience, done }).await
}

/// Runs steps and measures their duration.
struct Steps<D> {
    patience: Duration,
    stream_patience: Duration,
    done: D,
}

impl<D: FnMut(&'static str, Duration)> Steps<D> {
    async fn step<T>(
        &mut self,
        step: &'static str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Failure> {
        self.step_within(self.patience, step, work).await
    }

    /// Runs a step that waits for a stream.
    async fn stream_step<T>(
        &mut self,
        step: &'static str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Failure> {
        self.step_within(self.stream_patience, step, work).await
    }

    async fn step_within<T>(
        &mut self,
        patience: Duration,
        step: &'static str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        let outcome = tokio::time::timeout(patience, work).await;
        let late = || Err(format!("no result within {} s", patience.as_secs()));
        let value = outcome.unwrap_or_else(|_| late()).map_err(|reason| Failure { step, reason })?;
        (self.done)(step, started.elapsed());
        Ok(value)
    }
}
