//! Reactions of users to a message.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::model::{id::UserId, limits::USERS_LISTED_PER_REACTION, text::emoji::Emoji};

/// Users by emoji.
pub type Reactions = BTreeMap<Emoji, BTreeSet<UserId>>;

/// Change of a user's reaction to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toggle {
    /// Adds the reaction.
    Add,
    /// Removes the reaction.
    Remove,
}

impl Toggle {
    /// Returns whether a reaction that is there, or not, is already as requested.
    #[must_use]
    pub fn is_done(self, is_there: bool) -> bool {
        is_there == (self == Self::Add)
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    count: usize,
    user_ids: Vec<&'a UserId>,
}

/// Serializes reactions as clients see them: a count, and the first [`USERS_LISTED_PER_REACTION`] users.
pub(crate) fn summary<S: Serializer>(reactions: &Reactions, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(reactions.iter().map(|(emoji, users)| {
        let user_ids = users.iter().take(USERS_LISTED_PER_REACTION).collect();
        (emoji, Summary { count: users.len(), user_ids })
    }))
}
