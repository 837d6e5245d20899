//! Reading the history of a channel.
//!
//! The permission is read before the messages, and again after them. A former member does not get messages that were
//! stored after the end of the membership.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use futures::future::try_join;

use crate::{
    app::{
        access::{authorize_read, require_still_readable},
        channel_messages::ChannelMessages,
    },
    model::{
        channel::{AgentMode, Channel},
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        limits::{PAGE_BYTES, QUESTION_DURATION, REPLIES_IN_PROGRESS},
        message::{Message, Role},
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{Excerpt, MessageStore, Range, Selection},
        reply_leases::ReplyLeases,
    },
};

/// Messages that a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All messages of the channel.
    All,
    /// A part of them.
    Part(Selection),
}

/// Place of a page among the messages that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One end of the page is given.
    From(Range),
    /// The page has messages up to and including this `seq`, and messages after it, oldest first.
    Around(Seq),
}

/// Page that a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Messages that the page shows.
    pub shown: Shown,
    /// Place of the page.
    pub place: Place,
    /// Maximum number of messages.
    pub limit: u16,
}

impl PageRequest {
    /// Returns the request for messages of the whole history.
    #[must_use]
    pub fn of_history(range: Range, limit: u16) -> Self {
        Self { shown: Shown::All, place: Place::From(range), limit }
    }
}

/// Page of messages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryPage {
    /// Messages, in the order of the page's place.
    pub messages: Vec<Message>,
    /// Range of the next page, if there are more messages.
    pub next: Option<Range>,
    /// Range of the older messages, if there are any and the page is around a `seq`.
    pub previous: Option<Range>,
    /// Questions of the page whose reply is being written, oldest first. Only a page up to the newest message has them.
    pub replying_to: Vec<Seq>,
}

impl HistoryPage {
    /// Whether the page reveals nothing of the channel.
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.next.is_none() && self.previous.is_none()
    }
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

    /// Reads a page on one side of a `seq`, and the position beyond which the range goes on.
    async fn read(&self, channel: &Channel, shown: Shown, range: Range, limit: u16) -> Result<Excerpt> {
        if matches!(range, Range::After(seq) if seq >= channel.last_seq) {
            return Ok(Excerpt::default());
        }
        let (key, now) = (channel.key(), self.clock.now());
        let Shown::Part(selection) = shown else {
            // One message more than requested shows whether there are more.
            let mut messages = self.messages.messages(&key, range, limit + 1, now).await?;
            let is_more = messages.len() > usize::from(limit);
            messages.truncate(usize::from(limit));
            let rest = messages.last().filter(|_| is_more).map(|last| last.seq);
            return Ok(Excerpt { messages, rest });
        };
        Ok(self.messages.selected(&key, selection, range, limit, now).await?)
    }

    /// Reads the messages on both sides of a `seq`.
    async fn around(&self, channel: &Channel, shown: Shown, seq: Seq, limit: u16) -> Result<HistoryPage> {
        let newer_limit = limit / 2;
        let (older, newer) = try_join(
            self.read(channel, shown, Range::Before(seq.next()), limit - newer_limit),
            // One message shows whether there are newer ones.
            self.read(channel, shown, Range::After(seq), newer_limit.max(1)),
        )
        .await?;
        let older = cut(older, limit - newer_limit, PAGE_BYTES / 2);
        let newer = cut(newer, newer_limit, PAGE_BYTES / 2);
        let messages = older.messages.into_iter().rev().chain(newer.messages).collect();
        let next = newer.rest.map(|rest| Range::After(rest.max(seq)));
        Ok(HistoryPage { messages, next, previous: older.rest.map(Range::Before), ..HistoryPage::default() })
    }
}

impl<Channels, Messages, Time> ChannelMessages<'_, Channels, Messages, Time>
where
    Channels: ChannelStore + ReplyLeases,
    Messages: MessageStore,
    Time: Clock,
{
    /// Returns a page of messages of a channel that `user` may read.
    ///
    /// # Errors
    /// Those of [`authorize_read`], and [`ChatError::MessageNotFound`] for the thread of a message that was never sent.
    pub async fn page(&self, channel: &ChannelId, user: &UserId, request: PageRequest) -> Result<HistoryPage> {
        let found = authorize_read(self.channels, channel, user).await?.channel;
        let PageRequest { shown, place, limit } = request;
        // A thread outlives its root, which may be deleted or expired.
        if matches!(shown, Shown::Part(Selection::Thread(root)) if root > found.last_seq) {
            return Err(ChatError::MessageNotFound);
        }
        let mut page = match place {
            Place::Around(seq) => self.around(&found, shown, seq, limit).await?,
            Place::From(range) => {
                let Excerpt { messages, rest } = cut(self.read(&found, shown, range, limit).await?, limit, PAGE_BYTES);
                let next = rest.map(|rest| match range {
                    Range::After(_) => Range::After(rest),
                    Range::Newest | Range::Before(_) => Range::Before(rest),
                });
                HistoryPage { messages, next, ..HistoryPage::default() }
            }
        };
        let reaches_newest = match place {
            Place::From(Range::Newest) => true,
            Place::From(Range::Before(seq)) => seq > found.last_seq,
            Place::From(Range::After(_)) | Place::Around(_) => page.next.is_none(),
        };
        if reaches_newest && shown != Shown::Part(Selection::Roots) {
            page.replying_to = self.replying_to(&found, &page.messages).await?;
        }
        // An empty page reveals nothing, so it needs no second read of the permission.
        if !page.is_empty() {
            require_still_readable(self.channels, &found.key(), user).await?;
        }
        Ok(page)
    }

    /// Returns the questions among `messages` whose reply is being written. Reads the leases of the last few that may
    /// have one.
    async fn replying_to(&self, channel: &Channel, messages: &[Message]) -> Result<Vec<Seq>> {
        let now = self.clock.now();
        if channel.agent.mode == AgentMode::Off || channel.archived_at.is_some() {
            return Ok(Vec::new());
        }
        let questions = open_questions(messages, now);
        if questions.is_empty() {
            return Ok(questions);
        }
        Ok(self.channels.held(&channel.key(), &questions, now).await?)
    }
}

/// Returns the newest messages of users that no message of the agent quotes, up to [`REPLIES_IN_PROGRESS`].
fn open_questions(messages: &[Message], now: Timestamp) -> Vec<Seq> {
    let of_agent = messages.iter().filter(|message| message.role != Role::User);
    let answered: BTreeSet<Seq> = of_agent.filter_map(|message| message.reply_to).collect();
    let is_open = |message: &&Message| {
        message.role == Role::User
            && message.deleted_at.is_none()
            && message.created_at.until(now) < QUESTION_DURATION
            && !answered.contains(&message.seq)
    };
    let open: BTreeSet<Seq> = messages.iter().filter(is_open).map(|message| message.seq).collect();
    open.into_iter().rev().take(REPLIES_IN_PROGRESS).collect()
}

/// Returns the messages of an excerpt that fit `limit` and `most` bytes. They are at least one, unless `limit` is 0.
fn cut(excerpt: Excerpt, limit: u16, most: usize) -> Excerpt {
    let Excerpt { mut messages, rest } = excerpt;
    let (mut fits, mut bytes) = (0, 0);
    for message in messages.iter().take(usize::from(limit)) {
        bytes += json_bytes(message);
        if fits > 0 && bytes > most {
            break;
        }
        fits += 1;
    }
    if fits == messages.len() {
        return Excerpt { messages, rest };
    }
    messages.truncate(fits);
    let rest = Some(messages.last().map_or(Seq::ZERO, |last| last.seq));
    Excerpt { messages, rest }
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
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        memory::{Call, MessageItem},
        model::{
            channel::Visibility,
            limits::{CONTENT_BYTES, PAGE_ITEMS},
            message::StoredMessage,
            thread::ThreadSummary,
        },
        ports::reply_leases::{LeaseOwner, MessageKey},
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
        state.channels.values_mut().for_each(|channel| channel.last_seq = Seq::new(2));
        let mut stored = stored_message("c", 1, "a secret");
        stored.message.created_at = TestClock::new(1).now();
        let reply = StoredMessage {
            message: Message { seq: Seq::new(2), thread_seq: Some(Seq::FIRST), ..stored.message.clone() },
            ..stored.clone()
        };
        let messages = state.messages.entry(key("c")).or_default();
        for stored in [stored, reply] {
            messages.insert(stored.message.seq, MessageItem { stored, for_agent: false });
        }
        drop(state);
        store
    }

    fn page(shown: Shown, place: Place, limit: u16) -> PageRequest {
        PageRequest { shown, place, limit }
    }

    const THREAD: Shown = Shown::Part(Selection::Thread(Seq::FIRST));

    #[tokio::test]
    async fn what_is_read_after_a_permission_has_ended_is_not_given_away() {
        let newest = Place::From(Range::Newest);
        let reads = [
            (Call::Message, None),
            (Call::Messages, Some(page(Shown::All, newest, 10))),
            (Call::Messages, Some(page(Shown::All, Place::Around(Seq::FIRST), 10))),
            (Call::Messages, Some(page(Shown::Part(Selection::OutsideThreads), newest, 10))),
            (Call::Listed, Some(page(THREAD, newest, 10))),
            (Call::Messages, Some(page(THREAD, newest, 10))),
            (Call::HeldLeases, Some(page(Shown::All, newest, 10))),
        ];
        for (call, request) in reads {
            for meanwhile in [Meanwhile::Nothing, Meanwhile::Removed, Meanwhile::MadePrivate, Meanwhile::Deleted] {
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
                let read = match request {
                    None => messages.one_message(&channel, &bob, Seq::FIRST).await.is_ok(),
                    Some(request) => messages.page(&channel, &bob, request).await.is_ok(),
                };
                assert!(store.hook().is_done(), "{call:?}, {request:?}");
                assert_eq!(read, meanwhile == Meanwhile::Nothing, "{call:?}, {meanwhile:?}, {request:?}");
            }
        }
    }

    /// Returns a public channel with messages: `roots` gives the root of each, or 0.
    fn channel_with(roots: &[u64]) -> TestStore {
        let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Public);
        let mut state = store.state();
        let now = TestClock::new(1).now();
        let mut all: BTreeMap<Seq, MessageItem> = BTreeMap::new();
        for (seq, root) in (1..).zip(roots) {
            let mut stored = stored_message("c", seq, "hi");
            stored.message.created_at = now;
            stored.message.thread_seq = (*root > 0).then_some(Seq::new(*root));
            if let Some(root) = all.get_mut(&Seq::new(*root)) {
                let thread = &mut root.stored.message.thread;
                *thread = Some(ThreadSummary::after_reply(*thread, Seq::new(seq), now));
            }
            all.insert(Seq::new(seq), MessageItem { stored, for_agent: true });
            state.channels.values_mut().for_each(|channel| channel.last_seq = Seq::new(seq));
        }
        state.messages.insert(key("c"), all);
        drop(state);
        store
    }

    async fn read(store: &TestStore, request: PageRequest) -> HistoryPage {
        let clock = TestClock::new(1);
        let messages = ChannelMessages { channels: store, messages: store, clock: &clock };
        messages.page(&"c".parse().unwrap(), &"bob".parse().unwrap(), request).await.unwrap()
    }

    fn seqs(page: &HistoryPage) -> Vec<u64> {
        page.messages.iter().map(|message| message.seq.get()).collect()
    }

    #[tokio::test]
    async fn a_page_around_a_message_has_both_sides_and_says_what_lies_beyond() {
        let store = channel_with(&[0; 9]);
        let (before, after) = (|seq| Some(Range::Before(Seq::new(seq))), |seq| Some(Range::After(Seq::new(seq))));
        for (seq, limit, wanted, previous, next) in [
            (5, 4, vec![4, 5, 6, 7], before(4), after(7)),
            (5, 5, vec![3, 4, 5, 6, 7], before(3), after(7)),
            (5, 1, vec![5], before(5), after(5)),
            (9, 4, vec![8, 9], before(8), None),
            (1, 4, vec![1, 2, 3], None, after(3)),
            (0, 4, vec![1, 2], None, after(2)),
            (99, 4, vec![8, 9], before(8), None),
            (5, 100, (1..=9).collect(), None, None),
        ] {
            let page = read(&store, page(Shown::All, Place::Around(Seq::new(seq)), limit)).await;
            assert_eq!((seqs(&page), page.previous, page.next), (wanted, previous, next), "{limit} around {seq}");
        }
    }

    #[tokio::test]
    async fn a_thread_and_the_history_without_it_have_the_pages_of_the_history() {
        let store = channel_with(&[0, 0, 1, 1, 2, 1, 0, 1]);
        let newest = Place::From(Range::Newest);
        let after = |seq| Place::From(Range::After(Seq::new(seq)));
        let outside = Shown::Part(Selection::OutsideThreads);
        for (shown, place, limit, wanted) in [
            (Shown::All, newest, 3, vec![8, 7, 6]),
            (THREAD, newest, 3, vec![8, 6, 4]),
            (THREAD, after(3), 2, vec![4, 6]),
            (THREAD, Place::Around(Seq::new(5)), 4, vec![3, 4, 6, 8]),
            (outside, newest, 9, vec![7, 2, 1]),
            (outside, after(2), 9, vec![7]),
            (outside, Place::Around(Seq::new(4)), 4, vec![1, 2, 7]),
            (Shown::Part(Selection::Roots), newest, 1, vec![2]),
            (Shown::Part(Selection::Thread(Seq::new(7))), newest, 9, vec![]),
        ] {
            let page = read(&store, page(shown, place, limit)).await;
            assert_eq!(seqs(&page), wanted, "{limit} of {shown:?}, {place:?}");
        }
        let (clock, channel, bob) = (TestClock::new(1), "c".parse().unwrap(), "bob".parse().unwrap());
        let messages = ChannelMessages { channels: &store, messages: &store, clock: &clock };
        let unsent = page(Shown::Part(Selection::Thread(Seq::new(9))), newest, 9);
        assert!(matches!(messages.page(&channel, &bob, unsent).await, Err(ChatError::MessageNotFound)));
    }

    #[tokio::test]
    async fn a_page_with_the_newest_message_names_the_questions_that_get_a_reply() {
        let store = channel_with(&[0; 6]);
        let clock = TestClock::new(1);
        {
            let mut state = store.state();
            let messages = state.messages.get_mut(&key("c")).unwrap();
            // The second message is the reply to the first one, whose lease has not expired.
            let reply = &mut messages.get_mut(&Seq::new(2)).unwrap().stored.message;
            (reply.role, reply.reply_to) = (Role::System, Some(Seq::FIRST));
            messages.get_mut(&Seq::new(3)).unwrap().stored.message.deleted_at = Some(clock.now());
            messages.get_mut(&Seq::new(4)).unwrap().stored.message.created_at = Timestamp::from_secs(0);
        }
        let until = clock.now().plus(Duration::from_secs(5));
        for seq in [1, 3, 4, 5] {
            let question = MessageKey { channel: key("c"), seq: Seq::new(seq) };
            store.acquire(&question, LeaseOwner::new(1), until, clock.now()).await.unwrap();
        }
        let newest = page(Shown::All, Place::From(Range::Newest), 10);
        assert_eq!(read(&store, newest).await.replying_to, [Seq::new(5)]);
        let older = page(Shown::All, Place::From(Range::Before(Seq::new(6))), 10);
        assert_eq!(read(&store, older).await.replying_to, [], "newer messages may be replies");
        let newer = |limit| page(Shown::All, Place::From(Range::After(Seq::new(2))), limit);
        assert_eq!(read(&store, newer(3)).await.replying_to, [], "the page ends before the newest message");
        assert_eq!(read(&store, newer(4)).await.replying_to, [Seq::new(5)]);
        store.set_agent("c", AgentMode::Off);
        assert_eq!(read(&store, newest).await.replying_to, []);
    }

    #[tokio::test]
    async fn leases_are_read_only_if_a_question_may_have_one() {
        for (is_open, roles) in [(true, [Role::User, Role::User]), (false, [Role::User, Role::System])] {
            let store = channel_with(&[0, 0]);
            {
                let mut state = store.state();
                let messages = state.messages.get_mut(&key("c")).unwrap();
                for (item, role) in messages.values_mut().zip(roles) {
                    (item.stored.message.role, item.stored.message.reply_to) = (role, Some(Seq::FIRST));
                }
            }
            let observed = store.through(Before::new(Call::HeldLeases, || {}));
            let clock = TestClock::new(1);
            let messages = ChannelMessages { channels: &observed, messages: &observed, clock: &clock };
            let newest = page(Shown::All, Place::From(Range::Newest), 10);
            messages.page(&"c".parse().unwrap(), &"bob".parse().unwrap(), newest).await.unwrap();
            assert_eq!(observed.hook().is_done(), is_open, "{roles:?}");
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
                let cut = cut(Excerpt { messages: rest, rest: None }, limit, PAGE_BYTES);
                let page = cut.messages;
                prop_assert!(page.len() <= usize::from(limit));
                prop_assert!(page.len() < 2 || serde_json::to_vec(&page).unwrap().len() <= PAGE_BYTES + page.len() + 1);
                prop_assert!(cut.rest.is_none_or(|rest| page.last().is_some_and(|last| last.seq == rest)));
                read.extend(page);
                if cut.rest.is_none() {
                    break;
                }
            }
            prop_assert_eq!(read, all);
        }
    }
}
