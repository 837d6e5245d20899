//! Who is calling: verification of JSON Web Tokens.
//!
//! Keys and algorithms come from configuration only; a token chooses neither. No token, key or secret appears in
//! an error or a log line.

mod jwks;

use std::{collections::HashSet, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

pub use jwks::{Jwks, JwksError};

/// How far the clocks of issuer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_mins(1);

/// Longest token: bytes. API Gateway takes 10,240 bytes of headers in all ("Quotas for configuring and running a
/// REST API").
pub const TOKEN_BYTES: usize = 8_192;

/// Who issues tokens, for whom, and with which keys.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The required `iss`.
    pub issuer: String,
    /// The required `aud`.
    pub audience: String,
    /// A secret for `HS256`.
    pub hs256_secret: Option<Secret>,
    /// Where the keys for `RS256` and `ES256` are: https, or loopback.
    pub jwks_url: Option<String>,
}

/// A secret that does not show in debug output.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What makes the settings unusable.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An environment variable is missing or empty.
    #[error("set {0}")]
    Missing(&'static str),
    /// Neither a secret nor a JWKS URL.
    #[error("set JWT_HS256_SECRET or JWT_JWKS_URL: without a key no token can be verified")]
    NoKey,
    /// The secret is too short for HS256 (RFC 7518, section 3.2).
    #[error("JWT_HS256_SECRET must have at least 32 bytes")]
    ShortSecret,
    /// The JWKS URL cannot be used.
    #[error("JWT_JWKS_URL: {0}")]
    Jwks(#[from] JwksError),
}

impl Settings {
    /// From `JWT_ISSUER`, `JWT_AUDIENCE`, `JWT_HS256_SECRET` and `JWT_JWKS_URL`.
    pub fn from_env() -> Result<Self, SettingsError> {
        let read = |name: &'static str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Ok(Self {
            issuer: read("JWT_ISSUER").ok_or(SettingsError::Missing("JWT_ISSUER"))?,
            audience: read("JWT_AUDIENCE").ok_or(SettingsError::Missing("JWT_AUDIENCE"))?,
            hs256_secret: read("JWT_HS256_SECRET").map(Secret),
            jwks_url: read("JWT_JWKS_URL"),
        })
    }
}

/// A caller whose token has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`.
    pub subject: String,
    /// The token's `exp`: seconds since the Unix epoch.
    pub expires_at_secs: i64,
}

/// Why a token is refused. Says nothing of the token's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token at all.
    #[error("a bearer token is required")]
    Missing,
    /// Malformed, of another issuer or audience, badly signed, or signed in a way that is not configured.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The issuer's keys cannot be had at the moment.
    #[error("the keys of the issuer cannot be had at the moment")]
    KeysUnavailable,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
}

/// Verifies tokens. Made once per cold start.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    audience: String,
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
}

impl Verifier {
    /// A verifier for `settings`.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        if settings.hs256_secret.is_none() && settings.jwks_url.is_none() {
            return Err(SettingsError::NoKey);
        }
        if settings.hs256_secret.as_ref().is_some_and(|secret| secret.0.len() < 32) {
            return Err(SettingsError::ShortSecret);
        }
        Ok(Self {
            issuer: settings.issuer,
            audience: settings.audience,
            secret: settings.hs256_secret.map(|secret| DecodingKey::from_secret(secret.0.as_bytes())),
            jwks: settings.jwks_url.as_deref().map(Jwks::new).transpose()?,
        })
    }

    /// Verifies `token` at `now_secs`, seconds since the Unix epoch.
    pub async fn verify(&self, token: &str, now_secs: i64) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_BYTES {
            return Err(AuthError::Invalid);
        }
        let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
        match header.alg {
            Algorithm::HS256 => {
                let key = self.secret.as_ref().ok_or(AuthError::Invalid)?;
                self.check(token, key, Algorithm::HS256, now_secs)
            }
            algorithm @ (Algorithm::RS256 | Algorithm::ES256) => {
                let jwks = self.jwks.as_ref().ok_or(AuthError::Invalid)?;
                let kid = header.kid.ok_or(AuthError::Invalid)?;
                let key = jwks.key(&kid, algorithm).await?;
                self.check(token, &key, algorithm, now_secs)
            }
            _ => Err(AuthError::Invalid),
        }
    }

    fn check(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
        now_secs: i64,
    ) -> Result<Identity, AuthError> {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // Times are checked below, against the time that was given.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = decode::<Claims>(token, key, &validation).map_err(|_| AuthError::Invalid)?.claims;

        let seconds = |claim: f64| -> Result<i64, AuthError> {
            #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
            (claim.abs() < 1e15).then_some(claim.floor() as i64).ok_or(AuthError::Invalid)
        };
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or_default();
        let expires_at_secs = seconds(claims.exp)?;
        if now_secs >= expires_at_secs.saturating_add(leeway) {
            return Err(AuthError::Expired);
        }
        if let Some(not_before) = claims.nbf
            && now_secs.saturating_add(leeway) < seconds(not_before)?
        {
            return Err(AuthError::NotYetValid);
        }
        Ok(Identity { subject: claims.sub, expires_at_secs })
    }
}

#[cfg(test)]
mod tests;
