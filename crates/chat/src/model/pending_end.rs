//! Pending ends: subscriptions that a change has ended and that are still to be removed.

use serde::{Deserialize, Serialize};

use crate::model::id::Seed;
use crate::model::{
    id::UserId,
    incarnation::{ChannelKey, Incarnation},
    limits::PENDING_LEASE_DURATION,
    parts::AudienceCursor,
    time::Timestamp,
};

/// Cause of a pending end, which determines its scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum EndCause {
    /// The channel was deleted. Scope: all subscriptions, and then everything that belongs to the channel.
    ChannelDeleted,
    /// The channel was made private. Scope: subscriptions of users who are no members.
    MadePrivate,
    /// A member was removed. Scope: the user's subscriptions.
    MemberRemoved {
        /// The user.
        user_id: UserId,
    },
}

/// Record of subscriptions that must end, and of the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEnd {
    /// Id of the record.
    pub id: Incarnation,
    /// The channel.
    pub channel: ChannelKey,
    /// Cause.
    pub cause: EndCause,
    /// Progress: the subscriptions up to this position are done.
    pub after: Option<AudienceCursor>,
    /// Expiry of the lease, until which only its holder works on the record.
    pub lease_until: Timestamp,
}

impl PendingEnd {
    /// Returns a new record, leased to the caller.
    #[must_use]
    pub fn new(channel: ChannelKey, cause: EndCause, seed: Seed) -> Self {
        let lease_until = seed.now.plus(PENDING_LEASE_DURATION);
        Self { id: Incarnation::generate(seed), channel, cause, after: None, lease_until }
    }
}
