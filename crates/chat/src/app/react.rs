//! Reactions to messages: one of each kind per user. They are kept with the message, and subscribers hear of them as of
//! any other change of it.

use crate::{
    app::access::{SameChannel, authorize_read},
    model::{
        error::{ChatError, Result},
        limits::CHANGE_ATTEMPTS,
        message_ref::MessageRef,
        validation::Violation,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{CHANGE_BACKOFF, Clock},
        message_store::{MessageStore, ReactionResult},
    },
};

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
