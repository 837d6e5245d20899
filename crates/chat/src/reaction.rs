//! Reactions to messages: one of each kind per user. They are kept with the message, and subscribers hear of them as of
//! any other change of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::{
    access::{SameChannel, authorize_read},
    channel::ChannelStore,
    clock::{CHANGE_BACKOFF, Clock},
    error::{ChatError, Result},
    id::UserId,
    limits::{CHANGE_ATTEMPTS, USERS_LISTED_PER_REACTION},
    message::MessageStore,
    revision::MessageRef,
    validation::Violation,
};

/// Who reacted how: users by emoji.
pub type Reactions = BTreeMap<String, BTreeSet<UserId>>;

/// What came of a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReactionResult {
    /// It is as asked for.
    Done,
    /// The message is not there, or deleted.
    MessageNotFound,
    /// There are too many already.
    Full,
    /// The channel, or the caller's membership, is not as it was read.
    Stale,
}

/// Adds the caller's reaction to a message, or takes it back. Doing so again changes nothing.
///
/// # Errors
/// [`ChatError::Invalid`] when `emoji` is none, [`ChatError::ChannelNotFound`], [`ChatError::MessageNotFound`] (also
/// when it is deleted), [`ChatError::ChannelArchived`], [`ChatError::TooManyReactions`], [`ChatError::Contended`], [`ChatError::Store`].
pub async fn react(
    channels: &impl ChannelStore,
    messages: &impl MessageStore,
    clock: &impl Clock,
    revision: &MessageRef,
    emoji: &str,
    add: bool,
) -> Result<()> {
    // One spelling for each: with and without a variation selector it is the same reaction.
    let emoji = emojis::get(emoji).ok_or_else(|| {
        ChatError::invalid(Violation::new("emoji", "malformed", "must be one emoji of Unicode, percent-encoded"))
    })?;
    let mut same = SameChannel::default();
    for attempt in 0..CHANGE_ATTEMPTS {
        let access = authorize_read(channels, &revision.channel_id, &revision.caller).await?;
        same.require(&access.channel)?;
        access.require_open()?;
        match messages.react(&access.as_reader(), revision, emoji.as_str(), add, clock.now()).await? {
            ReactionResult::Done => return Ok(()),
            ReactionResult::MessageNotFound => return Err(ChatError::MessageNotFound),
            ReactionResult::Full => return Err(ChatError::TooManyReactions),
            ReactionResult::Stale => CHANGE_BACKOFF.pause(clock, attempt).await,
        }
    }
    Err(ChatError::contended())
}

#[derive(Serialize)]
struct Summary<'a> {
    count: usize,
    user_ids: Vec<&'a UserId>,
}

/// Reactions as clients see them: how many, and the first few users.
pub(crate) fn summary<S: Serializer>(reactions: &Reactions, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(reactions.iter().map(|(emoji, users)| {
        let user_ids = users.iter().take(USERS_LISTED_PER_REACTION).collect();
        (emoji, Summary { count: users.len(), user_ids })
    }))
}
