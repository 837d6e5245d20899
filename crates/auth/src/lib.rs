//! Who is calling: verification of JSON Web Tokens.
//!
//! Issuers, keys and algorithms come from configuration only; a token chooses none of them. Its `iss` selects one of
//! the configured issuers, its `kid` one of that issuer's keys, and its `alg` must be one that both the issuer's
//! configuration and the key's own parameters allow. Embedded keys and key URLs (`jwk`, `jku`, `x5c`, `x5u`) are never
//! looked at. No token, key or secret appears in an error or a log line.

mod claims;
mod jwks;
mod settings;

use std::{collections::HashSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode_header};

use crate::{claims::Claims, jwks::Jwks};

pub use crate::{
    jwks::JwksError,
    settings::{Issuer, Secret, SettingsError},
};

/// How far the clocks of issuer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_mins(1);

/// Longest token: bytes. API Gateway takes 10,240 bytes of headers in all ("Quotas for configuring and running a
/// REST API").
pub const TOKEN_BYTES: usize = 8_192;

/// A caller whose token has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user, from the claim that the issuer's configuration names.
    pub user_id: String,
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

/// Verifies tokens. Made once per cold start.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Trusted>,
}

/// An issuer, ready to verify.
struct Trusted {
    issuer: String,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
    user_claim: String,
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trusted").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for the tokens of `issuers`.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, SettingsError> {
        Self::with_timing(issuers, jwks::Timing::default())
    }

    pub(crate) fn with_timing(issuers: Vec<Issuer>, timing: jwks::Timing) -> Result<Self, SettingsError> {
        if issuers.is_empty() {
            return Err(SettingsError::NoIssuer);
        }
        let mut names = HashSet::new();
        if let Some(twice) = issuers.iter().find(|issuer| !names.insert(&issuer.issuer)) {
            return Err(SettingsError::Twice(twice.issuer.clone()));
        }
        let trusted = issuers.into_iter().map(|issuer| Trusted::new(issuer, timing));
        Ok(Self { issuers: trusted.collect::<Result<_, _>>()? })
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
        if !is_plain(&header) {
            return Err(AuthError::Invalid);
        }
        let claimed = unverified_issuer(token).ok_or(AuthError::Invalid)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.issuer == claimed).ok_or(AuthError::Invalid)?;
        issuer.verify(token, &header, now_secs).await
    }
}

impl Trusted {
    fn new(issuer: Issuer, timing: jwks::Timing) -> Result<Self, SettingsError> {
        let algorithms = issuer.checked_algorithms()?;
        // The algorithm is put in for each token, and times are checked against the time that the caller gives.
        let mut validation = Validation::new(Algorithm::default());
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&[&issuer.audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            issuer: issuer.issuer,
            algorithms,
            validation,
            secret: issuer.secret.map(|secret| DecodingKey::from_secret(secret.bytes())),
            jwks: issuer.jwks_url.as_deref().map(|url| Jwks::new(url, timing)).transpose()?,
            user_claim: issuer.user_claim,
        })
    }

    async fn verify(&self, token: &str, header: &Header, now_secs: i64) -> Result<Identity, AuthError> {
        if !self.algorithms.contains(&header.alg) {
            return Err(AuthError::Invalid);
        }
        let key = match header.alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => self.secret.clone().ok_or(AuthError::Invalid)?,
            algorithm => {
                let jwks = self.jwks.as_ref().ok_or(AuthError::Invalid)?;
                jwks.key(header.kid.as_deref().ok_or(AuthError::Invalid)?, algorithm).await?
            }
        };
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let claims = Claims::of(token, &key, &validation)?;
        let expires_at_secs = claims.check_times(now_secs)?;
        let user_id = claims.text(&self.user_claim).ok_or(AuthError::Invalid)?.to_owned();
        Ok(Identity { user_id, expires_at_secs })
    }
}

/// Whether the header asks for nothing special: no critical extension (RFC 7515, section 4.1.11: not understood is
/// refused), and no other type than a JWT or an access token (RFC 9068).
fn is_plain(header: &Header) -> bool {
    let typed = header.typ.as_deref().is_none_or(|typ| {
        let typ = typ.to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
    });
    typed && header.crit.is_none()
}

/// The `iss` that a token claims, to choose among the configured issuers. Nothing else is believed before the
/// signature is verified with that issuer's keys, and then `iss` is checked again.
fn unverified_issuer(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok()?.text("iss").map(str::to_owned)
}

#[cfg(test)]
mod tests;
