//! A walk through a running Switchboard that touches every function: what it does is what a user does, through the public
//! APIs alone, so it runs against a deployment as it runs against `cargo local`.
//!
//! It makes a channel of its own and deletes it in the end, also when a step has failed.

mod rest;
mod socket;
mod walk;

use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// How long tokens last that are signed here.
const TOKEN_SECONDS: i64 = 15 * 60;

/// What to walk through, and as whom.
#[derive(Debug)]
pub struct Target {
    /// Address of the REST API's stage, without a slash at its end.
    pub rest: String,
    /// Address of the WebSocket API's stage, without a slash at its end.
    pub websocket: String,
    /// As whom.
    pub tokens: Tokens,
    /// What one step may take.
    pub patience: Duration,
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
    /// Signs tokens (HS256) that last a quarter of an hour.
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

/// The first step that did not work.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Failure {
    /// The step, as listed in `docs/guides/deploy.md`.
    pub step: &'static str,
    /// What was expected, and what came.
    pub reason: String,
}

/// Walks, and reports each step that worked with the time that it took.
///
/// # Errors
/// The first step that did not work within [`Target::patience`].
pub async fn run(target: &Target, done: impl FnMut(&'static str, Duration)) -> Result<(), Failure> {
    // Another library may have chosen one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    walk::walk(target, &mut Steps { patience: target.patience, done }).await
}

/// Gives each step its name and its time.
struct Steps<D> {
    patience: Duration,
    done: D,
}

impl<D: FnMut(&'static str, Duration)> Steps<D> {
    async fn step<T>(
        &mut self,
        step: &'static str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        let outcome = tokio::time::timeout(self.patience, work).await;
        let late = || Err(format!("nothing came within {} s", self.patience.as_secs()));
        let value = outcome.unwrap_or_else(|_| late()).map_err(|reason| Failure { step, reason })?;
        (self.done)(step, started.elapsed());
        Ok(value)
    }
}
