//! The issuer's public keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use tokio::sync::Mutex;

use crate::AuthError;

/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest key set: bytes.
const SET_BYTES: usize = 256 * 1024;

/// How long a key set is used before it is fetched anew.
const FRESH_FOR: Duration = Duration::from_mins(10);

/// Shortest time between fetches: an unknown `kid` cannot make more.
const FETCH_INTERVAL: Duration = Duration::from_secs(10);

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

/// A key set, fetched when needed and kept through an outage of its server.
#[derive(Debug)]
pub struct Jwks {
    url: reqwest::Url,
    client: reqwest::Client,
    // Held over a fetch, so that one is under way at a time and the others wait for it.
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Arc<Vec<Jwk>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl Jwks {
    /// The keys at `url`.
    pub fn new(url: &str) -> Result<Self, JwksError> {
        let url = reqwest::Url::parse(url).map_err(|_| JwksError::NotAUrl)?;
        let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(JwksError::Insecure);
        }
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { url, client, cached: Mutex::default() })
    }

    /// The key `kid`, when it is one for `algorithm`.
    pub async fn key(&self, kid: &str, algorithm: Algorithm) -> Result<DecodingKey, AuthError> {
        let mut cached = self.cached.lock().await;
        let fresh = cached.fetched.is_some_and(|at| at.elapsed() < FRESH_FOR);
        let mut found = usable_key(&cached.keys, kid, algorithm);
        let may_fetch = cached.tried.is_none_or(|at| at.elapsed() >= FETCH_INTERVAL);
        if (found.is_none() || !fresh) && may_fetch {
            cached.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    cached.keys = Arc::new(keys);
                    cached.fetched = Some(Instant::now());
                    found = usable_key(&cached.keys, kid, algorithm);
                }
                Err(error) => tracing::warn!(%error, "could not fetch the key set; going on with the last one"),
            }
        }
        match found {
            Some(key) => Ok(key),
            None if cached.fetched.is_none() => Err(AuthError::KeysUnavailable),
            None => Err(AuthError::Invalid),
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, FetchError> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let mut response = self.client.get(self.url.clone()).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > SET_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let set: Set = serde_json::from_slice(&body)?;
        // Keys of kinds that this version does not know are none of its business.
        Ok(set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("the key set is larger than {SET_BYTES} bytes")]
    TooLarge,
    #[error("not a key set: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The one key named `kid`, when its own parameters allow it for `algorithm`.
fn usable_key(keys: &[Jwk], kid: &str, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut named = keys.iter().filter(|key| key.common.key_id.as_deref() == Some(kid));
    let (Some(key), None) = (named.next(), named.next()) else { return None };
    let for_signatures = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let of_kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => {
            matches!(key.common.key_algorithm, None | Some(KeyAlgorithm::RS256))
        }
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => {
            curve.curve == EllipticCurve::P256 && matches!(key.common.key_algorithm, None | Some(KeyAlgorithm::ES256))
        }
        _ => false,
    };
    (for_signatures && of_kind).then(|| DecodingKey::from_jwk(key).ok()).flatten()
}
