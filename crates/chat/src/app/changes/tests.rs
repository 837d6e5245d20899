//! Walks through changes: complete, without gaps, and up to the state of the store.

use super::*;
use crate::{
    memory::{Call, ChangeRecord, MessageItem},
    model::{
        channel::Visibility,
        limits::{CHANGE_DURATION, CONTENT_BYTES, PAGE_ITEMS},
    },
    testing::{Before, TestClock, TestStore, channel_messages, key, stored_message},
};

/// Returns a store with a private channel of bob and messages of alice in it, whose content is as long as given.
fn filled(count: u64, bytes: usize) -> TestStore {
    let store = TestStore::seeded(1, 0)
        .with_channel("c", Visibility::Private)
        .with_member("c", "alice")
        .with_member("c", "bob");
    let mut state = store.state();
    for seq in 1..=count {
        let stored = stored_message("c", seq, &"\"".repeat(bytes));
        state.messages.entry(key("c")).or_default().insert(Seq::new(seq), MessageItem { stored, for_agent: false });
    }
    drop(state);
    store
}

/// Changes a message once.
fn change(store: &TestStore, clock: &TestClock, seq: u64) {
    let mut state = store.state();
    let rev = state.last_change(&key("c")).next();
    state.last_changes.insert("c".parse().unwrap(), (key("c").incarnation, rev));
    let record = ChangeRecord { seq: Seq::new(seq), expires_at: clock.now().plus(CHANGE_DURATION) };
    state.changes.entry(key("c")).or_default().insert(rev, record);
    let stored = &mut state.messages.get_mut(&key("c")).unwrap().get_mut(&Seq::new(seq)).unwrap().stored;
    stored.rev = rev;
    stored.message = stored.message.revised();
}

async fn read(store: &TestStore, clock: &TestClock, after: u64, limit: u16) -> Result<ChangesPage> {
    let messages = channel_messages(store, clock);
    messages.changes(&"c".parse().unwrap(), &"bob".parse().unwrap(), Rev::new(after), limit).await
}

/// Returns the numbers of a page's changes with the `seq` of their messages, the next number, and the newest one.
fn shape(page: &ChangesPage) -> (Vec<(u64, u64)>, Option<u64>, u64) {
    let changes = page.changes.iter().map(|change| (change.rev.get(), change.message.seq.get()));
    (changes.collect(), page.next.map(Rev::get), page.rev.get())
}

#[tokio::test]
async fn a_walk_has_each_message_once_at_its_last_change() {
    let (store, clock) = (filled(3, 1), TestClock::new(1));
    assert_eq!(shape(&read(&store, &clock, 0, 10).await.unwrap()), (vec![], None, 0), "no change");
    for seq in [1, 2, 1, 3, 2] {
        change(&store, &clock, seq);
    }
    for (after, limit, changes, next) in [
        (0, 10, vec![(3, 1), (4, 3), (5, 2)], None),
        // Messages whose last change is on a later page are left out.
        (0, 1, vec![], Some(1)),
        (0, 2, vec![], Some(2)),
        (0, 3, vec![(3, 1)], Some(3)),
        (2, 2, vec![(3, 1), (4, 3)], Some(4)),
        (3, 10, vec![(4, 3), (5, 2)], None),
        (5, 10, vec![], None),
    ] {
        let page = read(&store, &clock, after, limit).await.unwrap();
        assert_eq!(shape(&page), (changes, next, 5), "{limit} after {after}");
    }
    for message in read(&store, &clock, 0, 10).await.unwrap().changes {
        assert!(store.all().contains(&message.message), "the latest state");
    }
}

#[tokio::test]
async fn an_unknown_number_and_changes_that_are_gone_are_refused() {
    let (store, clock) = (filled(2, 1), TestClock::new(1));
    change(&store, &clock, 1);
    let half = CHANGE_DURATION / 2;
    clock.sleep(half).await;
    change(&store, &clock, 2);
    let refused = read(&store, &clock, 3, 10).await;
    assert!(matches!(refused, Err(ChatError::ChangesExpired)), "a number of another channel: {refused:?}");
    clock.sleep(half).await;
    let refused = read(&store, &clock, 0, 10).await;
    assert!(matches!(refused, Err(ChatError::ChangesExpired)), "the first record has expired: {refused:?}");
    assert_eq!(shape(&read(&store, &clock, 1, 10).await.unwrap()), (vec![(2, 2)], None, 2));
    clock.sleep(half).await;
    let refused = read(&store, &clock, 1, 10).await;
    assert!(matches!(refused, Err(ChatError::ChangesExpired)), "all records have expired: {refused:?}");
    assert_eq!(shape(&read(&store, &clock, 2, 10).await.unwrap()), (vec![], None, 2), "nothing is missing");
    // A channel that reuses the id has no changes.
    store.state().last_changes.clear();
    let refused = read(&store, &clock, 2, 10).await;
    assert!(matches!(refused, Err(ChatError::ChangesExpired)), "{refused:?}");
}

#[tokio::test]
async fn a_page_ends_before_a_missing_record() {
    let (store, clock) = (filled(4, 1), TestClock::new(1));
    for seq in 1..=4 {
        change(&store, &clock, seq);
    }
    store.state().changes.get_mut(&key("c")).unwrap().remove(&Rev::new(3));
    assert_eq!(shape(&read(&store, &clock, 0, 10).await.unwrap()), (vec![(1, 1), (2, 2)], Some(2), 4));
    let refused = read(&store, &clock, 2, 10).await;
    assert!(matches!(refused, Err(ChatError::ChangesExpired)), "{refused:?}");
}

#[tokio::test]
async fn an_expired_message_is_left_out_and_its_change_is_passed() {
    let (store, clock) = (filled(2, 1), TestClock::new(1));
    change(&store, &clock, 1);
    change(&store, &clock, 2);
    store.state().messages.get_mut(&key("c")).unwrap().get_mut(&Seq::new(2)).unwrap().stored.expires_at =
        Some(clock.now());
    assert_eq!(shape(&read(&store, &clock, 0, 10).await.unwrap()), (vec![(1, 1)], None, 2));
    assert_eq!(shape(&read(&store, &clock, 1, 10).await.unwrap()), (vec![], None, 2));
}

/// Between the reads of a page, further changes are made: before the records are read, or before the messages are.
#[tokio::test]
async fn changes_meanwhile_are_on_this_page_or_on_a_later_one() {
    for (call, changed_again, shown, next, newest) in [
        // The record is read with the others, and is the newest.
        (Call::Changes, 1, vec![(2, 2), (3, 1)], None, 3),
        // The message is changed beyond the newest number: a walk that ends there would miss it otherwise.
        (Call::MessagesAmong, 1, vec![(1, 1), (2, 2)], None, 2),
    ] {
        let (store, clock) = (filled(2, 1), TestClock::new(1));
        change(&store, &clock, 1);
        change(&store, &clock, 2);
        let racing = store.through(Before::new(call, || change(&store, &clock, changed_again)));
        let messages = channel_messages(&racing, &clock);
        let page = messages.changes(&"c".parse().unwrap(), &"bob".parse().unwrap(), Rev::ZERO, 10).await.unwrap();
        assert!(racing.hook().is_done());
        assert_eq!(shape(&page), (shown, next, newest), "{call:?}");
        assert!(page.changes.iter().all(|change| store.all().contains(&change.message)), "{call:?}: latest states");
    }
}

#[tokio::test]
async fn what_is_read_after_a_permission_has_ended_is_not_given_away() {
    for call in [Call::Changes, Call::MessagesAmong] {
        let (store, clock) = (filled(1, 1), TestClock::new(1));
        change(&store, &clock, 1);
        let racing = store.through(Before::new(call, || store.state().members.clear()));
        let messages = channel_messages(&racing, &clock);
        let refused = messages.changes(&"c".parse().unwrap(), &"bob".parse().unwrap(), Rev::ZERO, 10).await;
        assert!(racing.hook().is_done());
        assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{call:?}: {refused:?}");
    }
    let (store, clock) = (filled(1, 1), TestClock::new(1));
    let stranger = channel_messages(&store, &clock)
        .changes(&"c".parse().unwrap(), &"mallory".parse().unwrap(), Rev::ZERO, 10)
        .await;
    assert!(matches!(stranger, Err(ChatError::ChannelNotFound)), "{stranger:?}");
}

#[tokio::test]
async fn pages_are_small_enough_and_leave_nothing_out() {
    let (store, clock) = (filled(60, CONTENT_BYTES), TestClock::new(1));
    for seq in (1..=60).rev() {
        change(&store, &clock, seq);
    }
    let (mut found, mut after, mut pages) = (Vec::new(), 0, 0);
    loop {
        let page = read(&store, &clock, after, PAGE_ITEMS).await.unwrap();
        let messages: Vec<&Message> = page.changes.iter().map(|change| &change.message).collect();
        assert!(serde_json::to_vec(&messages).unwrap().len() <= PAGE_BYTES + messages.len() + 1);
        let (changes, next, newest) = shape(&page);
        assert_eq!(newest, 60);
        found.extend(changes);
        pages += 1;
        let Some(next) = next else { break };
        assert!(next > after, "the walk goes on");
        after = next;
    }
    assert_eq!(found, (1..=60).map(|rev| (rev, 61 - rev)).collect::<Vec<_>>());
    assert_eq!(pages, 2, "all messages do not fit one page");
}

/// A client that walks while others change messages ends with the states of the store.
#[tokio::test]
async fn a_walk_beside_writers_ends_with_the_latest_states() {
    for limit in 1..=7 {
        let (store, clock) = (filled(5, 1), TestClock::new(u64::from(limit)));
        let mut known: BTreeMap<Seq, Message> = store.all().into_iter().map(|one| (one.seq, one)).collect();
        for number in 0..12_u64 {
            change(&store, &clock, 1 + number * 7 % 5);
        }
        let (mut after, mut writes) = (0, 0);
        loop {
            let page = read(&store, &clock, after, limit).await.unwrap();
            for MessageChange { message, .. } in page.changes {
                let before = known.insert(message.seq, message.clone());
                assert!(before.is_some_and(|before| before.version <= message.version), "no state goes back");
            }
            let (next, newest) = (page.next.map(Rev::get), page.rev.get());
            // Writers go on for a while.
            if writes < 9 {
                writes += 1;
                change(&store, &clock, 1 + writes * 3 % 5);
            } else if next.is_none() {
                break;
            }
            after = next.unwrap_or(newest);
        }
        assert_eq!(known.into_values().collect::<Vec<_>>(), store.all(), "{limit} on a page");
    }
}

#[test]
fn records_are_cut_at_the_first_gap() {
    let records = |numbers: &[u64]| numbers.iter().map(|rev| (Rev::new(*rev), Seq::FIRST)).collect::<Vec<_>>();
    for (after, numbers, kept) in
        [(0, vec![1, 2, 3], 3), (0, vec![1, 3], 1), (0, vec![2, 3], 0), (4, vec![5, 6, 8, 9], 2), (4, vec![], 0)]
    {
        let found = unbroken(records(&numbers), Rev::new(after));
        assert_eq!(found, records(&numbers[..kept]), "{numbers:?} after {after}");
    }
}
