//! Reading the history of a channel.
//!
//! The permission is read before the messages, and again after them. A former member does not get messages that were
//! stored after the end of the membership.

use std::io::{self, Write};

use crate::{
    app::{
        access::{authorize_read, require_still_readable},
        channel_messages::ChannelMessages,
    },
    model::{
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        limits::PAGE_BYTES,
        message::Message,
        seq::Seq,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{MessageStore, Range},
    },
};

/// Page of history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// Messages, in the range's order.
    pub messages: Vec<Message>,
    /// Range of the next page, if there are more messages.
    pub next: Option<Range>,
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Returns one message of a channel that `user` may read.
    ///
    /// # Errors
    /// Those of [`authorize_read`], [`ChatError::MessageNotFound`].
    pub async fn one_message(&self, channel: &ChannelId, user: &UserId, seq: Seq) -> Result<Message> {
        let key = authorize_read(self.channels, channel, user).await?.key();
        let message = self.messages.message(&key, seq, self.clock.now()).await?.ok_or(ChatError::MessageNotFound)?;
        require_still_readable(self.channels, &key, user).await?;
        Ok(message)
    }

    /// Returns up to `limit` replies to a message of a channel that `user` may read, after the `seq` `after`, oldest
    /// first.
    ///
    /// # Errors
    /// Those of [`one_message`](Self::one_message).
    pub async fn replies(
        &self,
        channel: &ChannelId,
        user: &UserId,
        seq: Seq,
        after: Seq,
        limit: u16,
    ) -> Result<HistoryPage> {
        // A thread outlives its first message, which may be deleted or expired.
        let found = authorize_read(self.channels, channel, user).await?.channel;
        if seq > found.last_seq {
            return Err(ChatError::MessageNotFound);
        }
        if after >= found.last_seq {
            return Ok(HistoryPage { messages: Vec::new(), next: None });
        }
        let key = found.key();
        let page = self.messages.replies(&key, seq, after, limit + 1, self.clock.now()).await?;
        if !page.is_empty() {
            require_still_readable(self.channels, &key, user).await?;
        }
        let (page, more) = cut(page, limit);
        let next = page.last().filter(|_| more).map(|last| Range::After(last.seq));
        Ok(HistoryPage { messages: page, next })
    }

    /// Returns up to `limit` messages of a channel that `user` may read.
    ///
    /// # Errors
    /// Those of [`authorize_read`].
    pub async fn history(&self, channel: &ChannelId, user: &UserId, range: Range, limit: u16) -> Result<HistoryPage> {
        let key = authorize_read(self.channels, channel, user).await?.key();
        // One message more than requested shows whether there are more.
        let page = self.messages.messages(&key, range, limit + 1, self.clock.now()).await?;
        // An empty page reveals nothing, so it needs no second read of the permission.
        if !page.is_empty() {
            require_still_readable(self.channels, &key, user).await?;
        }
        let (page, more) = cut(page, limit);
        let next = page.last().filter(|_| more).map(|last| match range {
            Range::After(_) => Range::After(last.seq),
            Range::Newest | Range::Before(_) => Range::Before(last.seq),
        });
        Ok(HistoryPage { messages: page, next })
    }
}

/// Returns the messages of `page` that fit `limit` and [`PAGE_BYTES`], at least one, and whether messages remain.
fn cut(mut page: Vec<Message>, limit: u16) -> (Vec<Message>, bool) {
    let (mut fits, mut bytes) = (0, 0);
    for message in page.iter().take(usize::from(limit)) {
        bytes += json_bytes(message);
        if fits > 0 && bytes > PAGE_BYTES {
            break;
        }
        fits += 1;
    }
    let more = page.len() > fits;
    page.truncate(fits);
    (page, more)
}

/// Returns the size of a message's JSON in bytes.
fn json_bytes(message: &Message) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Serializing an accepted message does not fail.
    let _ = serde_json::to_writer(&mut count, message);
    count.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        memory::{Call, MessageItem},
        model::{
            channel::Visibility,
            limits::{CONTENT_BYTES, PAGE_ITEMS},
        },
        testing::{Before, TestClock, TestStore, key, stored_message},
    };

    /// Change that is made right before messages are read.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Meanwhile {
        Nothing,
        Removed,
        MadePrivate,
        Deleted,
    }

    /// Returns a store with a channel that bob may see, and a message in it.
    fn readable(meanwhile: Meanwhile) -> TestStore {
        let store = TestStore::seeded(1, 0);
        let store = match meanwhile {
            Meanwhile::MadePrivate => store.with_channel("c", Visibility::Public),
            _ => store.with_channel("c", Visibility::Private).with_member("c", "bob"),
        };
        let mut state = store.state();
        state.channels.values_mut().for_each(|channel| channel.last_seq = Seq::FIRST);
        let mut stored = stored_message("c", 1, "a secret");
        stored.message.reply_to = Some(Seq::FIRST);
        state.messages.entry(key("c")).or_default().insert(Seq::FIRST, MessageItem { stored, for_agent: false });
        drop(state);
        store
    }

    #[tokio::test]
    async fn what_is_read_after_a_permission_has_ended_is_not_given_away() {
        for call in [Call::Message, Call::Messages] {
            for meanwhile in [Meanwhile::Nothing, Meanwhile::Removed, Meanwhile::MadePrivate, Meanwhile::Deleted] {
                for is_thread in [false, true] {
                    let store = readable(meanwhile);
                    let store = store.through(Before::new(call, || {
                        let mut state = store.state();
                        match meanwhile {
                            Meanwhile::Nothing => {}
                            Meanwhile::Removed => state.members.clear(),
                            Meanwhile::MadePrivate => {
                                let all = state.channels.values_mut();
                                all.for_each(|channel| channel.visibility = Visibility::Private);
                            }
                            Meanwhile::Deleted => state.channels.clear(),
                        }
                    }));
                    let (channel, bob, clock) = ("c".parse().unwrap(), "bob".parse().unwrap(), TestClock::new(1));
                    let messages = ChannelMessages { channels: &store, messages: &store, clock: &clock };
                    let read = match (call, is_thread) {
                        (Call::Message, _) => messages.one_message(&channel, &bob, Seq::FIRST).await.is_ok(),
                        (_, true) => messages.replies(&channel, &bob, Seq::FIRST, Seq::ZERO, 10).await.is_ok(),
                        (_, false) => messages.history(&channel, &bob, Range::Newest, 10).await.is_ok(),
                    };
                    assert!(store.hook().is_done());
                    assert_eq!(read, meanwhile == Meanwhile::Nothing, "{call:?}, {meanwhile:?}, thread: {is_thread}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn pages_are_small_enough_and_leave_nothing_out(
            sizes in proptest::collection::vec(1..=CONTENT_BYTES, 0..150),
            limit in 1..=PAGE_ITEMS,
        ) {
            let all: Vec<Message> =
                (1..).zip(&sizes).map(|(seq, size)| stored_message("c", seq, &"\"".repeat(*size)).message).collect();
            let mut read: Vec<Message> = Vec::new();
            loop {
                // Like a store: one more than requested.
                let rest: Vec<Message> = all[read.len()..].iter().take(usize::from(limit) + 1).cloned().collect();
                let (page, more) = cut(rest, limit);
                prop_assert!(page.len() <= usize::from(limit));
                prop_assert!(page.len() < 2 || serde_json::to_vec(&page).unwrap().len() <= PAGE_BYTES + page.len() + 1);
                prop_assert!(!more || !page.is_empty());
                read.extend(page);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(read, all);
        }
    }
}
