//! Permissions, races, conditions and numbers of changes.

use serde_json::json;

use super::*;
use crate::{
    app::{
        audit::testing::Audit,
        send::{SendCache, SendMessage, send},
    },
    memory::Call,
    model::{
        agent_data::{AgentData, ReplyStatus},
        channel::Visibility,
        id::UserId,
        limits::METADATA_BYTES,
        reaction::{Reactions, Toggle},
        seq::Seq,
    },
    testing::{Before, TestClock, TestStore, channel_messages, key},
};

async fn world() -> (TestStore, TestClock) {
    filled(TestStore::seeded(1, 0)).await
}

/// Returns the store with a channel and a message of alice.
async fn filled(store: TestStore) -> (TestStore, TestClock) {
    let store = store
        .with_channel("c", Visibility::Private)
        .with_role("c", "olga", MemberRole::Owner)
        .with_role("c", "mod", MemberRole::Moderator)
        .with_member("c", "alice")
        .with_member("c", "bob");
    let clock = TestClock::new(1);
    let message = SendMessage {
        channel_id: "c".parse().unwrap(),
        sender_id: "alice".parse().unwrap(),
        role: Role::User,
        draft: NewMessage { content: "hi".to_owned(), ..NewMessage::default() },
        agent: None,
        record_key: None,
        incarnation: None,
        bucket: None,
        trace: None,
    };
    send(&store, &clock, message, &mut SendCache::default()).await.unwrap();
    (store, clock)
}

fn of<'a>(store: &'a TestStore, clock: &'a TestClock) -> ChannelMessages<'a, TestStore, TestStore, TestClock> {
    channel_messages(store, clock)
}

fn by(caller: &str, seq: u64) -> MessageRef {
    MessageRef { channel_id: "c".parse().unwrap(), seq: Seq::new(seq), caller: caller.parse().unwrap(), trace: None }
}

fn to(content: &str) -> Edit {
    Edit { content: Some(content.to_owned()), ..Edit::default() }
}

fn metadata() -> Map<String, Value> {
    Map::from_iter([("kept".to_owned(), Value::Bool(true))])
}

/// Changes the message in the store, as another request does between the read and the write of an edit.
fn meanwhile(store: &TestStore, change: impl FnOnce(&mut Message)) {
    let mut state = store.state();
    let messages = state.messages.get_mut(&key("c")).unwrap();
    change(&mut messages.get_mut(&Seq::FIRST).unwrap().stored.message);
}

#[tokio::test]
async fn an_edit_keeps_another_edit_that_came_after_its_read() {
    let (store, clock) = world().await;
    let racing = store.through(Before::new(Call::Revise, || {
        meanwhile(&store, |message| *message = Message { metadata: Some(metadata()), ..message.revised() });
    }));
    let messages = channel_messages(&racing, &clock);
    let edited = messages.edit(&by("alice", 1), None, &to("better")).await.unwrap();
    assert!(racing.hook().is_done());
    assert_eq!((edited.content.as_str(), &edited.metadata), ("better", &Some(metadata())));
    assert_eq!(store.all(), [edited]);
}

#[tokio::test]
async fn a_deletion_follows_an_edit_that_came_after_its_read() {
    let (store, clock) = world().await;
    let racing = store.through(Before::new(Call::Revise, || {
        meanwhile(&store, |message| *message = Message { content: "better".to_owned(), ..message.revised() });
    }));
    let messages = channel_messages(&racing, &clock);
    messages.delete(&by("alice", 1), None).await.unwrap();
    let stored = &store.all()[0];
    assert_eq!((stored.content.as_str(), stored.version), ("", 3));
}

#[tokio::test]
async fn an_edit_keeps_a_reaction_that_came_after_its_read() {
    let (store, clock) = world().await;
    let reactions = Reactions::from([("👍".parse().unwrap(), ["bob".parse().unwrap()].into())]);
    let racing = store.through(Before::new(Call::Revise, || {
        meanwhile(&store, |message| *message = Message { reactions: reactions.clone(), ..message.revised() });
    }));
    let messages = channel_messages(&racing, &clock);
    let edited = messages.edit(&by("alice", 1), None, &to("better")).await.unwrap();
    assert_eq!((edited.content.as_str(), edited.version, &edited.reactions), ("better", 3, &reactions));
    assert_eq!(store.all(), [edited]);
}

/// Changes the number of the channel's last change, as a change of another message does.
fn change_another_message(store: &TestStore) {
    let mut state = store.state();
    let last = state.last_change(&key("c"));
    state.last_changes.insert("c".parse().unwrap(), (key("c").incarnation, last.next()));
}

#[tokio::test]
async fn each_change_takes_the_next_number_and_what_changes_nothing_takes_none() {
    let (store, clock) = world().await;
    let messages = of(&store, &clock);
    let last = || store.state().last_change(&key("c"));
    messages.edit(&by("alice", 1), None, &to("hi")).await.unwrap();
    assert_eq!(last(), Rev::ZERO, "the content is the same");
    messages.edit(&by("alice", 1), None, &to("better")).await.unwrap();
    assert_eq!(last(), Rev::FIRST);
    for _ in ["once", "again"] {
        messages.delete(&by("mod", 1), None).await.unwrap();
        assert_eq!(last(), Rev::new(2));
    }
    for refused in
        [messages.edit(&by("alice", 1), None, &to("late")).await, messages.edit(&by("bob", 1), None, &to("x")).await]
    {
        assert!(refused.is_err());
    }
    assert_eq!(last(), Rev::new(2), "a refused change");
    let state = store.state();
    let records: Vec<(u64, u64)> =
        state.changes[&key("c")].iter().map(|(rev, one)| (rev.get(), one.seq.get())).collect();
    assert_eq!(records, [(1, 1), (2, 1)]);
    let changes = state.stream.iter().map(|record| (record.event.stored.rev.get(), record.event.rev_from.get()));
    assert_eq!(changes.collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2)], "creation, edit, deletion");
}

#[tokio::test]
async fn a_change_of_another_message_after_the_read_costs_no_wait() {
    for is_edit in [true, false] {
        let (store, clock) = world().await;
        let racing = store.through(Before::new(Call::Revise, || change_another_message(&store)));
        let started = clock.now();
        let messages = channel_messages(&racing, &clock);
        if is_edit {
            messages.edit(&by("alice", 1), None, &to("better")).await.unwrap();
        } else {
            messages.delete(&by("alice", 1), None).await.unwrap();
        }
        assert!(racing.hook().is_done());
        assert_eq!(clock.now(), started, "the number was only read too early");
        let stored = store.state().message(&key("c"), Seq::FIRST).unwrap().stored.clone();
        assert_eq!((stored.rev, stored.message.version), (Rev::new(2), 2));
    }
}

#[tokio::test]
async fn a_change_that_is_behind_is_refused_when_its_permission_has_ended() {
    let (store, clock) = world().await;
    let racing = store.through(Before::new(Call::Revise, || {
        change_another_message(&store);
        store.state().members.clear();
    }));
    let messages = channel_messages(&racing, &clock);
    let refused = messages.edit(&by("alice", 1), None, &to("better")).await;
    assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{refused:?}");
    assert_eq!(store.all()[0].content, "hi");
}

fn only(version: u64) -> VersionCondition {
    VersionCondition { only: Some(vec![version]), except: Vec::new() }
}

#[tokio::test]
async fn a_change_takes_effect_at_a_version_that_its_request_allows() {
    let (store, clock) = world().await;
    let messages = of(&store, &clock);
    let edited = messages.edit(&by("alice", 1), Some(&only(1)), &to("better")).await.unwrap();
    assert_eq!(edited.version, 2);
    for (caller, condition) in [("alice", only(1)), ("mod", only(3)), ("alice", only(0))] {
        let refused = messages.edit(&by(caller, 1), Some(&condition), &to("worse")).await;
        assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
        // Also an edit that would change nothing.
        let refused = messages.edit(&by(caller, 1), Some(&condition), &to("better")).await;
        assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
        let refused = messages.delete(&by(caller, 1), Some(&condition)).await;
        assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
    }
    // Only a caller who may change the message learns of its version.
    let refused = messages.edit(&by("bob", 1), Some(&only(1)), &to("worse")).await;
    assert!(matches!(refused, Err(ChatError::Forbidden(_))), "{refused:?}");
    assert_eq!(store.all(), [edited]);
    messages.react(&by("bob", 1), &"👍".parse().unwrap(), Toggle::Add).await.unwrap();
    messages.delete(&by("alice", 1), Some(&only(3))).await.unwrap();
    assert_eq!(store.all()[0].version, 4);
    messages.delete(&by("alice", 1), Some(&only(3))).await.unwrap();
    assert_eq!(store.all()[0].version, 4, "the repetition of a request whose response was lost");
}

#[tokio::test]
async fn a_change_of_one_version_makes_no_second_attempt_on_another() {
    for is_edit in [true, false] {
        let (store, clock) = world().await;
        let racing = store.through(Before::new(Call::Revise, || {
            meanwhile(&store, |message| *message = Message { content: "other".to_owned(), ..message.revised() });
        }));
        let messages = channel_messages(&racing, &clock);
        let refused = if is_edit {
            messages.edit(&by("alice", 1), Some(&only(1)), &to("better")).await.map(drop)
        } else {
            messages.delete(&by("alice", 1), Some(&only(1))).await
        };
        assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
        assert_eq!((store.all()[0].content.as_str(), store.all()[0].version), ("other", 2));
    }
}

#[tokio::test]
async fn an_edit_merges_metadata_and_checks_the_result() {
    let (store, clock) = world().await;
    let messages = of(&store, &clock);
    let author = by("alice", 1);
    let metadata = async |patch: Value| {
        let patch = match patch {
            Value::Null => Patch::Remove,
            Value::Object(patch) => Patch::Set(patch),
            other => unreachable!("{other} is no metadata"),
        };
        let edit = Edit { metadata: patch, ..Edit::default() };
        messages.edit(&author, None, &edit).await.map(|edited| (json!(edited.metadata), edited.version))
    };
    for (patch, expected, version) in [
        (json!({ "a": { "b": 1, "c": 2 }, "d": [1] }), json!({ "a": { "b": 1, "c": 2 }, "d": [1] }), 2),
        (json!({ "a": { "b": null, "e": 3.0 } }), json!({ "a": { "c": 2, "e": 3 }, "d": [1] }), 3),
        (json!({ "x": null }), json!({ "a": { "c": 2, "e": 3 }, "d": [1] }), 3),
        (json!({}), json!({ "a": { "c": 2, "e": 3 }, "d": [1] }), 3),
        (json!({ "a": null, "d": { "y": 1 } }), json!({ "d": { "y": 1 } }), 4),
        (Value::Null, Value::Null, 5),
        (Value::Null, Value::Null, 5),
    ] {
        assert_eq!(metadata(patch.clone()).await.unwrap(), (expected, version), "{patch}");
    }
    // Each half fits, and both together do not.
    let half = "x".repeat(METADATA_BYTES / 2);
    metadata(json!({ "first": half })).await.unwrap();
    let refused = metadata(json!({ "second": half })).await;
    assert!(matches!(&refused, Err(ChatError::Invalid(found)) if found[0].code == "too_long"), "{refused:?}");
}

#[tokio::test]
async fn concurrent_edits_of_two_fields_are_both_kept_in_every_order() {
    for seed in 0..50 {
        let (store, clock) = filled(TestStore::scheduled(seed, 4)).await;
        let messages = of(&store, &clock);
        let (author, moderator, reader) = (by("alice", 1), by("mod", 1), by("bob", 1));
        let other = Edit { metadata: Patch::Set(metadata()), ..Edit::default() };
        let better = to("better");
        let (content, other, reacted) = futures::future::join3(
            messages.edit(&author, None, &better),
            messages.edit(&moderator, None, &other),
            messages.react(&reader, &"👍".parse().unwrap(), Toggle::Add),
        )
        .await;
        assert!(content.is_ok() && other.is_ok() && reacted.is_ok(), "seed {seed}");
        let stored = &store.all()[0];
        assert_eq!((stored.content.as_str(), &stored.metadata), ("better", &Some(metadata())), "seed {seed}");
        assert_eq!((stored.reactions.len(), stored.version), (1, 4), "seed {seed}");
        assert_eq!(store.state().last_change(&key("c")), Rev::new(3), "seed {seed}");
    }
}

#[tokio::test]
async fn no_user_writes_the_data_of_the_agent() {
    let (store, clock) = world().await;
    let data = AgentData::of_status(ReplyStatus::Failed);
    let reply = SendMessage {
        channel_id: "c".parse().unwrap(),
        sender_id: UserId::agent(),
        role: Role::Agent,
        draft: NewMessage { content: "hello".to_owned(), ..NewMessage::default() },
        agent: Some(data.clone()),
        record_key: None,
        incarnation: None,
        bucket: None,
        trace: None,
    };
    send(&store, &clock, reply, &mut SendCache::default()).await.unwrap();
    let own = Edit { metadata: Patch::Set(metadata()), ..to("better") };
    let edited = of(&store, &clock).edit(&by("mod", 2), None, &own).await.unwrap();
    assert_eq!((edited.agent, edited.metadata), (Some(data), Some(metadata())));
    of(&store, &clock).delete(&by("olga", 2), None).await.unwrap();
    assert_eq!(store.all()[1].agent, None);
}

#[tokio::test]
async fn only_authors_and_moderators_edit_and_delete() {
    for (caller, may) in [("alice", true), ("mod", true), ("olga", true), ("bob", false), ("mallory", false)] {
        let (store, clock) = world().await;
        let edited = of(&store, &clock).edit(&by(caller, 1), None, &to("better")).await;
        assert_eq!(edited.is_ok(), may, "{caller} edits");
        assert_eq!(store.all()[0].content == "better", may, "{caller} edits");
        assert_eq!(of(&store, &clock).delete(&by(caller, 1), None).await.is_ok(), may, "{caller} deletes");
        assert_eq!(store.all()[0].content.is_empty(), may, "{caller} deletes");
    }
}

#[tokio::test]
async fn a_deleted_message_keeps_its_number_and_nothing_else_of_its_content() {
    let (store, clock) = world().await;
    for _ in ["once", "again"] {
        of(&store, &clock).delete(&by("alice", 1), None).await.unwrap();
    }
    let tombstone = &store.all()[0];
    assert_eq!((tombstone.seq, tombstone.content.as_str()), (Seq::FIRST, ""));
    assert!(tombstone.deleted_at.is_some());
    let late = of(&store, &clock).edit(&by("alice", 1), None, &to("back")).await;
    assert!(matches!(late, Err(ChatError::MessageNotFound)));
    let none = of(&store, &clock).edit(&by("alice", 2), None, &to("x")).await;
    assert!(matches!(none, Err(ChatError::MessageNotFound)));
}

#[tokio::test]
async fn an_edit_obeys_the_rules_of_a_message_and_an_archived_channel_takes_none() {
    let (store, clock) = world().await;
    assert!(matches!(of(&store, &clock).edit(&by("alice", 1), None, &to("")).await, Err(ChatError::Invalid(_))));
    let same = of(&store, &clock).edit(&by("alice", 1), None, &to("hi")).await.unwrap();
    assert_eq!((same.edited_at, same.version), (None, 1), "nothing was changed");
    store.archive("c");
    let late = of(&store, &clock).edit(&by("alice", 1), None, &to("late")).await;
    assert!(matches!(late, Err(ChatError::ChannelArchived)));
}

#[tokio::test]
async fn the_audit_log_has_changes_of_others_messages_only() {
    let (store, clock) = world().await;
    let messages = of(&store, &clock);
    let audit = Audit::default();
    let _recording = audit.begin();
    messages.edit(&by("alice", 1), None, &to("mine")).await.unwrap();
    messages.edit(&by("mod", 1), None, &to("mine")).await.unwrap();
    assert_eq!(audit.take(), [], "an author, and an edit that changes nothing");
    messages.edit(&by("mod", 1), None, &to("moderated")).await.unwrap();
    messages.edit(&by("bob", 1), None, &to("x")).await.unwrap_err();
    for _ in ["once", "again"] {
        messages.delete(&by("olga", 1), None).await.unwrap();
    }
    let (seq, sender_id): (_, UserId) = (Seq::FIRST, "alice".parse().unwrap());
    let expected = [
        ("mod".to_owned(), AuditAction::MessageEdited { seq, sender_id: sender_id.clone() }),
        ("olga".to_owned(), AuditAction::MessageDeleted { seq, sender_id }),
    ];
    assert_eq!(audit.take(), expected);
}
