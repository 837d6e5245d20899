//! Problem responses: RFC 9457, `application/problem+json`.

use std::time::Duration;

use auth::{AuthError, Scope};
use chat::model::{
    error::{ChatError, Forbidden, StoreError},
    limits::RETRY_AFTER,
    token_bucket::Quota,
    validation::Violation,
};
use serde::Serialize;

use crate::problem_code::ProblemCode;

/// Time after which a token can be checked again, if the issuer's keys are unavailable.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(5);

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
    /// The kind of the problem, for programs.
    pub code: ProblemCode,
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
    /// The state of the bucket that refused the request, for the `RateLimit` headers.
    #[serde(skip)]
    pub quota: Option<Quota>,
    /// The value of the `Allow` header.
    #[serde(skip)]
    pub allow: Option<String>,
    /// The value of the `WWW-Authenticate` header (RFC 6750, section 3).
    #[serde(skip)]
    pub challenge: Option<String>,
}

impl Problem {
    /// Creates a problem. The code has its status.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let status = code.status();
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            instance: String::new(),
            errors: Vec::new(),
            retry_after: None,
            quota: None,
            allow: None,
            challenge: None,
        }
    }

    /// Creates the problem of a failure that is not the caller's.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(ProblemCode::InternalError, "something failed on our side; the same request may be sent again")
    }

    /// Creates the problem of a token without the required scope.
    #[must_use]
    pub fn insufficient_scope(scope: Scope) -> Self {
        let scope = scope.as_str();
        Self {
            challenge: Some(format!(r#"Bearer error="insufficient_scope", scope="{scope}""#)),
            ..Self::new(ProblemCode::MissingScope, format!("the token lacks the scope {scope}"))
        }
    }

    /// Creates the problem of a request with violations.
    #[must_use]
    pub fn invalid(errors: Vec<Violation>) -> Self {
        Self::with_errors(ProblemCode::InvalidRequest, errors)
    }

    /// Creates the problem of a request whose violations leave its meaning open.
    #[must_use]
    pub fn malformed(errors: Vec<Violation>) -> Self {
        Self::with_errors(ProblemCode::MalformedRequest, errors)
    }

    fn with_errors(code: ProblemCode, errors: Vec<Violation>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            all => format!("{} fields are not valid; see errors", all.len()),
        };
        Self { errors, ..Self::new(code, detail) }
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
        let code = match error {
            AuthError::KeysUnavailable => {
                let problem = Self::new(ProblemCode::KeysUnavailable, error.to_string());
                return Self { retry_after: Some(KEYS_RETRY_AFTER), ..problem };
            }
            AuthError::Missing => {
                let detail = format!("{error}: send Authorization: Bearer <token>");
                let problem = Self::new(ProblemCode::MissingToken, detail);
                return Self { challenge: Some("Bearer".to_owned()), ..problem };
            }
            AuthError::Claim { .. } | AuthError::Invalid => ProblemCode::InvalidToken,
            AuthError::Expired => ProblemCode::TokenExpired,
            AuthError::NotYetValid => ProblemCode::TokenNotYetValid,
        };
        let problem = Self::new(code, format!("{error}; {}", remedy(&error)));
        Self { challenge: Some(invalid_token(&error)), ..problem }
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

/// Returns the code of an error that the caller can correct, or wait for. Returns `None` for the others.
fn code(error: &ChatError) -> Option<ProblemCode> {
    Some(match error {
        ChatError::Invalid(_) => ProblemCode::InvalidRequest,
        ChatError::ChannelNotFound => ProblemCode::ChannelNotFound,
        ChatError::MemberNotFound => ProblemCode::MemberNotFound,
        ChatError::MessageNotFound => ProblemCode::MessageNotFound,
        ChatError::ConnectionNotFound => ProblemCode::ConnectionNotFound,
        ChatError::ReplyNotFound => ProblemCode::ReplyNotFound,
        ChatError::Forbidden(Forbidden::NotPermitted(_)) => ProblemCode::NotPermitted,
        ChatError::Forbidden(Forbidden::NotAMember(_)) => ProblemCode::NotAMember,
        ChatError::Forbidden(Forbidden::ChannelNotAllowed) => ProblemCode::ChannelNotAllowed,
        ChatError::ChannelArchived => ProblemCode::ChannelArchived,
        ChatError::ChannelExists => ProblemCode::ChannelIdTaken,
        ChatError::LastOwner => ProblemCode::LastOwner,
        ChatError::TooManyReactions => ProblemCode::TooManyReactions,
        ChatError::TooManyInvitations(_) => ProblemCode::TooManyInvitations,
        ChatError::TooManyChannels(_) => ProblemCode::TooManyChannels,
        ChatError::ChangesExpired => ProblemCode::ChangesExpired,
        ChatError::VersionMismatch => ProblemCode::VersionMismatch,
        ChatError::IdempotencyKeyReused => ProblemCode::IdempotencyKeyReused,
        ChatError::TooManyRequests(_) => ProblemCode::RateLimited,
        ChatError::Contended { .. } => ProblemCode::ChannelBusy,
        ChatError::Store(StoreError { retryable: true, .. }) => ProblemCode::StoreUnavailable,
        // Only handshakes and replies of the agent fail with the last three.
        ChatError::Store(_) | ChatError::TicketInvalid | ChatError::TooManyConnections(_) | ChatError::AgentOff => {
            return None;
        }
    })
}

impl From<ChatError> for Problem {
    fn from(error: ChatError) -> Self {
        if let ChatError::Store(cause) = &error {
            tracing::error!(error = %cause, "a store failed");
        }
        let Some(code) = code(&error) else { return Self::internal() };
        match error {
            ChatError::Invalid(violations) => Self::invalid(violations),
            ChatError::Contended { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(code, "the channel is too busy; send the same request again")
            },
            ChatError::TooManyRequests(quota) => Self {
                retry_after: Some(quota.reset),
                quota: Some(quota),
                ..Self::new(code, "you do this too often; wait as long as Retry-After says")
            },
            ChatError::Store(_) => {
                let detail = "something failed on our side; the same request may be sent again";
                Self { retry_after: Some(RETRY_AFTER), ..Self::new(code, detail) }
            }
            ChatError::IdempotencyKeyReused => {
                Self::new(code, "this Idempotency-Key was used for another request; take a new one")
            }
            ChatError::VersionMismatch => Self::new(code, format!("{error}; read it again and send its ETag")),
            ChatError::ChannelExists => Self::new(code, "the channel id is taken; choose another one"),
            error => Self::new(code, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use auth::ClaimProblem;
    use chat::model::token_bucket::Bucket;
    use serde_json::json;

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

    #[test]
    fn a_refused_token_has_the_code_of_its_reason() {
        let claim = AuthError::Claim { name: "iss".to_owned(), problem: ClaimProblem::UnknownIssuer };
        for (error, code) in [
            (AuthError::Missing, ProblemCode::MissingToken),
            (AuthError::Invalid, ProblemCode::InvalidToken),
            (claim, ProblemCode::InvalidToken),
            (AuthError::Expired, ProblemCode::TokenExpired),
            (AuthError::NotYetValid, ProblemCode::TokenNotYetValid),
            (AuthError::KeysUnavailable, ProblemCode::KeysUnavailable),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.code, problem.status), (code, code.status().as_u16()));
        }
    }

    #[test]
    fn an_error_has_a_code_and_its_detail() {
        let quota = Bucket { every: Duration::from_secs(2), burst: 3 }.exhausted("send", Duration::from_millis(1_500));
        let store = |retryable| {
            ChatError::Store(StoreError { operation: "Query", retryable, source: "secret of the store".into() })
        };
        for (error, status, code, detail) in [
            (ChatError::not_permitted("only an owner"), 403, "not_permitted", "only an owner"),
            (ChatError::not_a_member("only members"), 403, "not_a_member", "only members"),
            (ChatError::Forbidden(Forbidden::ChannelNotAllowed), 403, "channel_not_allowed", "other channels"),
            (ChatError::ChannelNotFound, 404, "channel_not_found", "channel not found"),
            (ChatError::ReplyNotFound, 404, "reply_not_found", "not writing a reply"),
            (ChatError::ChannelExists, 409, "channel_id_taken", "choose another"),
            (ChatError::LastOwner, 409, "last_owner", "last owner"),
            (ChatError::ChangesExpired, 410, "changes_expired", "read the messages again"),
            (ChatError::VersionMismatch, 412, "version_mismatch", "it has changed since you read it; read it again"),
            (ChatError::IdempotencyKeyReused, 422, "idempotency_key_reused", "take a new one"),
            (ChatError::TooManyRequests(quota), 429, "rate_limited", "Retry-After"),
            (ChatError::contended(), 503, "channel_busy", "too busy"),
            (store(true), 503, "store_unavailable", "our side"),
            (store(false), 500, "internal_error", "our side"),
            (ChatError::TicketInvalid, 500, "internal_error", "our side"),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.code.as_str()), (status, code));
            assert!(problem.detail.contains(detail) && !problem.detail.contains("secret"), "{}", problem.detail);
            assert_eq!(problem.quota, (status == 429).then_some(quota));
            assert_eq!(problem.retry_after.is_some(), [429, 503].contains(&status));
        }
    }

    #[test]
    fn a_problem_is_written_with_its_code() {
        let problem = Problem::malformed(vec![Violation::new("content", "duplicate_field", "is there twice")]);
        let expected = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "code": "malformed_request",
            "detail": "content: is there twice",
            "errors": [{"field": "content", "code": "duplicate_field", "message": "is there twice"}],
        });
        assert_eq!(serde_json::to_value(&problem).unwrap(), expected);
    }
}
