//! Reactions to messages: at most one of each emoji per user. They are stored with the message, whose version each
//! change of a reaction advances. Subscribers receive an event of the reaction alone.

use crate::{
    app::{
        access::{SameChannel, authorize_read},
        channel_messages::ChannelMessages,
    },
    model::{
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        limits::MESSAGE_CHANGE_ATTEMPTS,
        message_ref::MessageRef,
        reaction::{Reaction, Toggle},
        seq::Seq,
        text::emoji::Emoji,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{CHANGE_BACKOFF, Clock},
        message_store::{MessageStore, ReactionResult},
    },
};

/// Page of the reactions to a message, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactionPage {
    /// Reactions.
    pub reactions: Vec<Reaction>,
    /// Reaction after which the next page begins, if there are more.
    pub next_after: Option<Reaction>,
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Adds the caller's reaction to a message, or removes it. A repeated call changes nothing.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::MessageNotFound`] (also when the message is deleted),
    /// [`ChatError::ChannelArchived`], [`ChatError::TooManyReactions`], [`ChatError::Contended`],
    /// [`ChatError::Store`].
    pub async fn react(&self, revision: &MessageRef, emoji: &Emoji, toggle: Toggle) -> Result<()> {
        let mut same = SameChannel::default();
        for attempt in 0..MESSAGE_CHANGE_ATTEMPTS {
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

    /// Returns up to `limit` reactions to a message of a channel that `user` may read, after the reaction `after`: all,
    /// or those with the emoji `only`. A deleted message has none.
    ///
    /// # Errors
    /// Those of [`one_message`](Self::one_message).
    pub async fn reactions(
        &self,
        channel: &ChannelId,
        user: &UserId,
        seq: Seq,
        only: Option<&Emoji>,
        after: Option<&Reaction>,
        limit: u16,
    ) -> Result<ReactionPage> {
        let all = self.one_message(channel, user, seq).await?.reactions;
        let mut rest = all
            .into_iter()
            .filter(|(emoji, _)| only.is_none_or(|only| only == emoji))
            .flat_map(|(emoji, users)| users.into_iter().map(move |user_id| Reaction { emoji: emoji.clone(), user_id }))
            .filter(|one| after.is_none_or(|after| one > after));
        let reactions: Vec<Reaction> = rest.by_ref().take(usize::from(limit)).collect();
        let next_after = rest.next().and(reactions.last().cloned());
        Ok(ReactionPage { reactions, next_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::MessageItem,
        model::{channel::Visibility, reaction::Reactions},
        testing::{TestClock, TestStore, key, stored_message},
    };

    #[tokio::test]
    async fn pages_of_reactions_are_complete_and_in_order() {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private).with_member("c", "bob");
        let users = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let mut stored = stored_message("c", 1, "hi");
        stored.message.reactions = Reactions::from([
            ("👍".parse().unwrap(), users(&["carol", "alice", "bob"])),
            ("🎉".parse().unwrap(), users(&["dave", "bob"])),
        ]);
        let item = MessageItem { stored, for_agent: false };
        store.state().messages.entry(key("c")).or_default().insert(Seq::FIRST, item);
        let clock = TestClock::new(1);
        let messages = ChannelMessages { channels: &store, messages: &store, clock: &clock };
        let (channel, bob) = ("c".parse().unwrap(), "bob".parse().unwrap());
        let all = [("🎉", "bob"), ("🎉", "dave"), ("👍", "alice"), ("👍", "bob"), ("👍", "carol")];
        for only in [None, Some("👍"), Some("🎉"), Some("🚀")] {
            let emoji: Option<Emoji> = only.map(|only| only.parse().unwrap());
            let expected: Vec<_> =
                all.into_iter().filter(|(emoji, _)| only.is_none_or(|only| only == *emoji)).collect();
            for limit in 1..=6 {
                let (mut found, mut after): (Vec<Reaction>, Option<Reaction>) = (Vec::new(), None);
                loop {
                    let page = messages.reactions(&channel, &bob, Seq::FIRST, emoji.as_ref(), after.as_ref(), limit);
                    let page = page.await.unwrap();
                    assert!(page.reactions.len() <= usize::from(limit));
                    assert!(page.next_after.is_none() || page.reactions.len() == usize::from(limit));
                    found.extend(page.reactions);
                    after = page.next_after;
                    if after.is_none() {
                        break;
                    }
                }
                let found: Vec<_> = found.iter().map(|one| (one.emoji.as_str(), one.user_id.as_str())).collect();
                assert_eq!(found, expected, "{only:?}, {limit} on a page");
            }
        }
        let refused = messages.reactions(&channel, &"mallory".parse().unwrap(), Seq::FIRST, None, None, 9).await;
        assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{refused:?}");
    }
}
