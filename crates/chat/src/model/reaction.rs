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

/// Reaction of one user. Reactions are ordered as [`Reactions`] are: by emoji, then by user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reaction {
    /// The emoji.
    pub emoji: Emoji,
    /// The user.
    pub user_id: UserId,
}

/// Change of one user's reaction, as subscribers receive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReactionChange {
    /// Whether the reaction was added or removed.
    #[serde(skip)]
    pub toggle: Toggle,
    /// The emoji.
    pub emoji: Emoji,
    /// The user.
    pub user_id: UserId,
    /// Number of users with this emoji after the change.
    pub count: usize,
}

/// Returns the changes that lead from `before` to `after`, in the order of emoji: first removals, then additions.
#[must_use]
pub fn differences(before: &Reactions, after: &Reactions) -> Vec<ReactionChange> {
    let none = BTreeSet::new();
    let kinds: BTreeSet<&Emoji> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for emoji in kinds {
        let (was, is) = (before.get(emoji).unwrap_or(&none), after.get(emoji).unwrap_or(&none));
        let change = |toggle: Toggle, user: &UserId| ReactionChange {
            toggle,
            emoji: emoji.clone(),
            user_id: user.clone(),
            count: is.len(),
        };
        changes.extend(was.difference(is).map(|user| change(Toggle::Remove, user)));
        changes.extend(is.difference(was).map(|user| change(Toggle::Add, user)));
    }
    changes
}

/// Reactions with one emoji, as clients see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReactionSummary {
    /// The emoji.
    pub emoji: Emoji,
    /// Number of users.
    pub count: usize,
    /// The first [`USERS_LISTED_PER_REACTION`] users, in the order of their ids.
    pub user_ids: Vec<UserId>,
    /// Whether the caller is among the users. `None`: the reader is no caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reacted: Option<bool>,
}

/// Returns the reactions as `caller` sees them, in the order of emoji.
#[must_use]
pub fn summaries(reactions: &Reactions, caller: Option<&UserId>) -> Vec<ReactionSummary> {
    let summary = |(emoji, users): (&Emoji, &BTreeSet<UserId>)| ReactionSummary {
        emoji: emoji.clone(),
        count: users.len(),
        user_ids: users.iter().take(USERS_LISTED_PER_REACTION).cloned().collect(),
        reacted: caller.map(|caller| users.contains(caller)),
    };
    reactions.iter().map(summary).collect()
}

/// Serializes reactions as subscribers see them.
pub(crate) fn summary<S: Serializer>(reactions: &Reactions, serializer: S) -> Result<S::Ok, S::Error> {
    summaries(reactions, None).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reactions() -> impl Strategy<Value = Reactions> {
        let emoji = prop::sample::select(vec!["👍", "🎉", "🚀"]).prop_map(|text| text.parse::<Emoji>().unwrap());
        let user = prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|text| text.parse::<UserId>().unwrap());
        prop::collection::btree_map(emoji, prop::collection::btree_set(user, 1..4), 0..4)
    }

    proptest! {
        #[test]
        fn differences_lead_from_one_state_to_the_other(before in reactions(), after in reactions()) {
            let mut state = before.clone();
            let changes = differences(&before, &after);
            for ReactionChange { toggle, emoji, user_id, count } in changes {
                prop_assert_eq!(count, after.get(&emoji).map_or(0, BTreeSet::len));
                let users = state.entry(emoji).or_default();
                let is_changed = match toggle {
                    Toggle::Add => users.insert(user_id),
                    Toggle::Remove => users.remove(&user_id),
                };
                prop_assert!(is_changed, "each change is one");
            }
            state.retain(|_, users| !users.is_empty());
            prop_assert_eq!(state, after);
        }
    }
}
