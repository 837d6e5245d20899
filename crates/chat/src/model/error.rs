//! Errors of the domain.

use std::time::Duration;

use crate::model::{limits::RETRY_AFTER, token_bucket::Quota, validation::Violation};

/// Result of a domain operation.
pub type Result<T, E = ChatError> = std::result::Result<T, E>;

/// Reason why an operation failed. Nothing was changed, except that [`ChatError::Store`] may leave the outcome unknown.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The request breaks rules. Every broken rule is listed.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The channel does not exist, or the caller may not know of it.
    #[error("channel not found")]
    ChannelNotFound,
    /// The member does not exist, or the caller may not know of it.
    #[error("member not found")]
    MemberNotFound,
    /// The message does not exist.
    #[error("message not found")]
    MessageNotFound,
    /// The caller may see the channel but lacks the permission.
    #[error(transparent)]
    Forbidden(Forbidden),
    /// The agent writes no reply to the message.
    #[error("the agent is not writing a reply to this message")]
    ReplyNotFound,
    /// The channel is archived and accepts no messages.
    #[error("the channel is archived")]
    ChannelArchived,
    /// The agent of the channel is turned off. Only replies of the agent get this error.
    #[error("the agent of the channel is off")]
    AgentOff,
    /// The channel id is taken.
    #[error("the channel id is taken")]
    ChannelExists,
    /// The last owner cannot leave.
    #[error("the last owner cannot leave the channel")]
    LastOwner,
    /// The channel or the message has another version than the caller expects.
    #[error("it has changed since you read it")]
    VersionMismatch,
    /// Changes after the given number are no longer stored, or the number is of another channel that had the id.
    #[error("the changes after this number are no longer stored; read the messages again")]
    ChangesExpired,
    /// The message has the maximum number of different reactions, or the reaction the maximum number of users.
    #[error("the message has as many reactions as it may")]
    TooManyReactions,
    /// The invited user has the maximum number of pending invitations.
    #[error("the user has {0} invitations to answer, which is the most; invite again when some are answered")]
    TooManyInvitations(usize),
    /// The user has created the maximum number of channels.
    #[error("{0} channels that you created exist, which is the most; delete one first")]
    TooManyChannels(usize),
    /// The user has the maximum number of connections.
    #[error("you have {0} connections, which is the most; close one first")]
    TooManyConnections(usize),
    /// The user exceeds a rate limit. The next attempt may succeed after [`Quota::reset`].
    #[error("too many requests")]
    TooManyRequests(Quota),
    /// The connection does not exist, or belongs to another user.
    #[error("connection not found")]
    ConnectionNotFound,
    /// The ticket was never issued, is already used, or has expired.
    #[error("the ticket is not valid")]
    TicketInvalid,
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// Too many concurrent writers.
    #[error("the channel is too busy")]
    Contended {
        /// Time until the next attempt may succeed.
        retry_after: Duration,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ChatError {
    /// Returns the error for too many concurrent writers.
    #[must_use]
    pub fn contended() -> Self {
        Self::Contended { retry_after: RETRY_AFTER }
    }

    /// Returns the error for one broken rule.
    #[must_use]
    pub fn invalid(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }

    /// Returns the error for a role that is too low. `detail` names the roles that have the permission.
    #[must_use]
    pub const fn not_permitted(detail: &'static str) -> Self {
        Self::Forbidden(Forbidden::NotPermitted(detail))
    }

    /// Returns the error for a permission that comes with a membership. `detail` says so.
    #[must_use]
    pub const fn not_a_member(detail: &'static str) -> Self {
        Self::Forbidden(Forbidden::NotAMember(detail))
    }
}

/// Reason why a caller lacks a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The caller's role in the channel is too low.
    #[error("{0}")]
    NotPermitted(&'static str),
    /// The caller is no member of the channel.
    #[error("{0}")]
    NotAMember(&'static str),
    /// The caller's token is limited to other channels.
    #[error("the token is limited to other channels")]
    ChannelNotAllowed,
}

/// Failure of a store, the socket gateway or a model.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed: {source}")]
pub struct StoreError {
    /// Operation that failed, for the log: `TransactWriteItems`, `Query`, ….
    pub operation: &'static str,
    /// `true` if a retry may succeed (throttled, timed out, connection lost). The failed call may still have taken
    /// effect.
    pub retryable: bool,
    /// Cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
