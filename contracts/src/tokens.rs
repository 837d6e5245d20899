//! Tokens for the stack under verification. Every interaction has its own tenant, and so begins without data.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const AUDIENCE: &str = "switchboard-local";

/// The issuer of the local run's own tokens, with the secret that its source publishes.
const LOCAL_ISSUER: &str = "https://switchboard.localhost";
const LOCAL_SECRET: &str = "switchboard-local-development-only-never-deploy-this-secret";

/// The issuer of the tokens here: they name a tenant and scopes.
const ISSUER: &str = "https://contracts.localhost";
const SECRET: &str = "switchboard-contracts-verification-only-never-deploy-this";

/// An issuer whose keys cannot be fetched: no program listens on its port.
const SILENT_ISSUER: &str = "https://silent.localhost";
const SILENT_KEYS: &str = "http://127.0.0.1:1/keys";

/// All scopes.
pub const ALL_SCOPES: &str = "chat:read chat:write chat:manage chat:add";

/// Scopes of users who invite others, and cannot add them directly.
pub const INVITING_SCOPES: &str = "chat:read chat:write chat:manage";

/// Secret that no issuer has.
const FORGED: &str = "switchboard-contracts-not-the-secret-of-any-issuer-there-is";

/// Lifetime of a token, in seconds.
const LIFE: u64 = 3600;

/// Lifetime of a token that ends while its socket is open, in seconds. The handshake takes less.
const SHORT_LIFE: u64 = 20;

/// Returns the `JwtIssuers` parameter of the stack.
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

/// User and properties of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: String,
    /// The tenant.
    pub tenant: String,
    /// Scopes, separated by spaces.
    pub scopes: String,
    /// The only channels that the token allows.
    pub channels: Option<Vec<String>>,
    /// Validity of the token.
    pub kind: Kind,
}

/// Validity of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The token is accepted.
    Valid,
    /// The token is accepted, and expires within seconds.
    Brief,
    /// The token has expired.
    Expired,
    /// The token is valid in an hour.
    Early,
    /// No issuer has signed the token.
    Forged,
    /// The keys of the issuer cannot be fetched.
    Unverifiable,
}

impl Bearer {
    /// Returns a token that allows a user of a tenant everything.
    #[must_use]
    pub fn all(user: &str, tenant: &str) -> Self {
        let scopes = ALL_SCOPES.to_owned();
        Self { user: user.to_owned(), tenant: tenant.to_owned(), scopes, channels: None, kind: Kind::Valid }
    }

    /// Returns the token as it follows `Bearer `.
    pub fn token(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let issued = match self.kind {
            Kind::Expired => now - 3 * LIFE,
            Kind::Early => now + LIFE,
            Kind::Valid | Kind::Brief | Kind::Forged | Kind::Unverifiable => now,
        };
        let life = if self.kind == Kind::Brief { SHORT_LIFE } else { LIFE };
        let issuer = if self.kind == Kind::Unverifiable { SILENT_ISSUER } else { ISSUER };
        let mut claims = json!({
            "sub": self.user, "tenant": self.tenant, "scope": self.scopes, "iss": issuer, "aud": AUDIENCE,
            "iat": issued, "nbf": issued, "exp": issued + life,
        });
        if let (Some(channels), Some(claims)) = (&self.channels, claims.as_object_mut()) {
            claims.insert("channels".to_owned(), json!(channels));
        }
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> Result<String> {
        if self.kind == Kind::Unverifiable {
            // The signature has the length of one by a 2048-bit key. It is never verified, since there is no key.
            let header = br#"{"alg":"RS256","typ":"JWT","kid":"unknown"}"#;
            let parts = [header.as_slice(), &serde_json::to_vec(claims)?, &[1; 256]];
            return Ok(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."));
        }
        let secret = if self.kind == Kind::Forged { FORGED } else { SECRET };
        let key = EncodingKey::from_secret(secret.as_bytes());
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)?)
    }
}
