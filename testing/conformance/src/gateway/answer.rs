//! Responses of the model.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn new(status: u16, body: Value) -> Self {
        Self { status, headers: BTreeMap::new(), body }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::new(200, body)
    }

    /// Returns a response without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, Value::Null)
    }

    /// Returns a problem (RFC 9457).
    pub(crate) fn problem(status: u16, code: &str) -> Self {
        let title = match status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            409 => "Conflict",
            410 => "Gone",
            412 => "Precondition Failed",
            422 => "Unprocessable Entity",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "Problem",
        };
        let body = json!({
            "type": "about:blank",
            "title": title,
            "status": status,
            "code": code,
            "detail": format!("the schedule of the kit leads to {code}"),
            "instance": "6b2f6f4e-6c1c-4f37-9d55-1f8c3d9f3a10",
        });
        let mut answer = Self::new(status, body);
        answer.headers.insert("content-type", "application/problem+json".to_owned());
        if status == 401 {
            answer.headers.insert("www-authenticate", format!("Bearer error=\"{code}\""));
        }
        answer
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.insert(name, value);
        self
    }
}
