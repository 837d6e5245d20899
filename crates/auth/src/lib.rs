//! Who is calling: verification of JSON Web Tokens.
//!
//! Issuers, keys and algorithms come from configuration only; a token chooses none of them. Its `iss` selects one of
//! the configured issuers, its `kid` one of that issuer's keys, and its `alg` must be one that both the issuer's
//! configuration and the key's own parameters allow. Embedded keys and key URLs (`jwk`, `jku`, `x5c`, `x5u`) are never
//! looked at. No token, key or secret appears in an error or a log line.

mod claims;
mod identity;
mod jwks;
mod settings;

use std::{collections::HashSet, time::Duration};

use aws_config::SdkConfig;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat::clock::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::de::IgnoredAny;

use crate::{claims::Claims, jwks::Jwks};

pub use crate::{
    identity::{Identity, Scope},
    jwks::JwksError,
    settings::{Issuer, Secret, SettingsError},
};

/// How far the clocks of issuer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_mins(1);

/// Longest token: bytes. API Gateway takes 10,240 bytes of headers in all ("Quotas for configuring and running a
/// REST API").
pub const TOKEN_BYTES: usize = 8_192;

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
    settings: Issuer,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trusted").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for the issuers that the environment names ([`Issuer::from_env`]); secrets that are named by
    /// reference are read with `config`.
    pub async fn from_env(config: &SdkConfig) -> Result<Self, SettingsError> {
        let mut issuers = Issuer::from_env()?;
        for issuer in &mut issuers {
            issuer.resolve_secret(config).await?;
        }
        Self::new(issuers)
    }

    /// A verifier for the tokens of `issuers`, whose secrets are at hand.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, SettingsError> {
        Self::with_timing(issuers, jwks::Timing::default())
    }

    pub(crate) fn with_timing(issuers: Vec<Issuer>, timing: jwks::Timing) -> Result<Self, SettingsError> {
        if issuers.is_empty() {
            return Err(SettingsError::NoIssuer);
        }
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        for Issuer { issuer, secret, .. } in &issuers {
            if !names.insert(issuer) {
                return Err(SettingsError::Twice(issuer.clone()));
            }
            // Who knows the secret of one could sign for the other.
            if secret.as_ref().is_some_and(|secret| !secrets.insert(secret.bytes())) {
                return Err(SettingsError::SharedSecret(issuer.clone()));
            }
        }
        let trusted = issuers.into_iter().map(|issuer| Trusted::new(issuer, timing));
        Ok(Self { issuers: trusted.collect::<Result<_, _>>()? })
    }

    /// Verifies `token` at `now`.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_BYTES {
            return Err(AuthError::Invalid);
        }
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Invalid));
        let (Some(header), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AuthError::Invalid);
        };
        if !is_plain(&Claims::read(&header?)?) {
            return Err(AuthError::Invalid);
        }
        // Believed for nothing but to choose among the configured issuers, until the signature is verified with that
        // issuer's keys; then `iss` is checked again.
        let claims = Claims::read(&payload?)?;
        let claimed = claims.text("iss").ok_or(AuthError::Invalid)?;
        let trusted = self.issuers.iter().find(|one| one.settings.issuer == claimed).ok_or(AuthError::Invalid)?;
        let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
        trusted.verify_signature(token, &header).await?;
        trusted.identity(&claims, now)
    }
}

impl Trusted {
    fn new(settings: Issuer, timing: jwks::Timing) -> Result<Self, SettingsError> {
        let algorithms = settings.checked_algorithms()?;
        // The algorithm is put in for each token, and times are checked against the time that the caller gives.
        let mut validation = Validation::new(Algorithm::default());
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            algorithms,
            validation,
            secret: settings.secret.as_ref().map(|secret| DecodingKey::from_secret(secret.bytes())),
            jwks: settings.jwks_url.as_deref().map(|url| Jwks::new(url, timing)).transpose()?,
            settings,
        })
    }

    /// Verifies the signature, `iss` and `aud`, and that there is an `exp`.
    async fn verify_signature(&self, token: &str, header: &Header) -> Result<(), AuthError> {
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
        decode::<IgnoredAny>(token, &key, &validation).map_err(|_| AuthError::Invalid)?;
        Ok(())
    }

    /// What the claims of a verified token say, by this issuer's configuration.
    fn identity(&self, claims: &Claims, now: Timestamp) -> Result<Identity, AuthError> {
        let expires_at = claims.check_times(now)?;
        let Issuer { user_claim, tenant, tenant_claim, scope_claim, channels_claim, .. } = &self.settings;
        let required = |name: &str| claims.text(name).ok_or(AuthError::Invalid);
        let tenant = match (tenant, tenant_claim) {
            (Some(tenant), _) => Some(tenant.clone()),
            (None, Some(name)) => Some(required(name)?.parse().map_err(|_| AuthError::Invalid)?),
            (None, None) => None,
        };
        let scopes = match scope_claim {
            Some(name) => Some(claims.words(name)?.unwrap_or_default()),
            None => None,
        };
        Ok(Identity {
            user_id: required(user_claim)?.parse().map_err(|_| AuthError::Invalid)?,
            tenant,
            scopes,
            channels: claims.channels(channels_claim)?,
            expires_at,
        })
    }
}

/// Whether the header asks for nothing special: no critical extension (RFC 7515, section 4.1.11: not understood is
/// refused), and no other type than a JWT or an access token (RFC 9068).
fn is_plain(header: &Claims) -> bool {
    let typed = header.text("typ").is_none_or(|typ| {
        let typ = typ.to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
    });
    typed && !header.has("crit")
}

#[cfg(test)]
mod tests;
