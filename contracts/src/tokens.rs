//! Tokens for the stack under verification. Every interaction gets a tenant of its own, and so an empty world.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const AUDIENCE: &str = "switchboard-local";

/// The issuer whose tokens the local run makes for itself, with the secret that it publishes in its source.
const LOCAL_ISSUER: &str = "https://switchboard.localhost";
const LOCAL_SECRET: &str = "switchboard-local-development-only-never-deploy-this-secret";

/// The issuer of the tokens here: they name a tenant and scopes.
const ISSUER: &str = "https://contracts.localhost";
const SECRET: &str = "switchboard-contracts-verification-only-never-deploy-this";

/// An issuer whose keys nobody can have: nothing listens on its port.
const SILENT_ISSUER: &str = "https://silent.localhost";
const SILENT_KEYS: &str = "http://127.0.0.1:1/keys";

/// Every scope that there is.
pub const ALL_SCOPES: &str = "chat:read chat:write chat:manage chat:add";

/// The scopes of those who invite others, and do not add them outright.
pub const INVITING_SCOPES: &str = "chat:read chat:write chat:manage";

/// How long a token lasts: seconds.
const LIFE: u64 = 3600;

/// The `JwtIssuers` parameter of the stack.
#[must_use]
pub fn issuers() -> String {
    json!([
        { "issuer": LOCAL_ISSUER, "audience": AUDIENCE, "secret": LOCAL_SECRET },
        {
            "issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET,
            "tenant_claim": "tenant", "scope_claim": "scope",
        },
        { "issuer": SILENT_ISSUER, "audience": AUDIENCE, "jwks_url": SILENT_KEYS },
    ])
    .to_string()
}

/// Whose token, and what is special about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: String,
    /// The tenant.
    pub tenant: String,
    /// Scopes with spaces between.
    pub scopes: String,
    /// The only channels that it reaches.
    pub channels: Option<Vec<String>>,
    /// Whether it can be verified.
    pub kind: Kind,
}

/// What becomes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is accepted.
    Valid,
    /// Its time is over.
    Expired,
    /// The keys of its issuer cannot be had.
    Unverifiable,
}

impl Bearer {
    /// A token that allows everything to a user of a tenant.
    #[must_use]
    pub fn all(user: &str, tenant: &str) -> Self {
        let scopes = ALL_SCOPES.to_owned();
        Self { user: user.to_owned(), tenant: tenant.to_owned(), scopes, channels: None, kind: Kind::Valid }
    }

    /// The token as it stands after `Bearer `.
    pub fn token(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let issued = if self.kind == Kind::Expired { now - 3 * LIFE } else { now };
        let issuer = if self.kind == Kind::Unverifiable { SILENT_ISSUER } else { ISSUER };
        let mut claims = json!({
            "sub": self.user, "tenant": self.tenant, "scope": self.scopes, "iss": issuer, "aud": AUDIENCE,
            "iat": issued, "nbf": issued, "exp": issued + LIFE,
        });
        if let (Some(channels), Some(claims)) = (&self.channels, claims.as_object_mut()) {
            claims.insert("channels".to_owned(), json!(channels));
        }
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> Result<String> {
        if self.kind == Kind::Unverifiable {
            // The signature is as long as one by a key of 2048 bits. It is never verified: there is no key to do it with.
            let header = br#"{"alg":"RS256","typ":"JWT","kid":"unknown"}"#;
            let parts = [header.as_slice(), &serde_json::to_vec(claims)?, &[1; 256]];
            return Ok(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."));
        }
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)?)
    }
}
