//! The accepted issuers and their keys, from the configuration only.

use aws_config::SdkConfig;
use chat::model::id::{TenantId, UserPrefix};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use crate::jwks::JwksError;

/// Returns the minimum size of a shared secret in bytes, which is the size of the hash (RFC 7518, section 3.2).
fn secret_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// An issuer of tokens.
///
/// Users of two issuers with the same subject and prefix in the same tenant are the same user, so that a team can
/// change its identity provider. Issuers that give equal subjects to different people need a [`Issuer::user_prefix`] or
/// a [`Issuer::tenant`] each.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The required `iss`.
    pub issuer: String,
    /// The required `aud`.
    pub audience: String,
    /// The accepted `alg`s. Default: `HS256` with a secret, `RS256` and `ES256` with a key set.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// The shared secret of `HS256`, `HS384` and `HS512`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The ARN of the Secrets Manager secret or SSM parameter with the shared secret.
    #[serde(default)]
    pub secret_ref: Option<String>,
    /// The URL of the keys of all other algorithms: https, or loopback.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The claim with the user's subject.
    #[serde(default = "subject")]
    pub user_claim: String,
    /// The prefix in the ids of all users of the issuer: `partner` makes `alice` the user `partner==alice`. Default:
    /// none.
    #[serde(default)]
    pub user_prefix: Option<UserPrefix>,
    /// The tenant of all users of the issuer.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// The claim with a user's tenant. A token without it is refused.
    #[serde(default)]
    pub tenant_claim: Option<String>,
    /// The claim with the token's scopes: `chat:read`, `chat:write`, `chat:manage`. Without a `scope_claim`, every
    /// token allows everything. With one, a token without the claim allows nothing.
    #[serde(default)]
    pub scope_claim: Option<String>,
    /// The claim that limits a token to channels, if present: an array of ids, or ids separated by spaces.
    #[serde(default = "channels")]
    pub channels_claim: String,
}

fn subject() -> String {
    "sub".to_owned()
}

fn channels() -> String {
    "channels".to_owned()
}

impl Default for Issuer {
    /// Returns an issuer without a name and keys.
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            algorithms: Vec::new(),
            secret: None,
            secret_ref: None,
            jwks_url: None,
            user_claim: subject(),
            user_prefix: None,
            tenant: None,
            tenant_claim: None,
            scope_claim: None,
            channels_claim: channels(),
        }
    }
}

impl std::fmt::Debug for Issuer {
    /// Without keys, and without URLs, which may contain a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { issuer, audience, algorithms, .. } = self;
        f.debug_struct("Issuer")
            .field("issuer", issuer)
            .field("audience", audience)
            .field("algorithms", algorithms)
            .finish_non_exhaustive()
    }
}

/// A secret that debug output does not show.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The reason why the settings cannot be used. Contains names and URLs, but no other values.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An environment variable is missing or empty.
    #[error("set {0}")]
    Missing(&'static str),
    /// `JWT_ISSUERS` cannot be read.
    #[error("JWT_ISSUERS must be a JSON array of issuers (line {line}, column {column})")]
    Malformed {
        /// The line of the syntax error.
        line: usize,
        /// The column of the syntax error.
        column: usize,
    },
    /// No issuer is configured.
    #[error("JWT_ISSUERS names no issuer")]
    NoIssuer,
    /// An issuer is configured twice.
    #[error("issuer {0} is configured twice")]
    Twice(String),
    /// Two settings configure issuers.
    #[error("JWT_ISSUERS takes the place of {0}: unset one of them")]
    Beside(&'static str),
    /// Two issuers share a secret, so that each could sign for the other.
    #[error("issuer {0} has the secret of another issuer: each needs its own")]
    SharedSecret(String),
    /// Both a secret and a reference to one are set.
    #[error("issuer {0} has both a secret and a secret_ref")]
    TwoSecrets(String),
    /// Both a tenant and a tenant claim are set.
    #[error("issuer {0} has both a tenant and a tenant_claim")]
    TwoTenants(String),
    /// A PEM key is configured as a shared secret.
    #[error("the secret of issuer {0} is a PEM: a public key is no secret; give its key set as jwks_url")]
    PemAsSecret(String),
    /// The secret could not be read.
    #[error("secret_ref of issuer {issuer}: {cause}")]
    Secret {
        /// The issuer.
        issuer: String,
        /// The cause.
        cause: secrets::SecretError,
    },
    /// Neither a secret nor a key set.
    #[error("issuer {0} has neither a secret nor a jwks_url: without a key no token can be verified")]
    NoKey(String),
    /// An algorithm for which the issuer has no key.
    #[error("issuer {issuer} accepts {algorithm:?} and has no key for it")]
    NoKeyFor {
        /// The issuer.
        issuer: String,
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// The secret is too short for its algorithm.
    #[error("the secret of issuer {issuer} must have at least {bytes} bytes")]
    ShortSecret {
        /// The issuer.
        issuer: String,
        /// The minimum length.
        bytes: usize,
    },
    /// The JWKS URL cannot be used.
    #[error("jwks_url: {0}")]
    Jwks(#[from] JwksError),
}

impl Issuer {
    /// Reads the issuers from the environment: `JWT_ISSUERS`, a JSON array of issuers. For one issuer, it reads
    /// `JWT_ISSUER`, `JWT_AUDIENCE`, and `JWT_HS256_SECRET` (or `JWT_HS256_SECRET_REF`) or `JWT_JWKS_URL` or both.
    pub fn from_env() -> Result<Vec<Self>, SettingsError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Self>, SettingsError> {
        if let Some(text) = variable("JWT_ISSUERS") {
            for name in ["JWT_HS256_SECRET", "JWT_HS256_SECRET_REF", "JWT_JWKS_URL"] {
                if variable(name).is_some() {
                    return Err(SettingsError::Beside(name));
                }
            }
            // The error's own message may quote its input, for example a secret.
            return serde_json::from_str(&text)
                .map_err(|error| SettingsError::Malformed { line: error.line(), column: error.column() });
        }
        Ok(vec![Self {
            issuer: variable("JWT_ISSUER").ok_or(SettingsError::Missing("JWT_ISSUER"))?,
            audience: variable("JWT_AUDIENCE").ok_or(SettingsError::Missing("JWT_AUDIENCE"))?,
            secret: variable("JWT_HS256_SECRET").map(Secret),
            secret_ref: variable("JWT_HS256_SECRET_REF"),
            jwks_url: variable("JWT_JWKS_URL"),
            ..Self::default()
        }])
    }

    /// Reads the secret of an issuer with a `secret_ref`.
    pub(crate) async fn resolve_secret(&mut self, config: &SdkConfig) -> Result<(), SettingsError> {
        let Some(reference) = &self.secret_ref else { return Ok(()) };
        let issuer = || self.issuer.clone();
        if self.secret.is_some() {
            return Err(SettingsError::TwoSecrets(issuer()));
        }
        let secret = secrets::read(config, reference).await;
        self.secret = Some(Secret(secret.map_err(|cause| SettingsError::Secret { issuer: issuer(), cause })?));
        Ok(())
    }

    /// Returns the accepted algorithms. Fails if one of them has no key.
    pub(crate) fn checked_algorithms(&self) -> Result<Vec<Algorithm>, SettingsError> {
        let issuer = || self.issuer.clone();
        if self.secret.is_none() && self.jwks_url.is_none() {
            return Err(SettingsError::NoKey(issuer()));
        }
        if self.secret.as_ref().is_some_and(|secret| secret.bytes().trim_ascii_start().starts_with(b"-----BEGIN")) {
            return Err(SettingsError::PemAsSecret(issuer()));
        }
        if self.tenant.is_some() && self.tenant_claim.is_some() {
            return Err(SettingsError::TwoTenants(issuer()));
        }
        let mut algorithms = self.algorithms.clone();
        if algorithms.is_empty() {
            algorithms.extend(self.secret.as_ref().map(|_| Algorithm::HS256));
            algorithms.extend(self.jwks_url.iter().flat_map(|_| [Algorithm::RS256, Algorithm::ES256]));
        }
        for algorithm in &algorithms {
            let no_key = || SettingsError::NoKeyFor { issuer: issuer(), algorithm: *algorithm };
            let Some(bytes) = secret_bytes(*algorithm) else {
                self.jwks_url.as_ref().ok_or_else(no_key)?;
                continue;
            };
            if self.secret.as_ref().ok_or_else(no_key)?.bytes().len() < bytes {
                return Err(SettingsError::ShortSecret { issuer: issuer(), bytes });
            }
        }
        Ok(algorithms)
    }
}
