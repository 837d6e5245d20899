//! Whose tokens are accepted, and with which keys: configuration only.

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use crate::jwks::JwksError;

/// Fewest bytes of a shared secret: those of the hash (RFC 7518, section 3.2).
fn secret_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// An issuer of tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The required `iss`.
    pub issuer: String,
    /// The required `aud`.
    pub audience: String,
    /// The accepted `alg`s. Left out: `HS256` when there is a secret, `RS256` and `ES256` when there is a key set.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// The shared secret of `HS256`, `HS384` and `HS512`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Where the keys of all other algorithms are: https, or loopback.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The claim that names the user.
    #[serde(default = "subject")]
    pub user_claim: String,
}

fn subject() -> String {
    "sub".to_owned()
}

/// A secret that does not show in debug output.
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

/// What makes the settings unusable. Holds no value of theirs but names and URLs.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An environment variable is missing or empty.
    #[error("set {0}")]
    Missing(&'static str),
    /// `JWT_ISSUERS` cannot be read.
    #[error("JWT_ISSUERS must be a JSON array of issuers (line {line}, column {column})")]
    Malformed {
        /// Where reading ended.
        line: usize,
        /// Where reading ended.
        column: usize,
    },
    /// There is nobody whose tokens could be accepted.
    #[error("JWT_ISSUERS names no issuer")]
    NoIssuer,
    /// An issuer is there twice.
    #[error("issuer {0} is configured twice")]
    Twice(String),
    /// Neither a secret nor a key set.
    #[error("issuer {0} has neither a secret nor a jwks_url: without a key no token can be verified")]
    NoKey(String),
    /// An algorithm that no key of the issuer's serves.
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
        /// How many it needs.
        bytes: usize,
    },
    /// The JWKS URL cannot be used.
    #[error("jwks_url: {0}")]
    Jwks(#[from] JwksError),
}

impl Issuer {
    /// From the environment: `JWT_ISSUERS`, a JSON array of issuers; or, for one issuer, `JWT_ISSUER`,
    /// `JWT_AUDIENCE`, and `JWT_HS256_SECRET` or `JWT_JWKS_URL` or both.
    pub fn from_env() -> Result<Vec<Self>, SettingsError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Self>, SettingsError> {
        if let Some(text) = variable("JWT_ISSUERS") {
            // The error's own message may quote what it could not read, a secret for example.
            return serde_json::from_str(&text)
                .map_err(|error| SettingsError::Malformed { line: error.line(), column: error.column() });
        }
        Ok(vec![Self {
            issuer: variable("JWT_ISSUER").ok_or(SettingsError::Missing("JWT_ISSUER"))?,
            audience: variable("JWT_AUDIENCE").ok_or(SettingsError::Missing("JWT_AUDIENCE"))?,
            algorithms: Vec::new(),
            secret: variable("JWT_HS256_SECRET").map(Secret),
            jwks_url: variable("JWT_JWKS_URL"),
            user_claim: subject(),
        }])
    }

    /// The accepted algorithms, each of which has a key to go with it.
    pub(crate) fn checked_algorithms(&self) -> Result<Vec<Algorithm>, SettingsError> {
        let issuer = || self.issuer.clone();
        if self.secret.is_none() && self.jwks_url.is_none() {
            return Err(SettingsError::NoKey(issuer()));
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
