//! Keys, races, stale caches, lost responses and rates.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::{
    app::contention::{ATTEMPT_DURATION, FIRST_WAIT},
    memory::Call,
    model::{
        channel::{Channel, Visibility},
        limits::{APPEND_DURATION, IDEMPOTENCY_DURATION},
        message_ref::MessageRef,
        reaction::Toggle,
        seq::Seq,
    },
    ports::channel_store::ChannelStore,
    testing::{Before, TestClock, TestStore, channel_messages, key},
};

fn by(sender: &str, content: &str, key: Option<&str>) -> SendMessage {
    SendMessage {
        channel_id: "c".parse().unwrap(),
        sender_id: sender.parse().unwrap(),
        role: Role::User,
        draft: NewMessage { content: content.to_owned(), ..NewMessage::default() },
        agent: None,
        record_key: key.map(|key| RecordKey::Request { sender_id: sender.parse().unwrap(), key: key.parse().unwrap() }),
        incarnation: None,
        bucket: None,
        trace: None,
    }
}

fn public(faults_in_100: u32) -> TestStore {
    TestStore::seeded(1, faults_in_100).with_channel("c", Visibility::Public)
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_sender() {
    let (store, clock) = (public(0), TestClock::new(1));
    let first = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    assert!(matches!(first, SendResult::Created(_)));
    let again = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    assert!(matches!(&again, SendResult::Replayed(sent) if sent.message == *first.message()), "{again:?}");
    let other = send(&store, &clock, by("alice", "ho", Some("k")), &mut SendCache::default()).await;
    assert!(matches!(other, Err(ChatError::IdempotencyKeyReused)));
    let bob = send(&store, &clock, by("bob", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    assert_eq!(bob.message().seq, Seq::new(2));
}

#[tokio::test]
async fn a_key_may_be_used_again_when_its_time_is_over() {
    let (store, clock) = (public(0), TestClock::new(1));
    send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    clock.sleep(IDEMPOTENCY_DURATION).await;
    let later = send(&store, &clock, by("alice", "ho", Some("k")), &mut SendCache::default()).await.unwrap();
    assert!(matches!(later, SendResult::Created(sent) if sent.message.seq == Seq::new(2)));
}

#[tokio::test]
async fn an_archived_channel_takes_nothing_but_answers_replays() {
    let (store, clock) = (public(0), TestClock::new(1));
    let first = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    let mut cached = SendCache::default();
    send(&store, &clock, by("alice", "ho", None), &mut cached).await.unwrap();
    store.archive("c");
    let again = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    assert!(matches!(&again, SendResult::Replayed(sent) if sent.message == *first.message()), "{again:?}");
    for mut known in [SendCache::default(), cached] {
        let refused = send(&store, &clock, by("alice", "new", None), &mut known).await;
        assert!(matches!(refused, Err(ChatError::ChannelArchived)));
    }
}

/// A deleted channel's items stay until they are removed, and a warm function still caches its head.
#[tokio::test]
async fn a_key_that_was_used_in_a_deleted_channel_is_free_in_the_one_that_took_its_id() {
    let (store, clock) = (public(0), TestClock::new(1));
    let first = send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    let old = store.channel(&"c".parse().unwrap()).await.unwrap().unwrap();
    let cached = SendCache {
        head: Some(ChannelHead::from(&old)),
        rev: Some((Rev::new(9), clock.now())),
        ..SendCache::default()
    };
    store.state().channels.clear();
    let gone = send(&store, &clock, by("alice", "hi", Some("k")), &mut cached.clone()).await;
    assert!(matches!(gone, Err(ChatError::ChannelNotFound)), "{gone:?}");
    // The same request, and another one under the same key.
    for content in ["hi", "ho"] {
        let anew = Channel { incarnation: Incarnation::generate(clock.seed()), last_seq: Seq::ZERO, ..old.clone() };
        store.state().put_channel(anew);
        let sent = send(&store, &clock, by("alice", content, Some("k")), &mut cached.clone()).await.unwrap();
        assert!(matches!(&sent, SendResult::Created(sent) if sent.message.seq == Seq::FIRST), "{content}: {sent:?}");
        assert_eq!(sent.rev(), Rev::ZERO, "the cached number is of the deleted channel");
        assert_ne!(sent.message().message_id, first.message().message_id);
    }
}

#[tokio::test]
async fn private_channels_are_for_members_and_the_agent() {
    let clock = TestClock::new(1);
    let store = TestStore::seeded(1, 0).with_channel("c", Visibility::Private).with_member("c", "alice");
    let refused = send(&store, &clock, by("mallory", "hi", None), &mut SendCache::default()).await;
    assert!(matches!(refused, Err(ChatError::ChannelNotFound)));
    send(&store, &clock, by("alice", "hi", None), &mut SendCache::default()).await.unwrap();
    let agent = SendMessage { role: Role::Agent, ..by("agent", "hello", None) };
    send(&store, &clock, agent, &mut SendCache::default()).await.unwrap();
}

#[tokio::test]
async fn a_reply_needs_a_message_to_reply_to() {
    let (store, clock) = (public(0), TestClock::new(1));
    let reply = |reply_to| {
        let mut message = by("alice", "hi", None);
        message.draft.reply_to = Some(Seq::new(reply_to));
        message
    };
    assert!(matches!(send(&store, &clock, reply(1), &mut SendCache::default()).await, Err(ChatError::Invalid(_))));
    // A stale cache does not refuse a reply to a message that exists.
    let (head, rev) = store.head(&"c".parse().unwrap()).await.unwrap().unwrap();
    let mut behind = SendCache { head: Some(head), rev: Some((rev, clock.now())), ..SendCache::default() };
    send(&store, &clock, by("alice", "first", None), &mut SendCache::default()).await.unwrap();
    assert_eq!(send(&store, &clock, reply(1), &mut behind).await.unwrap().message().reply_to, Some(Seq::FIRST));
}

#[tokio::test]
async fn a_thread_has_one_root_which_counts_its_replies() {
    let (store, clock) = (public(0), TestClock::new(1));
    let in_thread = |root| {
        let mut message = by("alice", "hi", None);
        message.draft.thread_seq = Some(Seq::new(root));
        message
    };
    let refused = async |root: u64| -> &'static str {
        let sent = send(&store, &clock, in_thread(root), &mut SendCache::default()).await;
        let Err(ChatError::Invalid(violations)) = sent else { panic!("{sent:?}") };
        assert_eq!((violations.len(), violations[0].field.as_str()), (1, "thread_seq"));
        violations[0].code
    };
    assert_eq!(refused(1).await, "unknown_message", "it does not exist");
    send(&store, &clock, by("alice", "root", None), &mut SendCache::default()).await.unwrap();
    for seq in [2, 3] {
        let sent = send(&store, &clock, in_thread(1), &mut SendCache::default()).await.unwrap();
        assert_eq!((sent.message().seq, sent.message().thread_seq), (Seq::new(seq), Some(Seq::FIRST)));
        let thread = store.all()[0].thread.unwrap();
        assert_eq!((thread.reply_count, thread.last_reply_seq), (seq - 1, Seq::new(seq)));
    }
    assert_eq!(refused(2).await, "not_a_root", "it is in a thread");
    let quote = SendMessage {
        draft: NewMessage { reply_to: Some(Seq::FIRST), ..by("alice", "quote", None).draft },
        ..by("alice", "quote", None)
    };
    send(&store, &clock, quote, &mut SendCache::default()).await.unwrap();
    assert_eq!(store.all()[0].thread.unwrap().reply_count, 2, "a quote is no reply in a thread");
    store.state().messages.values_mut().flatten().for_each(|(_, item)| item.stored.expires_at = Some(clock.now()));
    assert_eq!(refused(1).await, "unknown_message", "it has expired");
    assert_eq!(store.state().stream.len(), 4, "a summary is no event");
}

#[tokio::test]
async fn a_key_of_a_message_is_no_key_of_the_same_message_in_a_thread() {
    let (store, clock) = (public(0), TestClock::new(1));
    send(&store, &clock, by("alice", "hi", Some("k")), &mut SendCache::default()).await.unwrap();
    let mut other = by("alice", "hi", Some("k"));
    other.draft.thread_seq = Some(Seq::FIRST);
    let refused = send(&store, &clock, other, &mut SendCache::default()).await;
    assert!(matches!(refused, Err(ChatError::IdempotencyKeyReused)), "{refused:?}");
}

#[tokio::test]
async fn who_sends_too_often_waits_but_a_repeated_request_is_answered() {
    let (store, clock) = (public(0), TestClock::new(1));
    let bucket = Bucket::per_second(1, 2);
    let limited = |content, key| SendMessage { bucket: Some(bucket), ..by("alice", content, key) };
    let mut cache = SendCache::default();
    let first = send(&store, &clock, limited("1", Some("k")), &mut cache).await.unwrap();
    send(&store, &clock, limited("2", None), &mut cache).await.unwrap();
    // A warm cache refuses without a request; with a cold cache the store refuses.
    for mut cache in [cache.clone(), SendCache::default()] {
        let refused = send(&store, &clock, limited("3", None), &mut cache).await;
        let Err(ChatError::TooManyRequests(quota)) = refused else { panic!("{refused:?}") };
        assert!(quota.reset <= bucket.every);
        assert_eq!(quota, bucket.exhausted("send", quota.reset));
        let again = send(&store, &clock, limited("1", Some("k")), &mut cache).await.unwrap();
        assert!(matches!(&again, SendResult::Replayed(sent) if sent.message == *first.message()), "{again:?}");
    }
    clock.sleep(bucket.every).await;
    assert_eq!(send(&store, &clock, limited("3", None), &mut cache).await.unwrap().message().seq, Seq::new(3));
    // Other users have their own buckets.
    let bob = SendMessage { bucket: Some(bucket), ..by("bob", "hi", None) };
    send(&store, &clock, bob, &mut SendCache::default()).await.unwrap();
}

#[tokio::test]
async fn a_memory_that_is_behind_costs_a_request_and_no_wait() {
    let (store, clock) = (public(0), TestClock::new(1));
    let limited = |content| SendMessage { bucket: Some(Bucket::per_second(5, 50)), ..by("alice", content, None) };
    // Two environments of a function take turns: each finds that the other has sent.
    let mut caches = [SendCache::default(), SendCache::default()];
    let started = clock.now();
    for number in 0..10 {
        send(&store, &clock, limited("hi"), &mut caches[number % 2]).await.unwrap();
    }
    assert_eq!(clock.now(), started, "no sender has slept");
    assert_eq!(store.all().len(), 10);
}

#[tokio::test]
async fn a_busy_sender_takes_a_handful_of_tokens_and_is_told_of_those_that_are_held() {
    let (store, clock) = (public(0).with_channel("d", Visibility::Public), TestClock::new(1));
    let bucket = Bucket::per_second(10, 50);
    let limited = |channel: &str| SendMessage {
        channel_id: channel.parse().unwrap(),
        bucket: Some(bucket),
        ..by("alice", "hi", None)
    };
    let mut cache = SendCache::default();
    let mut written = BTreeSet::new();
    for (number, channel) in ["c", "c", "d", "c", "d", "c", "c", "c", "c", "c", "d"].into_iter().enumerate() {
        // The head and its number are of one channel, and the tokens of all.
        cache = SendCache { tokens: cache.tokens, ..SendCache::default() };
        send(&store, &clock, limited(channel), &mut cache).await.unwrap();
        written.extend(store.state().buckets.values().copied());
        let left = cache.tokens.quota(bucket, clock.now()).unwrap().left;
        assert_eq!(usize::try_from(left).unwrap(), 49 - number, "message {number}");
    }
    assert_eq!((written.len(), cache.tokens.held()), (2, 0), "one token, and ten for all others");
    // A refused message keeps its token.
    send(&store, &clock, limited("c"), &mut cache).await.unwrap();
    let held = cache.tokens.held();
    store.archive("c");
    assert!(matches!(send(&store, &clock, limited("c"), &mut cache).await, Err(ChatError::ChannelArchived)));
    assert_eq!(cache.tokens.held(), held);
    assert!(held > 1);
}

/// Changes a message once: bob reacts to it.
async fn change(store: &TestStore, clock: &TestClock, emoji: &str) {
    let messages = channel_messages(store, clock);
    let revision =
        MessageRef { channel_id: "c".parse().unwrap(), seq: Seq::FIRST, caller: "bob".parse().unwrap(), trace: None };
    messages.react(&revision, &emoji.parse().unwrap(), Toggle::Add).await.unwrap();
}

#[tokio::test]
async fn a_send_says_a_number_of_a_change_that_was_read_before_it() {
    let (store, clock) = (public(0), TestClock::new(1));
    let mut warm = SendCache::default();
    let first = send(&store, &clock, by("alice", "1", Some("k")), &mut warm).await.unwrap();
    assert_eq!(first.rev(), Rev::ZERO);
    change(&store, &clock, "👍").await;
    // A warm cache is not read again, so its number may be behind. A cold one has the current number.
    let sent = send(&store, &clock, by("alice", "2", None), &mut warm).await.unwrap();
    assert_eq!(sent.rev(), Rev::ZERO);
    let sent = send(&store, &clock, by("alice", "3", None), &mut SendCache::default()).await.unwrap();
    assert_eq!(sent.rev(), Rev::FIRST);
    let again = send(&store, &clock, by("alice", "1", Some("k")), &mut SendCache::default()).await.unwrap();
    assert!(matches!(&again, SendResult::Replayed(sent) if sent.rev == Rev::FIRST), "{again:?}");
    assert_eq!(again.message().reactions.len(), 1, "the message shows the change with the number");

    // The number is never newer than the append.
    let racing = store.through(Before::new(Call::Append, || {
        store.state().last_changes.insert("c".parse().unwrap(), (key("c").incarnation, Rev::new(7)));
    }));
    let sent = send(&racing, &clock, by("alice", "4", None), &mut SendCache::default()).await.unwrap();
    assert_eq!(sent.rev(), Rev::FIRST);
}

#[tokio::test]
async fn a_warm_send_reads_nothing_until_its_number_is_old() {
    let (store, clock) = (public(0), TestClock::new(1));
    let mut warm = SendCache::default();
    send(&store, &clock, by("alice", "1", None), &mut warm).await.unwrap();
    change(&store, &clock, "👍").await;
    for (wait, reads, rev) in [
        (Duration::ZERO, false, 0),
        (CACHED_REV_DURATION.saturating_sub(Duration::from_secs(1)), false, 0),
        (Duration::from_secs(1), true, 1),
        (Duration::from_secs(1), false, 1),
    ] {
        clock.sleep(wait).await;
        let observed = store.through(Before::new(Call::Head, || {}));
        let sent = send(&observed, &clock, by("alice", "more", None), &mut warm).await.unwrap();
        assert_eq!((observed.hook().is_done(), sent.rev()), (reads, Rev::new(rev)), "after {wait:?}");
    }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found_under_its_number() {
    for seed in 0..50 {
        let store = TestStore::seeded(seed, 40).with_channel("c", Visibility::Public);
        let clock = TestClock::new(seed);
        let mut cache = SendCache::default();
        for number in 1..=10 {
            let sent = send(&store, &clock, by("alice", &format!("m{number}"), None), &mut cache).await;
            let stored = store.all();
            let contents: BTreeSet<&str> = stored.iter().map(|message| message.content.as_str()).collect();
            assert_eq!(contents.len(), stored.len(), "seed {seed}: a message is stored twice");
            if let Ok(sent) = sent {
                assert!(matches!(&sent, SendResult::Created(sent) if stored.contains(&sent.message)), "seed {seed}");
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_never_answers_is_given_up_in_time() {
    let (store, clock) = (public(100), TestClock::new(1));
    let started = clock.now();
    let given_up = send(&store, &clock, by("alice", "hi", None), &mut SendCache::default()).await;
    assert!(matches!(given_up, Err(ChatError::Contended { .. })));
    assert!(started.until(clock.now()) <= APPEND_DURATION + ATTEMPT_DURATION.1 * FIRST_WAIT / 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Environments that hold tokens, on a store that loses calls and responses.
    #[test]
    fn messages_are_no_more_than_the_bucket_allows(
        seed in any::<u64>(),
        faults in 0..40_u32,
        environments in 1..4_usize,
        pauses in proptest::collection::vec(0..400_u64, 1..60),
        is_keyed in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let clock = TestClock::new(seed);
            let store = TestStore::seeded(seed, faults).with_channel("c", Visibility::Public);
            let bucket = Bucket { every: Duration::from_millis(50), burst: 16 };
            let mut caches = vec![SendCache::default(); environments];
            for (number, pause) in pauses.into_iter().enumerate() {
                clock.sleep(Duration::from_millis(if pause > 300 { pause } else { pause / 30 })).await;
                let key = is_keyed.then(|| format!("k{number}"));
                let message = SendMessage { bucket: Some(bucket), ..by("alice", &format!("m{number}"), key.as_deref()) };
                // Most messages come from the first environment.
                let cache = if pause % 5 == 0 { number % environments } else { 0 };
                let _ = send(&store, &clock, message, &mut caches[cache]).await;
            }
            let mut times: Vec<Timestamp> = store.all().iter().map(|message| message.created_at).collect();
            times.sort_unstable();
            let mut full_at = None;
            for time in times {
                full_at = Some(bucket.take(full_at, time).unwrap());
            }
        });
    }

    /// Many concurrent senders, each retrying with its key, on a store that loses calls and responses.
    #[test]
    fn every_message_is_stored_once_in_order_without_gaps(seed in any::<u64>(), faults in 0..40_u32, senders in 1..20_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let clock = TestClock::new(seed);
            let store = TestStore::seeded(seed, faults).with_channel("c", Visibility::Public);
            let sends = (0..senders).map(async |number| {
                let mut known = SendCache::default();
                loop {
                    let message = by("alice", &format!("m{number}"), Some(&format!("k{number}")));
                    if let Ok(sent) = send(&store, &clock, message, &mut known).await {
                        return sent.message().clone();
                    }
                }
            });
            let sent = join_all(sends).await;
            let stored = store.all();
            let numbers: Vec<u64> = stored.iter().map(|message| message.seq.get()).collect();
            assert_eq!(numbers, (1..=senders as u64).collect::<Vec<_>>());
            let contents: BTreeSet<&str> = stored.iter().map(|message| message.content.as_str()).collect();
            assert_eq!(contents.len(), senders);
            assert!(sent.iter().all(|message| stored.contains(message)));
        });
    }
}
