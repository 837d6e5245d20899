//! Reactions to messages: at most one of each emoji per user. They are stored with the message. Subscribers receive a
//! `message.updated` event, as for any other change of the message.

use crate::{
    app::{
        access::{SameChannel, authorize_read},
        channel_messages::ChannelMessages,
    },
    model::{
        error::{ChatError, Result},
        limits::CHANGE_ATTEMPTS,
        message_ref::MessageRef,
        reaction::Toggle,
        validation::Violation,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{CHANGE_BACKOFF, Clock},
        message_store::{MessageStore, ReactionResult},
    },
};

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Adds the caller's reaction to a message, or removes it. A repeated call changes nothing.
    ///
    /// # Errors
    /// [`ChatError::Invalid`] when `emoji` is not an emoji, [`ChatError::ChannelNotFound`],
    /// [`ChatError::MessageNotFound`] (also when the message is deleted), [`ChatError::ChannelArchived`],
    /// [`ChatError::TooManyReactions`], [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn react(&self, revision: &MessageRef, emoji: &str, toggle: Toggle) -> Result<()> {
        // The emoji is normalized: with and without a variation selector it is the same reaction.
        let emoji = emojis::get(emoji).ok_or_else(|| {
            ChatError::invalid(Violation::new("emoji", "malformed", "must be one emoji of Unicode, percent-encoded"))
        })?;
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let access = authorize_read(self.channels, &revision.channel_id, &revision.caller).await?;
            same.require(&access.channel)?;
            access.require_open()?;
            match self.messages.react(&access.as_reader(), revision, emoji.as_str(), toggle, self.clock.now()).await? {
                ReactionResult::Done => return Ok(()),
                ReactionResult::MessageNotFound => return Err(ChatError::MessageNotFound),
                ReactionResult::Full => return Err(ChatError::TooManyReactions),
                ReactionResult::Stale => CHANGE_BACKOFF.pause(self.clock, attempt).await,
            }
        }
        Err(ChatError::contended())
    }
}
