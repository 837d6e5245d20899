//! Why an operation of the domain did not happen.

use std::time::Duration;

use crate::model::{limits::RETRY_AFTER, validation::Violation};

/// The result of a domain operation.
pub type Result<T, E = ChatError> = std::result::Result<T, E>;

/// Why an operation did not happen. Nothing was changed, unless [`ChatError::Store`] says that it is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The request breaks rules; every broken one is listed.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// There is no such channel, or the caller may not know of it.
    #[error("channel not found")]
    ChannelNotFound,
    /// There is no such member, or the caller may not know of it.
    #[error("member not found")]
    MemberNotFound,
    /// There is no such message.
    #[error("message not found")]
    MessageNotFound,
    /// The caller knows of the channel but may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The channel takes no messages any more.
    #[error("the channel is archived")]
    ChannelArchived,
    /// The channel id is taken.
    #[error("the channel id is taken")]
    ChannelExists,
    /// The only owner may not leave.
    #[error("the last owner cannot leave the channel")]
    LastOwner,
    /// The channel is of another version than the caller expects.
    #[error("the channel has changed since you read it")]
    VersionMismatch,
    /// The message has all the kinds of reactions, or this one all the users, that there may be.
    #[error("the message has as many reactions as it may")]
    TooManyReactions,
    /// The user who is to be invited has all the pending invitations that there may be.
    #[error("the user has {0} invitations to answer, which is the most; invite again when some are answered")]
    TooManyInvitations(usize),
    /// The user has all the channels that there may be.
    #[error("{0} channels that you created exist, which is the most; delete one first")]
    TooManyChannels(usize),
    /// The user has all the connections that there may be.
    #[error("you have {0} connections, which is the most; close one first")]
    TooManyConnections(usize),
    /// The user does this too often.
    #[error("too many requests")]
    TooManyRequests {
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no such connection, or it is another user's.
    #[error("connection not found")]
    ConnectionNotFound,
    /// The ticket is made up, used, or too old.
    #[error("the ticket is not valid")]
    TicketInvalid,
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// Too many writers at once; try again after the given time.
    #[error("the channel is too busy")]
    Contended {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ChatError {
    /// Too many writers at once.
    #[must_use]
    pub fn contended() -> Self {
        Self::Contended { retry_after: RETRY_AFTER }
    }

    /// One broken rule.
    #[must_use]
    pub fn invalid(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

/// A store, socket or model that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed: {source}")]
pub struct StoreError {
    /// What was tried, for the log: `TransactWriteItems`, `Query`, ….
    pub operation: &'static str,
    /// Whether the same call may succeed when repeated (throttled, timed out, connection lost). The call may
    /// have taken effect all the same.
    pub retryable: bool,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
