//! Channels as one caller sees them: with the caller's membership, its unread messages, and the last message.
//!
//! A message is unread if it is after the caller's read mark and after the caller's newest own message, and is neither
//! own nor deleted. So sending moves what counts as read, without a write. Replies in threads count like all messages.
//!
//! | read | consistency | for |
//! | --- | --- | --- |
//! | instructions of agents: one batch | strong | channels that have some |
//! | read marks, previews: two batches | strong | all channels of the page |
//! | outlines: one bounded query | eventual | each channel with unread messages that the preview does not decide |
//! | memberships, channels: two batches | strong | all channels of the page |
//!
//! The permissions are read last, so that they cover the contents that were read before them.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, future::try_join};

use crate::{
    app::channel_messages::ChannelMessages,
    model::{
        channel::{Channel, ChannelView, Member, OwnMembership, Visibility},
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        limits::{LIST_CONCURRENCY, UNREAD_COUNTED},
        preview::{MessageOutline, MessagePreview},
        seq::Seq,
    },
    ports::{channel_store::ChannelStore, clock::Clock, message_store::MessageStore},
};

/// Messages of a channel that may be unread.
struct Candidates {
    channel: ChannelKey,
    read_seq: Seq,
    last_seq: Seq,
    /// Outline of the message `last_seq`, unless it has expired.
    last: Option<MessageOutline>,
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Returns a channel as `user` sees it, or `None` if the user may not see it.
    ///
    /// # Errors
    /// [`ChatError::Store`].
    pub async fn view(&self, channel: Channel, user: &UserId) -> Result<Option<ChannelView>> {
        Ok(self.views(vec![channel], user).await?.pop())
    }

    /// Returns channels as `user` sees them, in the same order. Leaves out channels that the user may not see. Takes at
    /// most [`PAGE_ITEMS`](crate::model::limits::PAGE_ITEMS) channels.
    ///
    /// # Errors
    /// [`ChatError::Store`].
    pub async fn views(&self, found: Vec<Channel>, user: &UserId) -> Result<Vec<ChannelView>> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.channels.with_instructions(found).await?;
        let keys: Vec<ChannelKey> = found.iter().map(Channel::key).collect();
        let members: Vec<(ChannelKey, UserId)> = keys.iter().map(|key| (key.clone(), user.clone())).collect();
        let with_messages = found.iter().filter(|channel| channel.last_seq > Seq::ZERO);
        let last: Vec<(ChannelKey, Seq)> = with_messages.map(|channel| (channel.key(), channel.last_seq)).collect();
        let (marks, previews) =
            try_join(self.channels.read_marks(&members), self.messages.previews(&last, self.clock.now())).await?;
        let mut previews: BTreeMap<ChannelKey, MessagePreview> = previews.into_iter().collect();
        let marks: BTreeMap<ChannelKey, Seq> = marks.into_iter().map(|((channel, _), mark)| (channel, mark)).collect();
        let candidates = found.iter().zip(&keys).filter_map(|(channel, key)| {
            let (read_seq, last) = (*marks.get(key)?, previews.get(key).map(MessageOutline::from));
            Some(Candidates { channel: key.clone(), read_seq, last_seq: channel.last_seq, last })
        });
        let unread = self.unread_counts(candidates.collect(), user).await?;
        // From here on, no contents are read.
        let (members, current) =
            try_join(self.channels.memberships_among(user, &keys), self.channels.channels_among(&keys)).await?;
        let mut members: BTreeMap<ChannelId, Member> =
            members.into_iter().map(|member| (member.channel_id.clone(), member)).collect();
        let current: BTreeMap<ChannelKey, Visibility> =
            current.into_iter().map(|channel| (channel.key(), channel.visibility)).collect();
        let views = found.into_iter().zip(keys).filter_map(|(channel, key)| {
            let member = members.remove(&key.channel_id);
            let visibility = current.get(&key)?;
            if *visibility == Visibility::Private && member.is_none() {
                return None;
            }
            // A membership without a mark began while this was read, and is left out.
            let mark = marks.get(&key).copied();
            let unread = unread.get(&key).copied().unwrap_or_default();
            let membership = member.zip(mark).map(|(member, mark)| OwnMembership::new(member, mark, unread));
            let last_message = previews.remove(&key).map(MessagePreview::shortened);
            Some(ChannelView { channel, membership, last_message })
        });
        Ok(views.collect())
    }

    /// Returns the number of unread messages of each channel.
    async fn unread_counts(&self, candidates: Vec<Candidates>, user: &UserId) -> Result<BTreeMap<ChannelKey, usize>> {
        futures::stream::iter(candidates)
            .map(async |one| {
                let count = self.unread_count(&one, user).await?;
                Ok::<_, ChatError>((one.channel, count))
            })
            .buffer_unordered(LIST_CONCURRENCY)
            .try_collect()
            .await
    }

    async fn unread_count(&self, candidates: &Candidates, user: &UserId) -> Result<usize> {
        let Candidates { channel, read_seq, last_seq, last } = candidates;
        let unread = last_seq.distance_from(*read_seq);
        let is_own = last.as_ref().is_some_and(|last| last.sender_id == *user);
        if unread == 0 || is_own {
            return Ok(0);
        }
        let mut newest: Vec<MessageOutline> = last.iter().cloned().collect();
        // The preview decides about the last message alone.
        if unread > 1 {
            let (limit, now) = (UNREAD_COUNTED - 1, self.clock.now());
            newest.extend(self.messages.outlines(channel, *read_seq, *last_seq, limit, now).await?);
        }
        Ok(count(&newest, user))
    }
}

/// Returns the number of unread messages among messages after the reader's mark, newest first.
fn count(newest: &[MessageOutline], reader: &UserId) -> usize {
    let after_own = newest.iter().take_while(|message| message.sender_id != *reader);
    after_own.filter(|message| message.deleted_at.is_none()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::{Call, Hook, MemoryStore, MessageItem, State},
        testing::{Before, TestClock, TestStore, channel_messages, key, stored_message},
    };

    /// Sender of a message, and whether the message is deleted.
    type Sent = (&'static str, bool);

    const OTHER: Sent = ("alice", false);
    const DELETED: Sent = ("alice", true);
    const OWN: Sent = ("bob", false);
    const OWN_DELETED: Sent = ("bob", true);

    /// Returns a store with a channel of bob, who has read nothing, and these messages.
    fn room(visibility: Visibility, sent: &[Sent]) -> TestStore {
        let store = TestStore::seeded(1, 0).with_channel("c", visibility).with_member("c", "bob");
        let mut state = store.state();
        for (seq, (sender, is_deleted)) in (1..).zip(sent) {
            let mut stored = stored_message("c", seq, "a secret");
            stored.message.sender_id = sender.parse().unwrap();
            stored.message.deleted_at = is_deleted.then_some(stored.message.created_at);
            let item = MessageItem { stored, for_agent: false };
            state.messages.entry(key("c")).or_default().insert(Seq::new(seq), item);
            state.channels.values_mut().for_each(|channel| channel.last_seq = Seq::new(seq));
        }
        drop(state);
        store
    }

    /// Returns the channel as a user sees it that was found a moment before.
    async fn seen(store: &MemoryStore<impl Hook>, user: &str) -> Option<ChannelView> {
        let found = store.state().channels.values().next().cloned().unwrap();
        let clock = TestClock::new(1);
        let messages = channel_messages(store, &clock);
        messages.view(found, &user.parse().unwrap()).await.unwrap()
    }

    async fn unread(store: &TestStore) -> usize {
        seen(store, "bob").await.unwrap().membership.unwrap().unread_count
    }

    #[tokio::test]
    async fn unread_messages_are_neither_own_nor_deleted_and_after_the_mark_and_the_last_own_one() {
        let cases: [(&[Sent], u64, usize); 11] = [
            (&[], 0, 0),
            (&[OTHER], 0, 1),
            (&[OTHER, OTHER, OTHER], 1, 2),
            (&[OTHER, OTHER, OTHER], 2, 1),
            (&[OTHER, OTHER], 2, 0),
            (&[DELETED], 0, 0),
            (&[OTHER, DELETED, OTHER], 0, 2),
            (&[OTHER, OWN, OTHER, OTHER], 0, 2),
            (&[OTHER, OWN], 0, 0),
            (&[OTHER, OWN, DELETED], 0, 0),
            (&[OTHER, OWN_DELETED, OTHER], 0, 1),
        ];
        for (sent, read, expected) in cases {
            let store = room(Visibility::Private, sent);
            store.state().listed.values_mut().flatten().for_each(|(_, mark)| *mark = Seq::new(read));
            assert_eq!(unread(&store).await, expected, "{sent:?} after {read}");
        }
    }

    #[tokio::test]
    async fn unread_messages_are_counted_among_the_newest() {
        let most = usize::from(UNREAD_COUNTED);
        for (others, expected) in [(most - 1, most - 1), (most, most), (most + 1, most), (most + 50, most)] {
            assert_eq!(unread(&room(Visibility::Public, &vec![OTHER; others])).await, expected, "{others}");
        }
    }

    #[tokio::test]
    async fn a_preview_decides_about_one_message_and_about_a_last_own_one() {
        let cases: [(&[Sent], bool); 4] =
            [(&[], false), (&[OTHER], false), (&[OTHER, OTHER, OWN], false), (&[OTHER, OTHER], true)];
        for (sent, is_queried) in cases {
            let store = room(Visibility::Private, sent).through(Before::new(Call::Outlines, || {}));
            assert!(seen(&store, "bob").await.is_some());
            assert_eq!(store.hook().is_done(), is_queried, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_user_who_is_no_member_sees_a_public_channel_and_its_last_message() {
        let store = room(Visibility::Public, &[OTHER, OTHER]);
        let view = seen(&store, "carol").await.unwrap();
        assert_eq!((view.membership, view.last_message.unwrap().seq), (None, Seq::new(2)));
        let view = seen(&store, "bob").await.unwrap();
        assert_eq!(view.membership.map(|own| (own.read_seq, own.unread_count)), Some((Seq::ZERO, 2)));
        assert_eq!(seen(&room(Visibility::Private, &[OTHER]), "carol").await, None);
    }

    #[tokio::test]
    async fn what_is_read_after_a_permission_has_ended_is_not_shown() {
        type End = fn(&mut State);
        let ends: [(&str, End, Visibility, bool); 6] = [
            ("nothing", |_| {}, Visibility::Private, true),
            ("removed", |state| state.members.clear(), Visibility::Private, false),
            ("deleted", |state| state.channels.clear(), Visibility::Private, false),
            ("removed from a public channel", |state| state.members.clear(), Visibility::Public, true),
            ("deleted, public", |state| state.channels.clear(), Visibility::Public, false),
            ("removed and made private", made_private, Visibility::Public, false),
        ];
        for call in [Call::ReadMarks, Call::Previews, Call::Outlines] {
            for (name, end, visibility, is_shown) in ends {
                let store = room(visibility, &[OTHER, OTHER]);
                let hooked = store.through(Before::new(call, || end(&mut store.state())));
                let view = seen(&hooked, "bob").await;
                assert!(hooked.hook().is_done(), "{call:?}");
                assert_eq!(view.is_some(), is_shown, "{call:?}, {name}");
                let is_member = view.is_some_and(|view| view.membership.is_some());
                assert_eq!(is_member, name == "nothing", "{call:?}, {name}");
            }
        }
    }

    fn made_private(state: &mut State) {
        state.members.clear();
        state.channels.values_mut().for_each(|channel| channel.visibility = Visibility::Private);
    }
}
