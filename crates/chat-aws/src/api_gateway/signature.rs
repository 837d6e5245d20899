//! Signatures of pushes (Signature Version 4; "Create a signed AWS API request" in the IAM user guide).
//!
//! The key and the signature are those of `aws-sigv4`. Its signer of requests is not used: it derives the key of the day
//! for each request, and parses, copies and sorts headers whose names are fixed here. `docs/reports/performance.md` has
//! the processor time of a push.

use std::{
    fmt::{self, Write},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::Uri;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Service name in signatures ("Service authorization reference", Amazon API Gateway).
const SERVICE: &str = "execute-api";

/// Type of the body. The SDK's client sends it too.
pub(super) const CONTENT_TYPE: &str = "application/octet-stream";

/// Characters that a path escapes: all but the unreserved ones (RFC 3986).
pub(super) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters that the canonical path escapes. It escapes the path of the request once more.
const CANONICAL_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// Size of a canonical request without its path, host and token, in bytes: about 200, and an escaped id.
const CANONICAL_BYTES: usize = 320;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Values of the headers that carry a signature.
#[derive(Debug)]
pub(super) struct Signature {
    /// `x-amz-date`.
    pub(super) date: String,
    /// `authorization`.
    pub(super) authorization: String,
}

/// Signer of pushes to the sockets of one stage.
pub(super) struct Signer {
    region: String,
    /// Value of the `host` header. `None` if the URL of the stage has no host.
    host: Option<String>,
    /// Canonical path before the id of a connection.
    path: String,
    key: RwLock<Option<Arc<DailyKey>>>,
}

/// Key of one day.
struct DailyKey {
    day: String,
    credentials: Credentials,
    bytes: Vec<u8>,
}

impl fmt::Debug for Signer {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Signer {
    /// Creates a signer for the connections of a stage. `url` is before the ids: it ends with `/@connections/`.
    pub(super) fn new(region: String, url: &str) -> Self {
        let url: Option<Uri> = url.parse().ok();
        let host = url.as_ref().and_then(host).map(str::to_owned);
        let path = url.map(|url| utf8_percent_encode(url.path(), CANONICAL_PATH).to_string()).unwrap_or_default();
        Self { region, host, path, key: RwLock::default() }
    }

    /// Signs a push of `frame` to a connection at `now`. `id` is escaped as in the path of the request.
    pub(super) fn sign(
        &self,
        credentials: &Credentials,
        now: SystemTime,
        id: &str,
        frame: &str,
    ) -> Result<Signature, Error> {
        let Self { region, path, .. } = self;
        let host = self.host.as_deref().ok_or("the URL of the management API has no host")?;
        let date = Timestamp::try_from(now)?.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = date.get(..8).unwrap_or_default();
        let token = credentials.session_token();
        let signed = match token {
            Some(_) => "content-length;content-type;host;x-amz-date;x-amz-security-token",
            None => "content-length;content-type;host;x-amz-date",
        };

        let (id, length) = (utf8_percent_encode(id, CANONICAL_PATH), frame.len());
        let mut digits = [0; 64];
        let more = path.len() + host.len() + token.map_or(0, str::len);
        let mut request = String::with_capacity(CANONICAL_BYTES + more);
        write!(request, "POST\n{path}{id}\n\ncontent-length:{length}\ncontent-type:{CONTENT_TYPE}\n")?;
        writeln!(request, "host:{host}\nx-amz-date:{date}")?;
        if let Some(token) = token {
            writeln!(request, "x-amz-security-token:{token}")?;
        }
        write!(request, "\n{signed}\n{}", hash(frame, &mut digits)?)?;

        let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(&request, &mut digits)?);
        let signature = calculate_signature(&self.key(credentials, now, day).bytes, text.as_bytes());
        let access_key_id = credentials.access_key_id();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        );
        Ok(Signature { date, authorization })
    }

    /// Returns the key of a day. Derives it when the day or the credentials have changed.
    fn key(&self, credentials: &Credentials, now: SystemTime, day: &str) -> Arc<DailyKey> {
        let known = self.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(key) = known.filter(|key| key.day == day && key.credentials == *credentials) {
            return key;
        }
        let key = generate_signing_key(credentials.secret_access_key(), now, &self.region, SERVICE);
        let (day, credentials) = (day.to_owned(), credentials.clone());
        let key = Arc::new(DailyKey { day, credentials, bytes: key.as_ref().to_vec() });
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&key));
        key
    }
}

/// Returns the value of the `host` header: without the port, if it is the scheme's own.
fn host(uri: &Uri) -> Option<&str> {
    let authority = uri.authority()?;
    let is_default = match uri.port_u16() {
        Some(80) => uri.scheme_str() == Some("http"),
        Some(443) => uri.scheme_str() == Some("https"),
        _ => false,
    };
    Some(if is_default { authority.host() } else { authority.as_str() })
}

/// Returns the hash of a text, in hexadecimal digits that are written to `digits`.
fn hash<'a>(text: &str, digits: &'a mut [u8; 64]) -> Result<&'a str, Error> {
    hex::encode_to_slice(Sha256::digest(text), digits)?;
    Ok(std::str::from_utf8(digits)?)
}
