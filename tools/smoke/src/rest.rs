//! Requests with their expected status.

use reqwest::Method;
use serde_json::Value;

use crate::Target;

/// The REST API as one user sees it.
pub(crate) struct Rest<'a> {
    client: reqwest::Client,
    base: &'a str,
    token: &'a str,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(target: &'a Target, token: &'a str) -> Self {
        Self { client: reqwest::Client::new(), base: &target.rest, token }
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
        let (status, answer) = self.send(&method, path, &body, headers).await?;
        if status == expected {
            return Ok(serde_json::from_str(&answer).unwrap_or_default());
        }
        Err(format!("{method} {path} answered {status}, not {expected}: {answer}"))
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| format!("{method} {path}: {}", error.without_url()))?;
        let status = response.status().as_u16();
        let answer = response.text().await.map_err(|error| format!("{method} {path}: {}", error.without_url()))?;
        Ok((status, answer))
    }
}
