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
        text::emoji::Emoji,
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
    /// [`ChatError::ChannelNotFound`], [`ChatError::MessageNotFound`] (also when the message is deleted),
    /// [`ChatError::ChannelArchived`], [`ChatError::TooManyReactions`], [`ChatError::Contended`],
    /// [`ChatError::Store`].
    pub async fn react(&self, revision: &MessageRef, emoji: &Emoji, toggle: Toggle) -> Result<()> {
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let access = authorize_read(self.channels, &revision.channel_id, &revision.caller).await?;
            same.require(&access.channel)?;
            access.require_open()?;
            match self.messages.react(&access.as_reader(), revision, emoji, toggle, self.clock.now()).await? {
                ReactionResult::Done => return Ok(()),
                ReactionResult::MessageNotFound => return Err(ChatError::MessageNotFound),
                ReactionResult::Full => return Err(ChatError::TooManyReactions),
                ReactionResult::Stale => CHANGE_BACKOFF.pause(self.clock, attempt).await,
            }
        }
        Err(ChatError::contended())
    }
}
