//! What a token says, read so that it cannot say two things at once.

use std::fmt;

use jsonwebtoken::{TokenData, Validation, decode};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{AuthError, LEEWAY};

/// A JSON object without repeated names. Readers differ in which of two equal names they believe: one that checks the
/// first and one that uses the last would let a token through (RFC 7519, section 4).
#[derive(Debug, Default)]
pub(crate) struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Claims, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is there twice"));
                    }
                }
                Ok(Claims(map))
            }
        }

        deserializer.deserialize_map(Unique)
    }
}

impl Claims {
    /// The claims of a verified token.
    pub(crate) fn of(token: &str, key: &jsonwebtoken::DecodingKey, validation: &Validation) -> Result<Self, AuthError> {
        let TokenData { claims, .. } = decode(token, key, validation).map_err(|_| AuthError::Invalid)?;
        Ok(claims)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A time in seconds since the Unix epoch, fractions cut off (`NumericDate` of RFC 7519).
    fn time(&self, name: &str) -> Result<Option<i64>, AuthError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| seconds.abs() < 1e15).ok_or(AuthError::Invalid)?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        Ok(Some(seconds.floor() as i64))
    }

    /// Checks `exp`, `nbf` and `iat` at `now_secs`; returns `exp`.
    pub(crate) fn check_times(&self, now_secs: i64) -> Result<i64, AuthError> {
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or_default();
        let expires_at = self.time("exp")?.ok_or(AuthError::Invalid)?;
        if now_secs >= expires_at.saturating_add(leeway) {
            return Err(AuthError::Expired);
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|from| now_secs.saturating_add(leeway) < from) {
                return Err(AuthError::NotYetValid);
            }
        }
        Ok(expires_at)
    }
}
