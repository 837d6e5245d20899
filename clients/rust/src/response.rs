//! Responses of the REST API, whatever their status.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Problem};

/// Maximum size of a response, in bytes. A function's response has at most 6 MB.
const RESPONSE_BYTES: usize = 8 * 1024 * 1024;

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads a response of at most 8 MB.
    ///
    /// # Errors
    /// Fails with [`Error::NoAnswer`] or [`Error::TooLong`].
    pub async fn read(mut response: reqwest::Response) -> Result<Self, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len().saturating_add(chunk.len()) > RESPONSE_BYTES {
                return Err(Error::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status: response.status(), headers: response.headers().clone(), body })
    }

    /// Returns a header, or `None` if it is absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the time to wait before the next request.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.header(RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
    }

    /// Returns the body as JSON, or null if it is something else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body.
    ///
    /// # Errors
    /// Fails with [`Error::Unreadable`].
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Returns the response if its status is 2xx or 304.
    ///
    /// # Errors
    /// Fails with [`Error::Refused`].
    pub fn accepted(self) -> Result<Self, Error> {
        if self.status.is_success() || self.status == StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        Err(Error::Refused(Problem::of(self.status.as_u16(), self.retry_after(), &self.body)))
    }
}
