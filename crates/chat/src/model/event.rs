//! Ephemeral events: presence and typing. They are pushed and never stored.

use serde::Serialize;

use crate::model::{id::UserId, time::Timestamp};

/// User with a live connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Present {
    /// The user.
    pub user_id: UserId,
    /// Time at which the oldest of the user's connections was opened.
    pub since: Timestamp,
}

/// Event that is pushed and not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EphemeralEvent {
    /// A user came online.
    Joined(UserId),
    /// A user went offline.
    Left(UserId),
    /// A user is typing.
    Typing(UserId),
}

impl EphemeralEvent {
    /// Returns the user that the event is about.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::Joined(user) | Self::Left(user) | Self::Typing(user) => user,
        }
    }
}
