//! Problem responses: RFC 9457, `application/problem+json`.

use std::time::Duration;

use auth::{AuthError, Scope};
use chat::model::{error::ChatError, validation::Violation};
use http::StatusCode;
use serde::Serialize;

/// A problem of a request, for the caller. Contains no internal message, token or key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `about:blank`: the status has the meaning, and `title` is its phrase (RFC 9457, section 4.2.1).
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The phrase of the status.
    pub title: &'static str,
    /// The status.
    pub status: u16,
    /// The problem, and its remedy.
    pub detail: String,
    /// The request id, by which an operator finds the request in the logs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The violations by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
    /// The value of the `Retry-After` header.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// The value of the `Allow` header.
    #[serde(skip)]
    pub allow: Option<String>,
    /// The value of the `WWW-Authenticate` header (RFC 6750, section 3).
    #[serde(skip)]
    pub challenge: Option<String>,
}

impl Problem {
    /// Creates a problem with `status`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            instance: String::new(),
            errors: Vec::new(),
            retry_after: None,
            allow: None,
            challenge: None,
        }
    }

    /// Creates the problem of a token without the required scope.
    #[must_use]
    pub fn insufficient_scope(scope: Scope) -> Self {
        let scope = scope.as_str();
        Self {
            challenge: Some(format!(r#"Bearer error="insufficient_scope", scope="{scope}""#)),
            ..Self::new(StatusCode::FORBIDDEN, format!("the token lacks the scope {scope}"))
        }
    }

    /// Creates the problem of a request with violations.
    #[must_use]
    pub fn invalid(errors: Vec<Violation>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            all => format!("{} fields are not valid; see errors", all.len()),
        };
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// Requires that a request has no violations.
    ///
    /// # Errors
    /// Fails with a 400 problem that lists all of them.
    pub fn require_valid(violations: Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() { Ok(()) } else { Err(Self::invalid(violations)) }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::KeysUnavailable => Self {
                retry_after: Some(Duration::from_secs(5)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            },
            AuthError::Missing => Self {
                challenge: Some("Bearer".to_owned()),
                ..Self::new(StatusCode::UNAUTHORIZED, format!("{error}: send Authorization: Bearer <token>"))
            },
            AuthError::Claim { .. } | AuthError::Invalid | AuthError::Expired | AuthError::NotYetValid => Self {
                challenge: Some(invalid_token(&error)),
                ..Self::new(StatusCode::UNAUTHORIZED, format!("{error}; {}", remedy(&error)))
            },
        }
    }
}

/// Maximum length of an `error_description`, in characters.
const DESCRIPTION_CHARS: usize = 300;

/// Returns the challenge for a refused token. RFC 6750, section 3, allows printable ASCII without `"` and `\` in a
/// description. The names of claims are configured, and may contain others.
fn invalid_token(error: &AuthError) -> String {
    let allowed = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    let description: String = error.to_string().chars().filter(allowed).take(DESCRIPTION_CHARS).collect();
    format!(r#"Bearer error="invalid_token", error_description="{description}""#)
}

/// Returns the remedy for a refused token.
fn remedy(error: &AuthError) -> &'static str {
    match error {
        AuthError::Expired => "get a new one from its issuer",
        AuthError::NotYetValid => "wait, or check the clock of its issuer",
        AuthError::Claim { .. } => "its issuer has to give you another one",
        _ => "it has to be a JWT, signed by a trusted issuer with a current key",
    }
}

impl From<ChatError> for Problem {
    fn from(error: ChatError) -> Self {
        let status = match &error {
            ChatError::Invalid(_) => StatusCode::BAD_REQUEST,
            ChatError::ChannelNotFound
            | ChatError::MemberNotFound
            | ChatError::MessageNotFound
            | ChatError::ConnectionNotFound => StatusCode::NOT_FOUND,
            ChatError::TicketInvalid => StatusCode::UNAUTHORIZED,
            ChatError::TooManyRequests { .. } | ChatError::TooManyConnections(_) => StatusCode::TOO_MANY_REQUESTS,
            ChatError::Forbidden(_) => StatusCode::FORBIDDEN,
            ChatError::ChannelArchived
            | ChatError::AgentOff
            | ChatError::ChannelExists
            | ChatError::LastOwner
            | ChatError::TooManyInvitations(_)
            | ChatError::TooManyChannels(_)
            | ChatError::TooManyReactions => StatusCode::CONFLICT,
            ChatError::VersionMismatch => StatusCode::PRECONDITION_FAILED,
            ChatError::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            ChatError::Contended { .. } => StatusCode::SERVICE_UNAVAILABLE,
            ChatError::Store(error) if error.retryable => StatusCode::SERVICE_UNAVAILABLE,
            ChatError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match error {
            ChatError::Invalid(violations) => Self::invalid(violations),
            ChatError::Contended { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(status, "the channel is too busy; send the same request again")
            },
            ChatError::TooManyRequests { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(status, "you do this too often; wait as long as Retry-After says")
            },
            ChatError::Store(cause) => {
                tracing::error!(error = %cause, "a store failed");
                let retry_after = cause.retryable.then_some(chat::model::limits::RETRY_AFTER);
                let detail = "something failed on our side; the same request may be sent again";
                Self { retry_after, ..Self::new(status, detail) }
            }
            ChatError::IdempotencyKeyReused => {
                Self::new(status, "this Idempotency-Key was used for another request; take a new one")
            }
            ChatError::VersionMismatch => {
                Self::new(status, "it has changed since you read it; read it again and send its ETag")
            }
            ChatError::ChannelExists => Self::new(status, "the channel id is taken; choose another one"),
            error => Self::new(status, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use auth::ClaimProblem;

    use super::*;

    #[test]
    fn a_refused_token_says_what_is_wrong_with_it() {
        let of = |error: AuthError| {
            let problem = Problem::from(error);
            (problem.status, problem.detail, problem.challenge.unwrap_or_default())
        };
        let (status, detail, challenge) = of(AuthError::Expired);
        assert_eq!((status, detail.as_str()), (401, "the token has expired; get a new one from its issuer"));
        assert_eq!(challenge, r#"Bearer error="invalid_token", error_description="the token has expired""#);
        let name = "https://x.example/\"org\\\r\n\u{e9}".to_owned();
        let (_, _, challenge) = of(AuthError::Claim { name, problem: ClaimProblem::Missing });
        let description = "the token's claim https://x.example/org is missing";
        assert_eq!(challenge, format!(r#"Bearer error="invalid_token", error_description="{description}""#));
        let name = "c".repeat(10_000);
        let (_, _, challenge) = of(AuthError::Claim { name, problem: ClaimProblem::Missing });
        assert!(challenge.len() < 400, "{challenge}");
        assert_eq!(of(AuthError::Missing).2, "Bearer");
        assert!(!of(AuthError::Invalid).1.contains("claim"));
    }
}
