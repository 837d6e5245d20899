//! Who is calling: verification of JSON Web Tokens.
//!
//! Issuers, keys and algorithms come from configuration only; a token chooses none of them. Its `iss` selects one of
//! the configured issuers, its `kid` one of that issuer's keys, and its `alg` must be one that both the issuer's
//! configuration and the key's own parameters allow. Embedded keys and key URLs (`jwk`, `jku`, `x5c`, `x5u`) are never
//! looked at. No token, key or secret appears in an error or a log line.
//!
//! A token is refused by what is cheapest first: shape, size, issuer, algorithm, claims and times. Keys are looked up
//! last, and at a bounded rate ([`jwks`]): a token that costs nothing to make costs little to refuse.

mod claims;
mod identity;
mod jwks;
mod refusal;
mod settings;

use std::{collections::HashSet, time::Duration};

use aws_config::SdkConfig;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat::model::{
    id::{IdError, ReservedNames, UserId},
    time::Timestamp,
};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::de::IgnoredAny;

use crate::{
    claims::Claims,
    jwks::Jwks,
    refusal::{KID_BYTES, Refusal},
};

pub use crate::{
    identity::{Identity, Scope},
    jwks::JwksError,
    refusal::ClaimProblem,
    settings::{Issuer, Secret, SettingsError},
};

/// How far the clocks of issuer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_mins(1);

/// Longest token: bytes. API Gateway takes 10,240 bytes of headers in all ("Quotas for configuring and running a
/// REST API").
pub const TOKEN_BYTES: usize = 8_192;

/// Why a token is refused, for its bearer. Repeats nothing of the token's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token at all.
    #[error("a bearer token is required")]
    Missing,
    /// Malformed, of another issuer or audience, badly signed, or signed in a way that is not configured.
    #[error("the token is not valid")]
    Invalid,
    /// A claim that names the user, the tenant, the scopes or the channels cannot be used.
    #[error("the token's claim {name} {problem}")]
    Claim {
        /// The name of the claim, as configured.
        name: String,
        /// What is wrong with it.
        problem: ClaimProblem,
    },
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
    reserved: ReservedNames,
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
    /// reference are read with `config`. `AGENT_NAME`, the name by which users call the agent, is no caller's.
    pub async fn from_env(config: &SdkConfig) -> Result<Self, SettingsError> {
        let mut issuers = Issuer::from_env()?;
        for issuer in &mut issuers {
            issuer.resolve_secret(config).await?;
        }
        let agent = std::env::var("AGENT_NAME").ok().filter(|name| !name.is_empty());
        let reserved = agent.map(ReservedNames::with_agent).unwrap_or_default();
        Ok(Self { reserved, ..Self::new(issuers)? })
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
        Ok(Self { issuers: trusted.collect::<Result<_, _>>()?, reserved: ReservedNames::default() })
    }

    /// Reads the id of a user who is to become a member. The names that no caller may have are no member's either.
    ///
    /// # Errors
    /// [`IdError`].
    pub fn user(&self, text: &str) -> Result<UserId, IdError> {
        self.reserved.user(text)
    }

    /// Verifies `token` at `now`. A refusal is logged with its reason.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let mut issuer = None;
        let verified = self.check(token, now, &mut issuer).await;
        verified.map_err(|refusal| {
            if refusal != Refusal::Missing {
                tracing::info!(issuer, reason = %refusal, "token refused");
            }
            refusal.into()
        })
    }

    /// Verifies `token`, cheapest checks first. Sets `issuer` to the configured one that the token names.
    async fn check<'a>(
        &'a self,
        token: &str,
        now: Timestamp,
        issuer: &mut Option<&'a str>,
    ) -> Result<Identity, Refusal> {
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        if token.len() > TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let (Some(Some(header)), Some(Some(payload)), Some(Some(signature)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::NotThreeParts);
        };
        if !is_plain(&Claims::read(&header).ok_or(Refusal::Header)?) {
            return Err(Refusal::Extension);
        }
        let header = decode_header(token).map_err(|_| Refusal::Header)?;
        // Nothing here is believed before the signature is verified with a key of the issuer that `iss` selects. Until
        // then it serves to refuse: a token that will be refused for its claims needs no key.
        let claims = Claims::read(&payload).ok_or(Refusal::Payload)?;
        let claimed = claims.text("iss").ok_or(Refusal::UnknownIssuer)?;
        let trusted = self.issuers.iter().find(|one| one.settings.issuer == claimed).ok_or(Refusal::UnknownIssuer)?;
        *issuer = Some(&trusted.settings.issuer);
        let identity = trusted.identity(&claims, &self.reserved, now)?;
        trusted.verify_signature(token, &header, signature.len(), now).await?;
        Ok(identity)
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

    /// Verifies the signature, then `iss` and `aud` again, and that there is an `exp`.
    async fn verify_signature(
        &self,
        token: &str,
        header: &Header,
        signature_bytes: usize,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !self.algorithms.contains(&header.alg) {
            return Err(Refusal::Algorithm);
        }
        if !has_signature_of(header.alg, signature_bytes) {
            return Err(Refusal::SignatureLength);
        }
        let key = match header.alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => self.secret.clone().ok_or(Refusal::Algorithm)?,
            algorithm => {
                let jwks = self.jwks.as_ref().ok_or(Refusal::Algorithm)?;
                let kid = header.kid.as_deref().filter(|kid| kid.len() <= KID_BYTES).ok_or(Refusal::NoKid)?;
                jwks.key(kid, algorithm, now).await?
            }
        };
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        decode::<IgnoredAny>(token, &key, &validation).map_err(|_| Refusal::Signature)?;
        Ok(())
    }

    /// The caller whom the claims name by this issuer's configuration, if the token is for us and its time has come.
    fn identity(&self, claims: &Claims, reserved: &ReservedNames, now: Timestamp) -> Result<Identity, Refusal> {
        if !claims.is_for(&self.settings.audience) {
            return Err(Refusal::Audience);
        }
        let expires_at = claims.check_times(now)?;
        let Issuer { user_claim, tenant, tenant_claim, scope_claim, channels_claim, .. } = &self.settings;
        let tenant = match (tenant, tenant_claim) {
            (Some(tenant), _) => Some(tenant.clone()),
            (None, Some(name)) => Some(claims.id(name, str::parse)?),
            (None, None) => None,
        };
        let scopes = match scope_claim {
            Some(name) => Some(claims.words(name)?.unwrap_or_default()),
            None => None,
        };
        Ok(Identity {
            user_id: claims.id(user_claim, |text| reserved.user(text))?,
            tenant,
            scopes,
            channels: claims.channels(channels_claim)?,
            expires_at,
        })
    }
}

/// Whether a signature of `bytes` bytes can be one of `algorithm` (RFC 7518, sections 3.2 to 3.5; RFC 8032, section
/// 5.1.6). Signatures of RSA are as long as the modulus.
fn has_signature_of(algorithm: Algorithm, bytes: usize) -> bool {
    match algorithm {
        Algorithm::HS256 => bytes == 32,
        Algorithm::HS384 => bytes == 48,
        Algorithm::HS512 | Algorithm::ES256 | Algorithm::EdDSA => bytes == 64,
        Algorithm::ES384 => bytes == 96,
        _ => bytes >= jwks::MODULUS_BITS / 8,
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
