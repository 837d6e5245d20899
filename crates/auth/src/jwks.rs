//! The public keys of an issuer.
//!
//! A token chooses its `kid` freely, so its look-up must be cheap. Two rules limit the cost:
//! - A `kid` in the cached set verifies immediately, even if the issuer's server fails. A set older than
//!   [`Timing::fresh_for`] is renewed beside the request, which waits at most [`RENEWAL_WAIT`]. An outage keeps the
//!   last valid set.
//! - A `kid` that is not in the set starts a fetch only if the last one began [`Timing::interval`] ago. Before that, it
//!   is refused immediately and not stored. One fetch runs at a time, and all callers share it.
//!
//! If the server responds, a published key is accepted after at most [`Timing::interval`]. A withdrawn key is then
//! refused after at most [`Timing::fresh_for`] and one request. After a failed fetch the next one waits
//! [`Timing::retry_after`], doubled with each further failure up to [`Timing::interval`]. Meanwhile callers with an
//! unknown key are refused with [`Refusal::KeysUnavailable`].
//!
//! These limits apply per process: each environment of a function has its own set.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chat::model::time::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse, RSAKeyParameters},
};
use reqwest::Url;

use crate::refusal::{KID_BYTES, Refusal};

/// Time-out of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time that a request waits for the renewal of a set that contains its key. The request does not need the
/// renewal. But a Lambda function is frozen after its response, and the renewal with it.
const RENEWAL_WAIT: Duration = Duration::from_millis(300);

/// Maximum size of a key set, in bytes.
const SET_BYTES: usize = 256 * 1024;

/// Maximum number of keys in a set. Issuers publish a few, and those of a rotation.
pub(crate) const SET_KEYS: usize = 100;

/// Minimum size of an RSA key, in bits (RFC 7518, section 3.3).
pub(crate) const MODULUS_BITS: usize = 2_048;

/// Maximum size of an RSA key, in bits. The work of a verification grows with the square of the size.
const LARGEST_MODULUS_BITS: usize = 8_192;

/// Parameters of private and of shared keys (RFC 7518, section 6).
const PRIVATE_PARAMETERS: [&str; 2] = ["d", "k"];

/// The times of fetches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Time for which a set is used before it is renewed.
    pub(crate) fresh_for: Duration,
    /// Minimum time between a successful fetch and the next one for a key that is not in the set.
    pub(crate) interval: Duration,
    /// Time between the first fetch that failed and the next one.
    pub(crate) retry_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_mins(10),
            interval: Duration::from_secs(10),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// Returns the minimum time between the beginning of `attempt` and the next one.
    fn pause(self, attempt: Attempt) -> Duration {
        let Some(doublings) = attempt.failures.checked_sub(1) else { return self.interval };
        self.retry_after.saturating_mul(2_u32.saturating_pow(doublings)).min(self.interval)
    }
}

/// The reason why a JWKS URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The text is not a URL.
    #[error("is not a URL")]
    NotAUrl,
    /// Neither https nor loopback.
    #[error("must be https, or loopback")]
    Insecure,
    /// Contains a user name or a password, which would be logged.
    #[error("must not hold a user name or a password")]
    Credentials,
    /// The HTTP client could not be created.
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
    /// The last fetch. The lock is held during a fetch.
    last: tokio::sync::Mutex<Option<Attempt>>,
}

/// A finished fetch.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    began: Timestamp,
    /// Number of consecutive failed fetches, including this one. 0 if it succeeded.
    failures: u32,
}

#[derive(Debug, Default, Clone)]
struct Known {
    keys: Arc<HashMap<String, Key>>,
    fetched: Option<Timestamp>,
    /// Number of fetched sets.
    number: u64,
}

/// A key, and the algorithms that its parameters allow.
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

    /// Returns the key with the id `kid`, if its parameters allow `algorithm`, and the number of its set.
    pub(crate) async fn key(
        &self,
        kid: &str,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<(DecodingKey, u64), Refusal> {
        if let Some((key, set)) = self.0.find(kid) {
            // The key that was found is valid after the renewal too.
            self.renew_if_stale(now).await;
            return Ok((key.usable_for(algorithm)?, set));
        }
        // A separate task, because a cancelled request must not end the fetch that others wait for.
        let shared = Arc::clone(&self.0);
        let answered = tokio::spawn(async move { shared.look_for_unknown(now).await }).await.unwrap_or(false);
        match self.0.find(kid) {
            Some((key, set)) => Ok((key.usable_for(algorithm)?, set)),
            None if answered => Err(Refusal::UnknownKey),
            None => Err(Refusal::KeysUnavailable),
        }
    }

    /// Returns whether `set` is the number of the cached set. Renews it if it is old, for later requests.
    pub(crate) async fn is_current(&self, set: u64, now: Timestamp) -> bool {
        let is_current = self.0.lock().number == set;
        if is_current {
            self.renew_if_stale(now).await;
        }
        is_current
    }

    /// Renews an old set beside the request, and waits at most [`RENEWAL_WAIT`] for it.
    async fn renew_if_stale(&self, now: Timestamp) {
        if self.0.is_stale(now) {
            let shared = Arc::clone(&self.0);
            let renewal = tokio::spawn(async move { shared.renew(now).await });
            // After the wait the renewal continues.
            let _ = tokio::time::timeout(RENEWAL_WAIT, renewal).await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a key and the number of its set.
    fn find(&self, kid: &str) -> Option<(Key, u64)> {
        let known = self.lock();
        Some((known.keys.get(kid)?.clone(), known.number))
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.lock().fetched.is_none_or(|at| distance(at, now) >= self.timing.fresh_for)
    }

    /// Returns whether enough time has passed since the last fetch.
    fn is_due(&self, last: Option<Attempt>, now: Timestamp) -> bool {
        last.is_none_or(|last| distance(last.began, now) >= self.timing.pause(last))
    }

    /// Renews an old set, unless a renewal is running or was just attempted.
    async fn renew(&self, now: Timestamp) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if self.is_due(*last, now) {
            self.fetch(&mut last, now).await;
        }
    }

    /// Waits for the running fetch, or fetches if one is due. Returns whether the last fetch succeeded.
    async fn look_for_unknown(&self, now: Timestamp) -> bool {
        let mut last = self.last.lock().await;
        if self.is_due(*last, now) {
            self.fetch(&mut last, now).await;
        }
        last.is_some_and(|last| last.failures == 0)
    }

    async fn fetch(&self, last: &mut Option<Attempt>, now: Timestamp) {
        let failures = match self.read().await {
            Ok(keys) => {
                let mut known = self.lock();
                *known = Known { keys: Arc::new(keys), fetched: Some(now), number: known.number + 1 };
                0
            }
            Err(error) => {
                // Without the URL, which may contain a key.
                tracing::warn!(%error, "key set could not be fetched; the last one is used");
                last.map_or(0, |last| last.failures).saturating_add(1)
            }
        };
        *last = Some(Attempt { began: now, failures });
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
        if set.keys.len() > SET_KEYS {
            return Err(FetchError::TooManyKeys);
        }
        Ok(usable_keys(set.keys))
    }
}

/// Returns the distance of two times. Concurrent callers pass times in any order, and a clock may be set back.
fn distance(one: Timestamp, other: Timestamp) -> Duration {
    one.until(other).max(other.until(one))
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("status {0}")]
    Status(u16),
    #[error("the key set is larger than {SET_BYTES} bytes")]
    TooLarge,
    #[error("the key set has more than {SET_KEYS} keys")]
    TooManyKeys,
    #[error("the response is not a key set")]
    Malformed,
}

impl Key {
    fn usable_for(&self, algorithm: Algorithm) -> Result<DecodingKey, Refusal> {
        self.algorithms.contains(&algorithm).then(|| self.key.clone()).ok_or(Refusal::OtherAlgorithm)
    }
}

/// Returns the keys by id. Skips keys of unknown kinds, ids that are not unique, and keys whose private part is
/// published.
fn usable_keys(keys: Vec<serde_json::Value>) -> HashMap<String, Key> {
    let mut usable = HashMap::new();
    let mut seen = HashSet::new();
    for value in keys {
        let Some(kid) = value["kid"].as_str().filter(|kid| kid.len() <= KID_BYTES).map(str::to_owned) else { continue };
        if !seen.insert(kid.clone()) {
            usable.remove(&kid);
            continue;
        }
        if PRIVATE_PARAMETERS.iter().any(|name| value.get(name).is_some()) {
            tracing::error!("key set contained a private key, which is not used");
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

/// Returns the number of bits of a number in base64url.
fn bits(number: &str) -> usize {
    let bytes = URL_SAFE_NO_PAD.decode(number).unwrap_or_default();
    let significant = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &bytes[first..]);
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    significant.len() * 8 - leading
}

/// Returns the algorithms that a key allows by its `kty`, `crv`, `alg`, `use` and `key_ops` (RFC 7517, RFC 7518, RFC
/// 8037).
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
        && jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures {
        return Vec::new();
    }
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(RSAKeyParameters { n, .. })
            if (MODULUS_BITS..=LARGEST_MODULUS_BITS).contains(&bits(n)) =>
        {
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
