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
            AuthError::Claim { .. } => Self {
                challenge: Some(r#"Bearer error="invalid_token""#.to_owned()),
                ..Self::new(StatusCode::UNAUTHORIZED, format!("{error}; its issuer has to give you another one"))
            },
            AuthError::Missing | AuthError::Invalid | AuthError::Expired | AuthError::NotYetValid => {
                let detail = format!("{error}: send Authorization: Bearer <token>");
                let challenge = if error == AuthError::Missing { "Bearer" } else { r#"Bearer error="invalid_token""# };
                Self { challenge: Some(challenge.to_owned()), ..Self::new(StatusCode::UNAUTHORIZED, detail) }
            }
        }
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
                Self::new(status, "the channel has changed since you read it; read it again and send its ETag")
            }
            ChatError::ChannelExists => Self::new(status, "the channel id is taken; choose another one"),
            error => Self::new(status, error.to_string()),
        }
    }
}
