//! Pages, permissions that end meanwhile, and replies in progress.

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
    testing::{Before, TestClock, TestStore, channel_messages, key, stored_message},
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
            let messages = channel_messages(&store, &clock);
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
    let messages = channel_messages(store, &clock);
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

/// A change between the reads of a page must not be taken for one that the page shows.
#[tokio::test]
async fn a_page_says_the_number_of_the_last_change_before_its_messages_were_read() {
    let set_last = |store: &TestStore, last: u64| {
        store.state().last_changes.insert("c".parse().unwrap(), (key("c").incarnation, Rev::new(last)));
    };
    let store = channel_with(&[0, 0, 1]);
    let newest = Place::From(Range::Newest);
    assert_eq!(read(&store, page(Shown::All, newest, 10)).await.rev, Rev::ZERO);
    for (shown, place) in [
        (Shown::All, newest),
        (Shown::All, Place::Around(Seq::FIRST)),
        (Shown::All, Place::From(Range::After(Seq::ZERO))),
        (THREAD, newest),
    ] {
        set_last(&store, 7);
        let racing = store.through(Before::new(Call::Messages, || set_last(&store, 8)));
        let clock = TestClock::new(1);
        let messages = channel_messages(&racing, &clock);
        let found = messages.page(&"c".parse().unwrap(), &"bob".parse().unwrap(), page(shown, place, 10)).await;
        assert!(racing.hook().is_done());
        assert_eq!(found.unwrap().rev, Rev::new(7), "{shown:?}, {place:?}");
        assert_eq!(read(&store, page(shown, place, 10)).await.rev, Rev::new(8), "{shown:?}, {place:?}");
    }
    let nothing = page(Shown::All, Place::From(Range::After(Seq::new(3))), 10);
    assert_eq!(read(&store, nothing).await.rev, Rev::new(8), "also a page without messages");
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
    let messages = channel_messages(&store, &clock);
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
        let messages = channel_messages(&observed, &clock);
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
