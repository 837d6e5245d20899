//! The public keys of an issuer.
//!
//! A key that is known verifies whatever its server does: a set past its time is renewed beside the request, which waits
//! [`RENEWAL_WAIT`] for it at most, and the last good one is kept through an outage. A key that is not known makes the
//! caller wait for a fetch: one is under way at a time, the others share it, and there is at most one in
//! [`Timing::interval`]. Key ids that a fetch did not bring are remembered for [`Timing::unknown_for`], so that repeating
//! a made-up one costs nothing; a fetch that failed tells nothing about any.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse, RSAKeyParameters},
};
use reqwest::Url;

use crate::AuthError;

/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a request waits for the renewal of a set in which it has found its key. Not at all would do for the request,
/// but a Lambda function is frozen when it has answered, and the renewal with it.
const RENEWAL_WAIT: Duration = Duration::from_millis(300);

/// Largest key set: bytes.
const SET_BYTES: usize = 256 * 1024;

/// Unknown key ids that are remembered.
const UNKNOWN_IDS: usize = 1_000;

/// The smallest RSA key accepted (RFC 7518, section 3.3).
const MODULUS_BITS: usize = 2_048;

/// Of private and of shared keys (RFC 7518, section 6).
const PRIVATE_PARAMETERS: [&str; 2] = ["d", "k"];

/// When keys are fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How long a set is used before it is renewed.
    pub(crate) fresh_for: Duration,
    /// Shortest time between two fetches.
    pub(crate) interval: Duration,
    /// How long after a renewal that failed the next one is tried.
    pub(crate) retry_after: Duration,
    /// How long a key id that was not in the set is refused without asking again.
    pub(crate) unknown_for: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_mins(10),
            interval: Duration::from_secs(1),
            retry_after: Duration::from_secs(15),
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
    /// With a user name or a password, which would end up in logs.
    #[error("must not hold a user name or a password")]
    Credentials,
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
    /// Held over a fetch.
    last: tokio::sync::Mutex<Option<Attempt>>,
}

/// A fetch.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    began: Instant,
    /// Whether it brought a set; `false` too when whoever made it went away before its end.
    succeeded: bool,
}

#[derive(Debug, Default, Clone)]
struct Known {
    keys: Arc<HashMap<String, Key>>,
    fetched: Option<Instant>,
    /// Key ids that were in no set, and when that was found out.
    unknown: HashMap<String, Instant>,
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
        if !url.username().is_empty() || url.password().is_some() {
            return Err(JwksError::Credentials);
        }
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let (known, last) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Shared { url, client, timing, known, last })))
    }

    /// The one key called `kid`, when its own parameters allow it for `algorithm`.
    pub(crate) async fn key(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, AuthError> {
        if let Some(key) = self.0.find(kid) {
            if self.0.is_stale() {
                let shared = Arc::clone(&self.0);
                let renewal = tokio::spawn(async move { shared.renew().await });
                // In vain: it goes on by itself, and the key at hand is good.
                let _ = tokio::time::timeout(RENEWAL_WAIT, renewal).await;
            }
            return key.usable_for(algorithm);
        }
        if self.0.lock().is_unknown(kid, self.0.timing) {
            return Err(AuthError::Invalid);
        }
        let answered = self.0.look_for(kid).await;
        match self.0.find(kid) {
            Some(key) => key.usable_for(algorithm),
            None if !answered => Err(AuthError::KeysUnavailable),
            None => {
                self.0.lock().remember_unknown(kid, self.0.timing);
                Err(AuthError::Invalid)
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, kid: &str) -> Option<Key> {
        self.lock().keys.get(kid).cloned()
    }

    fn is_stale(&self) -> bool {
        self.lock().fetched.is_none_or(|at| at.elapsed() >= self.timing.fresh_for)
    }

    /// Renews a set past its time, unless that is under way or has just been tried.
    async fn renew(&self) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_none_or(|last| last.began.elapsed() >= self.timing.retry_after) {
            self.fetch(&mut last).await;
        }
    }

    /// Fetches, unless somebody else's fetch has answered for `kid` meanwhile. Whether there is an answer.
    async fn look_for(&self, kid: &str) -> bool {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if self.lock().keys.contains_key(kid) {
            return true;
        }
        if let Some(Attempt { began, succeeded }) = *last {
            // A fetch that began after this caller asked tells as much as another one would.
            if succeeded && began >= asked {
                return true;
            }
            let wait = self.timing.interval.saturating_sub(began.elapsed());
            if !succeeded && !wait.is_zero() {
                return false;
            }
            tokio::time::sleep(wait).await;
        }
        self.fetch(&mut last).await
    }

    async fn fetch(&self, last: &mut Option<Attempt>) -> bool {
        let attempt = last.insert(Attempt { began: Instant::now(), succeeded: false });
        match self.read().await {
            Ok(keys) => {
                let mut known = self.lock();
                known.keys = Arc::new(keys);
                known.fetched = Some(Instant::now());
                attempt.succeeded = true;
            }
            // Without the URL: a careless one may hold a key of its own.
            Err(error) => tracing::warn!(%error, "could not fetch the key set; going on with the last one"),
        }
        attempt.succeeded
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
        self.unknown.get(kid).is_some_and(|since| since.elapsed() < timing.unknown_for)
    }

    fn remember_unknown(&mut self, kid: &str, timing: Timing) {
        if self.unknown.len() >= UNKNOWN_IDS {
            self.unknown.retain(|_, since| since.elapsed() < timing.unknown_for);
        }
        if self.unknown.len() < UNKNOWN_IDS {
            self.unknown.insert(kid.to_owned(), Instant::now());
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

/// The keys by id. A key of an unknown kind is none of our business; an id that is there twice names nobody; a key whose
/// private half is published is anybody's.
fn usable_keys(keys: Vec<serde_json::Value>) -> HashMap<String, Key> {
    let mut usable = HashMap::new();
    let mut seen = HashSet::new();
    for value in keys {
        let Some(kid) = value["kid"].as_str().map(str::to_owned) else { continue };
        if !seen.insert(kid.clone()) {
            usable.remove(&kid);
            continue;
        }
        if PRIVATE_PARAMETERS.iter().any(|name| value.get(name).is_some()) {
            tracing::error!("the key set publishes a private key, which is not used");
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

/// How many bits a number in base64url has.
fn bits(number: &str) -> usize {
    let bytes = URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    let significant = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &bytes[first..]);
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    significant.len() * 8 - leading
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
        AlgorithmParameters::RSA(RSAKeyParameters { n, .. }) if bits(n) >= MODULUS_BITS => {
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
