//! Verification of callers by JSON Web Tokens.
//!
//! Issuers, keys and algorithms come from the configuration only. A token's `iss` selects a configured issuer, and its
//! `kid` one of that issuer's keys. Its `alg` must be allowed by both the issuer's configuration and the key's
//! parameters. Embedded keys and key URLs (`jwk`, `jku`, `x5c`, `x5u`) are ignored. Errors and log lines contain no
//! token, key or secret.
//!
//! Checks run from cheap to expensive: shape, size, issuer, algorithm, claims and times. Keys are looked up last, at a
//! limited rate ([`jwks`]), so that an invalid token is cheap to refuse. A token that was verified before is checked
//! against the time and the key set only ([`verified`]).

mod claims;
mod configured;
mod identity;
mod jwks;
mod refusal;
mod settings;
mod verified;

use std::{collections::HashSet, time::Duration};

use aws_config::SdkConfig;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat::model::{
    access::Caller,
    id::{IdError, ReservedNames, UserId},
    time::Timestamp,
};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::de::IgnoredAny;

use crate::{
    claims::Claims,
    configured::Configured,
    jwks::Jwks,
    refusal::{KID_BYTES, Refusal},
    verified::{Verified, VerifiedTokens},
};

pub use crate::{
    identity::{Identity, Scope},
    jwks::JwksError,
    refusal::ClaimProblem,
    settings::{Issuer, Secret, SettingsError},
};

/// Maximum difference between the clocks of issuer and verifier.
pub const LEEWAY: Duration = Duration::from_mins(1);

/// Maximum length of a token, in bytes. API Gateway accepts 10,240 bytes of headers in total ("Quotas for configuring
/// and running a REST API").
pub const TOKEN_BYTES: usize = 8_192;

/// The reason for a refused token, for its bearer. Contains nothing from the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is missing.
    #[error("a bearer token is required")]
    Missing,
    /// Malformed, with an invalid signature, with an unknown key, or with an algorithm that is not configured.
    #[error("the token is not valid")]
    Invalid,
    /// A claim is missing or invalid.
    #[error("the token's claim {name} {problem}")]
    Claim {
        /// The name of the claim, as configured.
        name: String,
        /// The problem of the claim.
        problem: ClaimProblem,
    },
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The issuer's keys are temporarily unavailable.
    #[error("the keys of the issuer cannot be had at the moment")]
    KeysUnavailable,
}

/// Verifies tokens. Created once per cold start.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Configured>,
    reserved: ReservedNames,
    verified: VerifiedTokens,
}

/// An issuer with its keys.
struct Trusted {
    settings: Issuer,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
}

impl Verifier {
    /// Creates a verifier for the issuers in the environment ([`Issuer::from_env`]). The first token of an issuer with
    /// a referenced secret reads the secret with `config`. Reserves `AGENT_NAME`, the name of the agent, so that no
    /// caller can have it.
    pub fn from_env(config: &SdkConfig) -> Result<Self, SettingsError> {
        let issuers = Issuer::from_env()?;
        let agent = std::env::var("AGENT_NAME").ok().filter(|name| !name.is_empty());
        let reserved = agent.map(ReservedNames::with_agent).unwrap_or_default();
        Ok(Self { reserved, ..Self::configured(issuers, Some(config), jwks::Timing::default())? })
    }

    /// Creates a verifier for the tokens of `issuers`, whose secrets are already read.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, SettingsError> {
        Self::with_timing(issuers, jwks::Timing::default())
    }

    pub(crate) fn with_timing(issuers: Vec<Issuer>, timing: jwks::Timing) -> Result<Self, SettingsError> {
        Self::configured(issuers, None, timing)
    }

    /// Creates a verifier. With a `config`, referenced secrets are read later.
    pub(crate) fn configured(
        issuers: Vec<Issuer>,
        config: Option<&SdkConfig>,
        timing: jwks::Timing,
    ) -> Result<Self, SettingsError> {
        if issuers.is_empty() {
            return Err(SettingsError::NoIssuer);
        }
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        for Issuer { issuer, secret, .. } in &issuers {
            if !names.insert(issuer) {
                return Err(SettingsError::Twice(issuer.clone()));
            }
            // A party that knows the secret of one issuer could sign for the other.
            if secret.as_ref().is_some_and(|secret| !secrets.insert(secret.bytes())) {
                return Err(SettingsError::SharedSecret(issuer.clone()));
            }
        }
        let configured = issuers.into_iter().map(|issuer| match config.filter(|_| issuer.secret_ref.is_some()) {
            Some(config) => Configured::deferred(issuer, config, timing),
            None => Configured::new(issuer, timing),
        });
        let issuers = configured.collect::<Result<_, _>>()?;
        Ok(Self { issuers, reserved: ReservedNames::default(), verified: VerifiedTokens::default() })
    }

    /// Reads the id of a new member. Names that are reserved for callers are reserved for members too.
    ///
    /// # Errors
    /// [`IdError`].
    pub fn user(&self, text: &str) -> Result<UserId, IdError> {
        self.reserved.user(text)
    }

    /// Verifies `token` at `now`. A refusal is logged with its reason.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        if let Some(identity) = self.known(token, now).await {
            return Ok(identity);
        }
        let mut issuer = None;
        let verified = self.check(token, now, &mut issuer).await;
        verified.map_err(|refusal| {
            if refusal != Refusal::Missing {
                let (claim, fault) = (refusal.claim_name(), refusal.fault());
                tracing::warn!(issuer, claim, fault, reason = %refusal, "token refused");
            }
            refusal.into()
        })
    }

    /// Returns the identity in a token that was verified before, unless it has expired or its key set has changed.
    async fn known(&self, token: &str, now: Timestamp) -> Option<Identity> {
        let Verified { identity, issuer, key_set, .. } = self.verified.get(token, now)?;
        let Some(key_set) = key_set else { return Some(identity) };
        self.issuers.get(issuer)?.is_current(key_set, now).await.then_some(identity)
    }

    /// Verifies `token`, cheapest checks first. Sets `issuer` to the configured issuer of the token.
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
        // No claim is trusted before the signature is verified with a key of the issuer that `iss` selects. Claims can
        // only refuse the token until then, so a token with invalid claims needs no key look-up.
        let claims = Claims::read(&payload).ok_or(Refusal::Payload)?;
        let claimed = claims.required("iss")?;
        let configured = self.issuers.iter().enumerate().find(|(_, one)| one.settings.issuer == claimed);
        let (position, configured) = configured.ok_or_else(|| Refusal::claim("iss", ClaimProblem::UnknownIssuer))?;
        *issuer = Some(&configured.settings.issuer);
        let identity = identity(&configured.settings, &claims, &self.reserved, now)?;
        let is_taken = |secret: &[u8]| self.issuers.iter().any(|other| other.has_secret(secret));
        let trusted = configured.trusted(now, is_taken).await?;
        let key_set = trusted.verify_signature(token, &header, signature.len(), now).await?;
        self.verified.add(token, Verified { identity: identity.clone(), issuer: position, key_set, at: now });
        Ok(identity)
    }
}

impl Trusted {
    fn new(settings: Issuer, timing: jwks::Timing) -> Result<Self, SettingsError> {
        let algorithms = settings.checked_algorithms()?;
        // The algorithm is set per token. Times are checked against the caller's time.
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

    /// Verifies the signature, checks `iss` and `aud` again, and requires `exp`. Returns the number of the key set with
    /// the key, if it is of one.
    async fn verify_signature(
        &self,
        token: &str,
        header: &Header,
        signature_bytes: usize,
        now: Timestamp,
    ) -> Result<Option<u64>, Refusal> {
        if !self.algorithms.contains(&header.alg) {
            return Err(Refusal::Algorithm);
        }
        if !has_signature_of(header.alg, signature_bytes) {
            return Err(Refusal::SignatureLength);
        }
        let (key, key_set) = match header.alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                (self.secret.clone().ok_or(Refusal::Algorithm)?, None)
            }
            algorithm => {
                let jwks = self.jwks.as_ref().ok_or(Refusal::Algorithm)?;
                let kid = header.kid.as_deref().filter(|kid| kid.len() <= KID_BYTES).ok_or(Refusal::NoKid)?;
                let (key, key_set) = jwks.key(kid, algorithm, now).await?;
                (key, Some(key_set))
            }
        };
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        decode::<IgnoredAny>(token, &key, &validation).map_err(|_| Refusal::Signature)?;
        Ok(key_set)
    }
}

/// Returns the caller in the claims by the issuer's configuration, if the audience and the times are valid.
fn identity(settings: &Issuer, claims: &Claims, reserved: &ReservedNames, now: Timestamp) -> Result<Identity, Refusal> {
    claims.check_audience(&settings.audience)?;
    let expires_at = claims.check_times(now)?;
    let Issuer { user_claim, user_prefix, tenant, tenant_claim, scope_claim, channels_claim, .. } = settings;
    let tenant = match (tenant, tenant_claim) {
        (Some(tenant), _) => Some(tenant.clone()),
        (None, Some(name)) => Some(claims.id(name, str::parse)?),
        (None, None) => None,
    };
    let scopes = match scope_claim {
        Some(name) => Some(claims.words(name)?.unwrap_or_default()),
        None => None,
    };
    let user_id = claims.id(user_claim, |subject| reserved.caller(user_prefix.as_ref(), subject))?;
    let allowed_channels = claims.channels(channels_claim)?;
    Ok(Identity { caller: Caller { user_id, tenant, allowed_channels }, scopes, expires_at })
}

/// Returns whether `bytes` is a valid signature length for `algorithm` (RFC 7518, sections 3.2 to 3.5; RFC 8032,
/// section 5.1.6). An RSA signature is as long as the modulus.
fn has_signature_of(algorithm: Algorithm, bytes: usize) -> bool {
    match algorithm {
        Algorithm::HS256 => bytes == 32,
        Algorithm::HS384 => bytes == 48,
        Algorithm::HS512 | Algorithm::ES256 | Algorithm::EdDSA => bytes == 64,
        Algorithm::ES384 => bytes == 96,
        _ => bytes >= jwks::MODULUS_BITS / 8,
    }
}

/// Returns whether the header has no critical extension and no other type than a JWT or an access token (RFC 9068). A
/// reader must refuse critical extensions that it does not know (RFC 7515, section 4.1.11).
fn is_plain(header: &Claims) -> bool {
    let typed = header.text("typ").is_none_or(|typ| {
        let typ = typ.to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
    });
    typed && !header.has("crit")
}

#[cfg(test)]
mod tests;
