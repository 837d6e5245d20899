//! Requests with their expected status.

use serde_json::Value;
use switchboard_client::{Api, Method};

use crate::{Failure, Target};

/// The REST API as one user sees it.
pub(crate) struct Rest(Api);

impl Rest {
    pub(crate) fn new(target: &Target, token: &str) -> Result<Self, Failure> {
        let api = Api::new(&target.rest, token);
        Ok(Self(api.map_err(|error| Failure { step: "prepare", reason: error.to_string() })?))
    }

    /// Sends a request and returns the JSON of the response. Fails unless its status is `expected`.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value, expected: u16) -> Result<Value, String> {
        self.ask_with(method, path, body, &[], expected).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
        expected: u16,
    ) -> Result<Value, String> {
        let text = (!body.is_null()).then(|| body.to_string());
        let answer = self.0.ask(method.clone(), path, headers, text.as_deref()).await;
        let answer = answer.map_err(|error| format!("{method} {path}: {error}"))?;
        if answer.status.as_u16() == expected {
            return Ok(answer.json());
        }
        Err(format!("{method} {path} answered {}, not {expected}: {}", answer.status.as_u16(), answer.text()))
    }
}
