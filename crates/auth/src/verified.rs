//! Tokens that were verified before.
//!
//! A client sends the same token with each request until it expires. Its signature, header and claims stay the same, so
//! a warm function verifies them once. Each later use checks the parts that change: the time, and the key set.
//!
//! A token is known by the SHA-256 digest of its text. So memory contains no token, and the time of a look-up tells
//! nothing of a token that a caller does not have.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use chat::model::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::{LEEWAY, identity::Identity};

/// Maximum number of cached tokens.
const CACHED: usize = 500;

/// Maximum length of a cached token, in bytes. Longer ones may name hundreds of channels, which take memory.
const CACHED_TOKEN_BYTES: usize = 2_048;

/// A verified token.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    pub(crate) identity: Identity,
    /// Position of the issuer in the configuration.
    pub(crate) issuer: usize,
    /// Number of the key set with the token's key. `None` with a shared secret.
    pub(crate) key_set: Option<u64>,
    /// Time of the verification.
    pub(crate) at: Timestamp,
}

impl Verified {
    /// Returns whether the times in the token are valid at `now`. `nbf` and `iat` were valid at the verification, and
    /// are valid ever since.
    fn is_timely(&self, now: Timestamp) -> bool {
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or_default();
        self.at <= now && now.as_secs() < self.identity.expires_at.as_secs().saturating_add(leeway)
    }
}

/// Verified tokens by their digests. Cleared when it is full.
#[derive(Default)]
pub(crate) struct VerifiedTokens(Mutex<HashMap<Vec<u8>, Verified>>);

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTokens").finish_non_exhaustive()
    }
}

impl VerifiedTokens {
    /// Returns the verified token with this text, if its times are valid at `now`.
    pub(crate) fn get(&self, token: &str, now: Timestamp) -> Option<Verified> {
        if token.len() > CACHED_TOKEN_BYTES {
            return None;
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(Sha256::digest(token).as_slice()).filter(|verified| verified.is_timely(now)).cloned()
    }

    /// Adds a verified token.
    pub(crate) fn add(&self, token: &str, verified: Verified) {
        if token.len() > CACHED_TOKEN_BYTES {
            return;
        }
        let digest = Sha256::digest(token).to_vec();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHED && !known.contains_key(&digest) {
            known.clear();
        }
        known.insert(digest, verified);
    }
}

#[cfg(test)]
mod tests {
    use chat::model::access::Caller;

    use super::*;

    fn verified(at: i64, expires_at: i64) -> Verified {
        let caller = Caller { user_id: "alice".parse().unwrap(), tenant: None, allowed_channels: None };
        let identity = Identity { caller, scopes: None, expires_at: Timestamp::from_secs(expires_at) };
        Verified { identity, issuer: 0, key_set: None, at: Timestamp::from_secs(at) }
    }

    #[test]
    fn a_token_is_known_from_its_verification_to_the_end_of_its_leeway() {
        let tokens = VerifiedTokens::default();
        tokens.add("a.b.c", verified(100, 200));
        for (now, is_known) in [(99, false), (100, true), (200, true), (259, true), (260, false)] {
            assert_eq!(tokens.get("a.b.c", Timestamp::from_secs(now)).is_some(), is_known, "{now}");
        }
        for other in ["a.b.", "a.b.c.", "A.b.c", ""] {
            assert!(tokens.get(other, Timestamp::from_secs(150)).is_none(), "{other}");
        }
    }

    #[test]
    fn few_and_short_tokens_are_cached() {
        let (tokens, now) = (VerifiedTokens::default(), Timestamp::from_secs(1));
        for number in 0..=CACHED {
            tokens.add(&number.to_string(), verified(0, 100));
        }
        assert!(tokens.0.lock().unwrap().len() <= CACHED);
        assert!(tokens.get(&CACHED.to_string(), now).is_some(), "the newest one");
        for (length, is_cached) in [(CACHED_TOKEN_BYTES, true), (CACHED_TOKEN_BYTES + 1, false)] {
            let token = "x".repeat(length);
            tokens.add(&token, verified(0, 100));
            assert_eq!(tokens.get(&token, now).is_some(), is_cached, "{length}");
        }
    }
}
