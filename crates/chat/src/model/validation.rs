//! Violations of a request's rules, field by field.

use serde::Serialize;

/// Violation of a rule by one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Name of the field, as in the JSON body, the path or the query.
    pub field: String,
    /// Stable, machine-readable reason: `required`, `wrong_type`, `too_long`, `unknown_field`, ….
    pub code: &'static str,
    /// Explanation for people, with the allowed values.
    pub message: String,
}

impl Violation {
    /// Returns a violation of `field`.
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}
