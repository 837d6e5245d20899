//! The public keys of an issuer.
//!
//! A key that is known verifies at once, whatever its server does: a set past its time is renewed in the background,
//! and the last good one is kept through an outage. A key that is not known makes the caller wait for a fetch: one is
//! under way at a time, the others share it, and there is at most one in [`Timing::interval`]. Key ids that a fetch did
//! not bring are remembered, so that made-up ones cost nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse, RSAKeyParameters},
};
use reqwest::Url;

use crate::AuthError;

/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest key set: bytes.
const SET_BYTES: usize = 256 * 1024;

/// Unknown key ids that are remembered.
const UNKNOWN_IDS: usize = 1_000;

/// Characters of the base64url modulus of a 2,048-bit RSA key, the smallest accepted (RFC 7518, section 3.3).
const MODULUS_CHARS: usize = 342;

/// When keys are fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long a set is used before it is renewed.
    pub(crate) fresh_for: Duration,
    /// Shortest time between two fetches.
    pub(crate) interval: Duration,
    /// How long a key id that was not in the set is refused without asking again.
    pub(crate) unknown_for: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_mins(10),
            interval: Duration::from_secs(1),
            unknown_for: Duration::from_secs(30),
        }
    }
}

/// Why a JWKS URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not a URL.
    #[error("is not a URL")]
    NotAUrl,
    /// Neither https nor loopback.
    #[error("must be https, or loopback")]
    Insecure,
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// The keys at a URL. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Jwks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: Url,
    client: reqwest::Client,
    timing: Timing,
    known: Mutex<Known>,
    /// Held over a fetch; tells when the last one began.
    fetching: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    keys: Arc<HashMap<String, Key>>,
    fetched: Option<Instant>,
    unknown: HashSet<String>,
    unknown_since: Option<Instant>,
}

/// A key, and the algorithms that its own parameters allow.
#[derive(Clone)]
struct Key {
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl Jwks {
    pub(crate) fn new(url: &str, timing: Timing) -> Result<Self, JwksError> {
        let url = Url::parse(url).map_err(|_| JwksError::NotAUrl)?;
        let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(JwksError::Insecure);
        }
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (known, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Shared { url, client, timing, known, fetching })))
    }

    /// The one key called `kid`, when its own parameters allow it for `algorithm`.
    pub(crate) async fn key(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, AuthError> {
        let known = self.0.known();
        if let Some(key) = known.keys.get(kid) {
            if known.fetched.is_none_or(|at| at.elapsed() >= self.0.timing.fresh_for) {
                let shared = Arc::clone(&self.0);
                tokio::spawn(async move { shared.renew().await });
            }
            return key.usable_for(algorithm);
        }
        if known.is_unknown(kid, self.0.timing) {
            return Err(AuthError::Invalid);
        }
        self.0.look_for(kid).await;
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.keys.get(kid) {
            Some(key) => key.usable_for(algorithm),
            None if known.fetched.is_none() => Err(AuthError::KeysUnavailable),
            None => {
                known.remember_unknown(kid, self.0.timing);
                Err(AuthError::Invalid)
            }
        }
    }
}

impl Shared {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews a set past its time, unless that is under way.
    async fn renew(&self) {
        let Ok(mut tried) = self.fetching.try_lock() else { return };
        if tried.is_none_or(|at| at.elapsed() >= self.timing.interval) {
            *tried = Some(Instant::now());
            self.fetch().await;
        }
    }

    /// Fetches, unless somebody else's fetch has brought `kid` meanwhile.
    async fn look_for(&self, kid: &str) {
        let asked = Instant::now();
        let mut tried = self.fetching.lock().await;
        // A fetch that began after this caller asked has answered it, one way or the other.
        if tried.is_some_and(|at| at >= asked) || self.known().keys.contains_key(kid) {
            return;
        }
        if let Some(at) = *tried {
            tokio::time::sleep(self.timing.interval.saturating_sub(at.elapsed())).await;
        }
        *tried = Some(Instant::now());
        self.fetch().await;
    }

    async fn fetch(&self) {
        match self.read().await {
            Ok(keys) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Known { keys: Arc::new(keys), fetched: Some(Instant::now()), ..Known::default() };
            }
            // Without the URL: a careless one may hold a key of its own.
            Err(error) => tracing::warn!(%error, "could not fetch the key set; going on with the last one"),
        }
    }

    async fn read(&self) -> Result<HashMap<String, Key>, FetchError> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let response = self.client.get(self.url.clone()).send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if !status.is_success() {
            return Err(FetchError::Status(status.as_u16()));
        }
        let mut response = response;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > SET_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let set: Set = serde_json::from_slice(&body).map_err(|_| FetchError::Malformed)?;
        Ok(usable_keys(set.keys))
    }
}

impl Known {
    fn is_unknown(&self, kid: &str, timing: Timing) -> bool {
        self.unknown.contains(kid) && self.unknown_since.is_some_and(|since| since.elapsed() < timing.unknown_for)
    }

    fn remember_unknown(&mut self, kid: &str, timing: Timing) {
        if self.unknown_since.is_none_or(|since| since.elapsed() >= timing.unknown_for) {
            self.unknown.clear();
            self.unknown_since = Some(Instant::now());
        }
        if self.unknown.len() < UNKNOWN_IDS {
            self.unknown.insert(kid.to_owned());
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("status {0}")]
    Status(u16),
    #[error("the key set is larger than {SET_BYTES} bytes")]
    TooLarge,
    #[error("what came is not a key set")]
    Malformed,
}

impl Key {
    fn usable_for(&self, algorithm: Algorithm) -> Result<DecodingKey, AuthError> {
        self.algorithms.contains(&algorithm).then(|| self.key.clone()).ok_or(AuthError::Invalid)
    }
}

/// The keys by id. A key of an unknown kind is none of our business; an id that is there twice names nobody.
fn usable_keys(keys: Vec<serde_json::Value>) -> HashMap<String, Key> {
    let mut usable = HashMap::new();
    let mut seen = HashSet::new();
    for value in keys {
        let Some(kid) = value["kid"].as_str().map(str::to_owned) else { continue };
        if !seen.insert(kid.clone()) {
            usable.remove(&kid);
            continue;
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        let algorithms = algorithms(&jwk);
        if let (false, Ok(key)) = (algorithms.is_empty(), DecodingKey::from_jwk(&jwk)) {
            usable.insert(kid, Key { algorithms, key });
        }
    }
    usable
}

/// What a key may verify, by its `kty`, `crv`, `alg`, `use` and `key_ops` (RFC 7517, RFC 7518, RFC 8037).
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures {
        return Vec::new();
    }
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(RSAKeyParameters { n, .. }) if n.len() >= MODULUS_CHARS => {
            &[RS256, RS384, RS512, PS256, PS384, PS512]
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => &[],
    };
    let named = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    of_kind
        .iter()
        .copied()
        .filter(|algorithm| named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}")))
        .collect()
}
