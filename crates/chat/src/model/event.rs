//! Ephemeral events: presence and typing. They are pushed and never stored.

use serde::Serialize;

use crate::model::{id::UserId, time::Timestamp};

/// A user who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Present {
    /// The user.
    pub user_id: UserId,
    /// Since when the longest of the user's connections has been there.
    pub since: Timestamp,
}

/// Something that subscribers are told and that is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EphemeralEvent {
    /// A user is there.
    Joined(UserId),
    /// A user has gone.
    Left(UserId),
    /// A user is typing.
    Typing(UserId),
}

impl EphemeralEvent {
    /// Whom it is about.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::Joined(user) | Self::Left(user) | Self::Typing(user) => user,
        }
    }
}
