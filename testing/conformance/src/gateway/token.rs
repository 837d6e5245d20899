//! Tokens: JWTs whose signature is a word. A client reads `iat` and `exp`, and verifies nothing.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Claims that the kit reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Seconds since the Unix epoch.
    pub(crate) issued_at: u64,
    /// Seconds since the Unix epoch.
    pub(crate) expires_at: u64,
}

impl Claims {
    /// Returns a token with these claims. `number` makes it differ from all others.
    pub(crate) fn token(self, user_id: &str, number: u64) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "typ": "JWT"}).to_string());
        let claims = json!({"sub": user_id, "iat": self.issued_at, "exp": self.expires_at, "jti": number.to_string()});
        format!("{header}.{}.signature", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// Reads a token; `None` if it is none of the kit.
    pub(crate) fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let claims = parts.nth(1)?;
        (parts.next()? == "signature").then_some(())?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(Self { issued_at: claims["iat"].as_u64()?, expires_at: claims["exp"].as_u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_claims() {
        let claims = Claims { issued_at: 100, expires_at: 3700 };
        assert_eq!(Claims::read(&claims.token("me", 1)), Some(claims));
        assert_ne!(claims.token("me", 1), claims.token("me", 2));
        assert_eq!(Claims::read("a.b.c"), None);
    }
}
