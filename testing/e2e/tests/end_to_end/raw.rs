//! Requests that no client sends: with any header, body and method, and to the other ports of the run.
//!
//! The Rust client sends only what the contract allows, and reads only what its users need. These tests compare headers of
//! responses as well, so `reqwest` sends their requests.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::stack::{PATIENCE, Stack, token_of};

/// Returns an HTTP client.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

impl Stack {
    /// Returns a request without a token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address("rest"))).timeout(PATIENCE)
    }

    /// Returns a request of a user.
    pub(crate) fn request(&self, user: &str, method: Method, path: &str) -> RequestBuilder {
        self.bearing(&token_of(user), method, path)
    }

    /// Returns a request with any token.
    pub(crate) fn bearing(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(token)
    }

    /// Sends a message, with or without a key.
    pub(crate) async fn post(
        &self,
        user: &str,
        channel: &str,
        content: &str,
        key: Option<&str>,
    ) -> reqwest::Result<Response> {
        let mut request = self.request(user, Method::POST, &format!("/channels/{channel}/messages"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.json(&json!({ "content": content })).send().await
    }
}

/// Returns the status of a response, and its JSON.
pub(crate) async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}
