//! Reactions to messages: at most one of each emoji per user. They are stored with the message, whose version each
//! change of a reaction advances. Subscribers receive an event of the reaction alone.

use crate::{
    app::{
        access::{SameChannel, authorize_read_with_rev},
        channel_messages::ChannelMessages,
        contention::Contention,
    },
    model::{
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        message_ref::MessageRef,
        reaction::{Reaction, Toggle},
        seq::Seq,
        text::emoji::Emoji,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
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
    /// Adds the caller's reaction to a message, or removes it. A repeated call changes nothing and takes no number.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::MessageNotFound`] (also when the message is deleted),
    /// [`ChatError::ChannelArchived`], [`ChatError::TooManyReactions`], [`ChatError::Contended`],
    /// [`ChatError::Store`].
    pub async fn react(&self, revision: &MessageRef, emoji: &Emoji, toggle: Toggle) -> Result<()> {
        let (mut same, mut contention) = (SameChannel::default(), Contention::new(self.clock));
        while contention.begin(false).await {
            let channels = self.channels;
            let (access, mut last) = authorize_read_with_rev(channels, &revision.channel_id, &revision.caller).await?;
            same.require(&access.channel)?;
            access.require_open()?;
            // Another change of the channel between the read and the write costs an attempt with the number after it.
            loop {
                let (by, number, now) = (access.as_reader(), self.change_after(last), self.clock.now());
                match self.messages.react(&by, revision, emoji, toggle, number, now).await? {
                    ReactionResult::Done => return Ok(()),
                    ReactionResult::MessageNotFound => return Err(ChatError::MessageNotFound),
                    ReactionResult::Full => return Err(ChatError::TooManyReactions),
                    ReactionResult::Stale | ReactionResult::Conflict => break,
                    ReactionResult::Behind(current) => {
                        if !contention.begin_behind().await {
                            return Err(ChatError::contended());
                        }
                        last = current;
                    }
                }
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
    use futures::future::join_all;

    use super::*;
    use crate::{
        memory::{Call, MessageItem},
        model::{channel::Visibility, limits::CHANGE_DURATION, reaction::Reactions, rev::Rev},
        testing::{Before, PausedClock, TestClock, TestStore, channel_messages, incarnation, key, stored_message},
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
        let messages = channel_messages(&store, &clock);
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

    /// Returns a store with a public channel and a message in it.
    fn with_message(store: TestStore) -> TestStore {
        let store = store.with_channel("c", Visibility::Public);
        let item = MessageItem { stored: stored_message("c", 1, "hi"), for_agent: false };
        store.state().messages.entry(key("c")).or_default().insert(Seq::FIRST, item);
        store
    }

    fn by(user: &str) -> MessageRef {
        MessageRef { channel_id: "c".parse().unwrap(), seq: Seq::FIRST, caller: user.parse().unwrap(), trace: None }
    }

    #[tokio::test(start_paused = true)]
    async fn reactors_at_once_lose_no_number_in_any_order() {
        const REACTORS: u64 = 16;
        for seed in 0..50 {
            let store = with_message(TestStore::scheduled(seed, 4));
            let clock = PausedClock::new(seed);
            let messages = channel_messages(&store, &clock);
            let emoji: Emoji = "👍".parse().unwrap();
            let reactors =
                (0..REACTORS).map(async |number| messages.react(&by(&format!("u{number}")), &emoji, Toggle::Add).await);
            for reacted in join_all(reactors).await {
                assert!(reacted.is_ok(), "seed {seed}: {reacted:?}");
            }
            let state = store.state();
            let stored = &state.message(&key("c"), Seq::FIRST).unwrap().stored;
            assert_eq!(stored.message.reactions[&emoji].len(), 16, "seed {seed}: a reaction is lost");
            assert_eq!((stored.message.version, stored.rev), (1 + REACTORS, Rev::new(REACTORS)), "seed {seed}");
            assert_eq!(state.last_change(&key("c")), Rev::new(REACTORS), "seed {seed}");
            let wanted: Vec<Rev> = (1..=REACTORS).map(Rev::new).collect();
            let of_events: Vec<Rev> = state.stream.iter().map(|record| record.event.stored.rev).collect();
            assert_eq!(of_events, wanted, "seed {seed}: each number once, in order");
            let records = &state.changes[&key("c")];
            assert_eq!(records.keys().copied().collect::<Vec<_>>(), wanted, "seed {seed}");
            assert!(records.values().all(|record| record.seq == Seq::FIRST), "seed {seed}");
        }
    }

    #[tokio::test]
    async fn a_reaction_that_is_already_as_requested_takes_no_number() {
        let (store, clock) = (with_message(TestStore::seeded(1, 0)), TestClock::new(1));
        let messages = channel_messages(&store, &clock);
        for (toggle, last) in
            [(Toggle::Remove, 0), (Toggle::Add, 1), (Toggle::Add, 1), (Toggle::Remove, 2), (Toggle::Remove, 2)]
        {
            messages.react(&by("bob"), &"👍".parse().unwrap(), toggle).await.unwrap();
            assert_eq!(store.state().last_change(&key("c")), Rev::new(last), "{toggle:?}");
        }
        let record = store.state().changes[&key("c")][&Rev::new(2)];
        assert_eq!(record.expires_at, clock.now().plus(CHANGE_DURATION));
    }

    #[tokio::test]
    async fn another_change_after_the_read_costs_no_wait() {
        let (store, clock) = (with_message(TestStore::seeded(1, 0)), TestClock::new(1));
        let racing = store.through(Before::new(Call::React, || {
            store.state().last_changes.insert("c".parse().unwrap(), (incarnation(), Rev::new(7)));
        }));
        let started = clock.now();
        channel_messages(&racing, &clock).react(&by("bob"), &"👍".parse().unwrap(), Toggle::Add).await.unwrap();
        assert!(racing.hook().is_done());
        assert_eq!(clock.now(), started, "the number was only read too early");
        assert_eq!(store.state().message(&key("c"), Seq::FIRST).unwrap().stored.rev, Rev::new(8));
        assert_eq!(store.state().last_change(&key("c")), Rev::new(8));
    }
}
