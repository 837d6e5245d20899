//! Pending ends: subscriptions that a change has ended and that are still to be removed.

use serde::{Deserialize, Serialize};

use crate::model::id::Seed;
use crate::model::{
    id::{ConnectionId, UserId},
    incarnation::{ChannelKey, Incarnation},
    limits::PENDING_LEASE_DURATION,
    time::Timestamp,
};

/// Why subscriptions end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum EndCause {
    /// The channel was deleted: all of them, and then everything that belongs to the channel.
    ChannelDeleted,
    /// The channel was made private: those of users who are no members.
    MadePrivate,
    /// A member was removed: the user's.
    MemberRemoved {
        /// The user.
        user_id: UserId,
    },
}

/// Subscriptions that have to end, recorded with what caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEnd {
    /// Names the record.
    pub id: Incarnation,
    /// The channel.
    pub channel: ChannelKey,
    /// Why.
    pub cause: EndCause,
    /// Progress: subscriptions up to this connection have been looked at.
    pub after: Option<ConnectionId>,
    /// Until then one function is at work on it, and no other begins.
    pub lease_until: Timestamp,
}

impl PendingEnd {
    /// A new record, leased to the caller.
    #[must_use]
    pub fn new(channel: ChannelKey, cause: EndCause, seed: Seed) -> Self {
        let lease_until = seed.now.plus(PENDING_LEASE_DURATION);
        Self { id: Incarnation::generate(seed), channel, cause, after: None, lease_until }
    }
}
