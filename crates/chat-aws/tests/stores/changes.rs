//! Numbers of changes: the conditions of a change, what it writes, and the reads by numbers.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextMut},
    error::BoxError,
};
use chat::{
    model::{limits::REACTIONS_PER_MESSAGE, message_ref::MessageRef, reaction::Toggle},
    ports::message_store::ReactionResult,
};

use super::*;

impl Tables {
    /// Attempts a reaction to the message `seq` of a channel.
    pub(super) async fn react(
        &self,
        by: &Authority<'_>,
        (id, emoji, toggle): (&str, &str, Toggle),
        seq: u64,
        number: ChangeNumber,
    ) -> ReactionResult {
        let channel_id = by.channel.channel_id.clone();
        let revision = MessageRef { channel_id, seq: Seq::new(seq), caller: user(id), trace: None };
        self.messages().react(by, &revision, &emoji.parse().unwrap(), toggle, number, NOW).await.unwrap()
    }

    /// Attempts to edit the message `seq` of a channel, as of `version`.
    async fn edit(&self, by: &Authority<'_>, seq: u64, version: u64, number: ChangeNumber) -> UpdateResult {
        let id = by.channel.channel_id.as_str();
        let message = Message { version: version + 1, content: "better".into(), ..stored(id, seq).message };
        let revised = StoredMessage { message, incarnation: by.channel.incarnation, ..stored(id, seq) };
        self.messages().update_message(by, &revised, number).await.unwrap()
    }

    /// Adds a writer's reaction, from the number before the first change on. Half of the writers react to each of two
    /// messages. Returns the number of attempts.
    async fn react_until_done(&self, by: &Authority<'_>, writer: u64) -> usize {
        let (id, seq) = (format!("u{writer}"), writer % 2 + 1);
        let mut number = number_after(0);
        for attempt in 1..1_000 {
            match self.react(by, (&id, "👍", Toggle::Add), seq, number).await {
                ReactionResult::Done => return attempt,
                ReactionResult::Behind(last) => number = number_after(last.get()),
                ReactionResult::Conflict => number = self.next_number("c").await,
                other => panic!("{other:?}"),
            }
        }
        panic!("the change must end");
    }

    /// Returns the numbers of changes after `after`, each with the `seq` of its message.
    async fn changes(&self, channel: &ChannelKey, after: u64, limit: u16, now: Timestamp) -> Vec<(u64, u64)> {
        let found = self.messages().changes(channel, Rev::new(after), limit, now).await.unwrap();
        found.into_iter().map(|(rev, seq)| (rev.get(), seq.get())).collect()
    }

    /// Returns the numbers of the last changes of messages, by `seq`.
    async fn revs(&self, seqs: &[u64], now: Timestamp) -> BTreeMap<u64, u64> {
        let seqs: Vec<Seq> = seqs.iter().copied().map(Seq::new).collect();
        let found = self.messages().messages_among(&key("c"), &seqs, now).await.unwrap();
        found.into_iter().map(|(rev, message)| (message.seq.get(), rev.get())).collect()
    }
}

const THUMB: (&str, &str, Toggle) = ("alice", "👍", Toggle::Add);

/// Returns the attributes of an item except those of its key.
fn fields(item: &HashMap<String, AttributeValue>) -> BTreeMap<&str, &str> {
    let fields = item.iter().filter(|(name, _)| !["channel_id", "sk"].contains(&name.as_str()));
    fields.map(|(name, value)| (name.as_str(), value.as_s().or(value.as_n()).unwrap().as_str())).collect()
}

#[tokio::test]
async fn each_change_takes_the_next_number_and_leaves_a_record() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    for seq in 1..=2 {
        tables.put(&stored("c", seq)).await;
    }
    let by = reader(&channel);
    assert_eq!(tables.last_rev("c").await, Rev::ZERO);
    assert_eq!(tables.edit(&by, 2, 1, number_after(0)).await, UpdateResult::Done);
    assert_eq!(tables.react(&by, THUMB, 1, number_after(1)).await, ReactionResult::Done);
    let taken_back = ("alice", "👍", Toggle::Remove);
    assert_eq!(tables.react(&by, taken_back, 1, number_after(2)).await, ReactionResult::Done);
    let message = Message { deleted_at: Some(NOW), content: String::new(), ..stored("c", 2).message };
    let tombstone = StoredMessage { message: Message { version: 3, ..message }, ..stored("c", 2) };
    let deleted = tables.messages().update_message(&by, &tombstone, number_after(3)).await.unwrap();
    assert_eq!(deleted, UpdateResult::Done);
    assert_eq!(tables.last_rev("c").await, Rev::new(4));
    assert_eq!(tables.revs(&[1, 2], NOW).await, BTreeMap::from([(1, 3), (2, 4)]));
    let all = [(1, 2), (2, 1), (3, 1), (4, 2)];
    assert_eq!(tables.changes(&key("c"), 0, 9, NOW).await, all);
    assert_eq!(tables.changes(&key("c"), 1, 2, NOW).await, all[1..3]);
    assert_eq!(tables.changes(&key("c"), 4, 9, NOW).await, []);
    assert_eq!(tables.changes(&key("c"), u64::MAX, 9, NOW).await, []);
    assert_eq!(tables.changes(&key("d"), 0, 9, NOW).await, []);
}

#[tokio::test]
async fn a_change_writes_its_message_the_number_of_its_channel_and_its_record() {
    let (tables, calls) = Tables::new().await.counted();
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    let before = tables.dump().await;
    calls.take();
    assert_eq!(tables.edit(&reader(&channel), 1, 1, number_after(0)).await, UpdateResult::Done);
    assert_eq!(calls.take(), ["TransactWriteItems of 4 with a token"]);
    let mut after = tables.dump().await;
    after.retain(|key, item| before.get(key) != Some(&*item));
    let place = |table, partition: &str, sort: &str| (table, partition.to_owned(), sort.to_owned());
    let records = format!("changes#{}", key("c"));
    let last = place("chat_channels", "changes#c", "last");
    let record = place("chat_channels", &records, "0000000000000001");
    let message = place("chat_events", &key("c").to_string(), "1");
    assert_eq!(after.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&last, &record, &message]));
    let incarnation = life(1).to_string();
    assert_eq!(fields(&after[&last]), BTreeMap::from([("incarnation", incarnation.as_str()), ("rev", "1")]));
    let expires_at = LATER.as_secs().to_string();
    assert_eq!(fields(&after[&record]), BTreeMap::from([("expires_at", expires_at.as_str()), ("seq", "1")]));
    assert_eq!(after[&message]["rev"], AttributeValue::N("1".to_owned()));
}

#[tokio::test]
async fn a_refused_edit_tells_the_first_reason_and_writes_nothing() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    let archived = Channel { archived_at: Some(NOW), ..channel.clone() };
    assert_eq!(tables.react(&reader(&channel), THUMB, 1, number_after(0)).await, ReactionResult::Done);
    let before = tables.dump().await;
    let (now, old) = (reader(&channel), reader(&archived));
    for (by, seq, version, last, expected) in [
        (&old, 9, 1, 0, UpdateResult::Stale),
        (&now, 9, 1, 0, UpdateResult::MessageNotFound),
        (&now, 1, 1, 0, UpdateResult::Stale),
        (&now, 1, 1, 1, UpdateResult::Stale),
        (&now, 1, 2, 0, UpdateResult::Behind(Rev::FIRST)),
        (&now, 1, 2, 2, UpdateResult::Behind(Rev::FIRST)),
        (&old, 1, 2, 1, UpdateResult::Stale),
    ] {
        assert_eq!(tables.edit(by, seq, version, number_after(last)).await, expected, "{seq}, {version}, {last}");
    }
    assert_eq!(tables.dump().await, before);
    assert_eq!(tables.edit(&now, 1, 2, number_after(1)).await, UpdateResult::Done);
}

#[tokio::test]
async fn a_refused_reaction_tells_the_first_reason_and_writes_nothing() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    for seq in 1..=2 {
        tables.put(&stored("c", seq)).await;
    }
    let archived = Channel { archived_at: Some(NOW), ..channel.clone() };
    let (now, old) = (reader(&channel), reader(&archived));
    assert_eq!(tables.react(&now, THUMB, 1, number_after(0)).await, ReactionResult::Done);
    for smiley in ('😀'..).take(REACTIONS_PER_MESSAGE).map(String::from) {
        let number = tables.next_number("c").await;
        let reaction = ("alice", smiley.as_str(), Toggle::Add);
        assert_eq!(tables.react(&now, reaction, 2, number).await, ReactionResult::Done);
    }
    let last = tables.last_rev("c").await;
    assert_eq!(last.get(), u64::try_from(REACTIONS_PER_MESSAGE).unwrap() + 1);
    let before = tables.dump().await;
    let by_bob = ("bob", "👍", Toggle::Add);
    for (by, reaction, seq, expected) in [
        (&old, THUMB, 9, ReactionResult::Stale),
        (&old, THUMB, 1, ReactionResult::Stale),
        (&now, THUMB, 9, ReactionResult::MessageNotFound),
        (&now, THUMB, 1, ReactionResult::Done),
        (&now, ("bob", "👍", Toggle::Remove), 1, ReactionResult::Done),
        (&now, by_bob, 2, ReactionResult::Full),
        (&now, by_bob, 1, ReactionResult::Behind(last)),
    ] {
        for wrong in [0, 1, last.get() + 1] {
            let reacted = tables.react(by, reaction, seq, number_after(wrong)).await;
            assert_eq!(reacted, expected, "{reaction:?} to {seq} after {wrong}");
        }
    }
    assert_eq!(tables.dump().await, before);
    assert_eq!(tables.react(&now, by_bob, 1, number_after(last.get())).await, ReactionResult::Done);
}

#[tokio::test]
async fn of_changes_at_once_each_gets_a_number_of_its_own() {
    const WRITERS: u64 = 16;
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    for seq in 1..=2 {
        tables.put(&stored("c", seq)).await;
    }
    let by = reader(&channel);
    let writers = (0..WRITERS).map(|writer| tables.react_until_done(&by, writer));
    let attempts = futures::future::join_all(writers).await;
    assert_eq!(attempts.iter().filter(|attempts| **attempts == 1).count(), 1, "one of them was first: {attempts:?}");
    let changes = tables.changes(&key("c"), 0, 99, NOW).await;
    assert_eq!(changes.iter().map(|(rev, _)| *rev).collect::<Vec<_>>(), (1..=WRITERS).collect::<Vec<_>>());
    assert_eq!(changes.iter().filter(|(_, seq)| *seq == 1).count(), 8);
    let revs = tables.revs(&[1, 2], NOW).await;
    assert_eq!(revs.values().max(), Some(&WRITERS));
    for (seq, rev) in revs {
        assert_eq!(changes.iter().filter(|(_, of)| *of == seq).map(|(rev, _)| *rev).max(), Some(rev));
        let message = tables.messages().message(&key("c"), Seq::new(seq), NOW).await.unwrap().unwrap();
        assert_eq!(message.version, 9);
    }
}

#[tokio::test]
async fn of_an_edit_and_a_reaction_at_once_one_is_done_and_the_other_is_told() {
    let tables = Tables::new().await;
    for round in 0..20 {
        let id = format!("c{round}");
        let channel = tables.channel(&id, Visibility::Public).await;
        tables.put(&stored(&id, 1)).await;
        let by = reader(&channel);
        let (edited, reacted) =
            tokio::join!(tables.edit(&by, 1, 1, number_after(0)), tables.react(&by, THUMB, 1, number_after(0)));
        let message = tables.messages().message(&key(&id), Seq::FIRST, NOW).await.unwrap().unwrap();
        let done = (edited == UpdateResult::Done, reacted == ReactionResult::Done);
        assert_eq!((message.content == "better", !message.reactions.is_empty()), done, "{edited:?}, {reacted:?}");
        assert!(done.0 != done.1, "both have the same number: {edited:?}, {reacted:?}");
        assert_eq!(tables.last_rev(&id).await, Rev::FIRST);
    }
}

#[tokio::test]
async fn expired_records_end_a_page_and_expired_messages_are_left_out() {
    let (tables, calls) = Tables::new().await.counted();
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&StoredMessage { expires_at: Some(LATER), ..stored("c", 1) }).await;
    tables.put(&stored("c", 2)).await;
    let by = reader(&channel);
    let lasting = Timestamp::from_secs(LATER.as_secs() + 1);
    for (last, seq, expires_at) in [(0, 2, LATER), (1, 1, lasting), (2, 2, lasting)] {
        let number = ChangeNumber { expires_at, ..number_after(last) };
        let reaction = (["alice", "bob", "carol"][usize::try_from(last).unwrap()], "👍", Toggle::Add);
        assert_eq!(tables.react(&by, reaction, seq, number).await, ReactionResult::Done);
    }
    assert_eq!(tables.changes(&key("c"), 0, 9, NOW).await, [(1, 2), (2, 1), (3, 2)]);
    calls.take();
    assert_eq!(tables.changes(&key("c"), 0, 9, LATER).await, [], "the first record has expired");
    assert_eq!(calls.take(), ["Query"]);
    assert_eq!(tables.changes(&key("c"), 1, 9, LATER).await, [(2, 1), (3, 2)]);
    assert_eq!(tables.changes(&key("c"), 0, 9, lasting).await, []);
    calls.take();
    assert_eq!(tables.revs(&[1, 2, 2, 3], NOW).await, BTreeMap::from([(1, 2), (2, 3)]));
    assert_eq!(calls.take(), ["BatchGetItem"]);
    assert_eq!(tables.revs(&[1, 2], LATER).await, BTreeMap::from([(2, 3)]));
}

#[tokio::test]
async fn a_number_of_another_incarnation_counts_for_nothing() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    let text = |text: String| AttributeValue::S(text);
    let put = tables.client.put_item().table_name("chat_channels").item("channel_id", text("changes#c".into()));
    let put = put.item("sk", text("last".into())).item("incarnation", text(life(2).to_string()));
    put.item("rev", AttributeValue::N("7".into())).send().await.unwrap();
    let by = reader(&channel);
    let (found, rev) = tables.channels().channel_with_rev(&channel.channel_id).await.unwrap().unwrap();
    assert_eq!((found.incarnation, rev), (life(1), Rev::ZERO));
    assert_eq!(tables.last_rev("c").await, Rev::ZERO);
    assert_eq!(tables.react(&by, THUMB, 1, number_after(7)).await, ReactionResult::Behind(Rev::ZERO));
    assert_eq!(tables.react(&by, THUMB, 1, number_after(0)).await, ReactionResult::Done);
    assert_eq!(tables.last_rev("c").await, Rev::FIRST);
}

#[tokio::test]
async fn a_channel_that_takes_an_id_anew_counts_from_one() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    assert_eq!(tables.react(&reader(&channel), THUMB, 1, number_after(0)).await, ReactionResult::Done);
    let end = pending(7, key("c"), EndCause::ChannelDeleted);
    assert!(tables.channels().delete(&reader(&channel), &end, NOW).await.unwrap());
    assert_eq!(tables.channels().channel_with_rev(&channel.channel_id).await.unwrap(), None);
    let next = Channel { incarnation: life(2), ..channel.clone() };
    let owner = Member { incarnation: life(2), ..member("c", "alice", MemberRole::Owner) };
    assert_eq!(tables.channels().create(&next, &owner, None, MANY).await.unwrap(), ChannelCreated::Done);
    let (head, message) = (ChannelHead::from(&next), StoredMessage { incarnation: life(2), ..stored("c", 1) });
    assert_eq!(tables.messages().append(unkeyed(&head, &message)).await.unwrap(), AppendResult::Stored);
    assert_eq!(tables.changes(&next.key(), 0, 9, NOW).await, []);
    let late = tables.react(&reader(&channel), ("bob", "👍", Toggle::Add), 1, number_after(1)).await;
    assert_eq!(late, ReactionResult::Stale, "the authority is of the earlier channel");
    assert_eq!(tables.edit(&reader(&next), 1, 1, number_after(0)).await, UpdateResult::Done);
    assert_eq!(tables.changes(&next.key(), 0, 9, NOW).await, [(1, 1)]);
}

/// Leaves all keys of the first batch unprocessed, like a busy table.
#[derive(Debug, Default)]
struct LeavesUnprocessed(AtomicUsize);

impl Intercept for LeavesUnprocessed {
    fn name(&self) -> &'static str {
        "LeavesUnprocessed"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            let key = |partition: &str, sort: &str| json!({ "channel_id": { "S": partition }, "sk": { "S": sort } });
            let rest = json!({ "Keys": [key("c", "meta"), key("changes#c", "last")], "ConsistentRead": true });
            let answer = json!({ "Responses": {}, "UnprocessedKeys": { "chat_channels": rest } });
            *context.response_mut().body_mut() = answer.to_string().into();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_channel_and_its_number_are_one_read_that_is_repeated_for_unprocessed_keys() {
    let (tables, calls) = Tables::new().await.counted();
    let channel = tables.channel("c", Visibility::Public).await;
    tables.put(&stored("c", 1)).await;
    assert_eq!(tables.react(&reader(&channel), THUMB, 1, number_after(0)).await, ReactionResult::Done);
    calls.take();
    let (head, rev) = tables.messages().head(&channel.channel_id).await.unwrap().unwrap();
    assert_eq!((head.last_seq, rev), (Seq::FIRST, Rev::FIRST));
    assert_eq!(calls.take(), ["BatchGetItem"]);
    let config = tables.client.config().to_builder().interceptor(LeavesUnprocessed::default()).build();
    let channels = DynamoChannels::new(Client::from_conf(config), "chat_channels");
    let (found, rev) = channels.channel_with_rev(&channel.channel_id).await.unwrap().unwrap();
    assert_eq!((found.last_seq, rev), (Seq::FIRST, Rev::FIRST));
    assert_eq!(calls.take(), ["BatchGetItem"; 2]);
    assert_eq!(tables.channels().channel_with_rev(&channel_id("nowhere")).await.unwrap(), None);
}
