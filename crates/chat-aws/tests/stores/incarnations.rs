//! Tests that a later channel with a deleted channel's id, and a user who joins again, meet no earlier items.

use chat::ports::channel_store::Creation;

use super::*;

fn next() -> Channel {
    Channel { incarnation: life(2), ..sample("c", Visibility::Public) }
}

fn next_member(id: &str, role: MemberRole) -> Member {
    Member { incarnation: life(2), ..member("c", id, role) }
}

/// Deletes a channel of alice and bob with a message, and creates one of alice with the same id. No item is removed
/// yet.
async fn taken_anew() -> Tables {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = sample("c", Visibility::Public);
    let creation = Creation { key: "k".parse().unwrap(), fingerprint: "f".into() };
    let alice = member("c", "alice", MemberRole::Owner);
    assert_eq!(channels.create(&channel, &alice, Some(&creation), MANY).await.unwrap(), ChannelCreated::Done);
    tables.join(&channel, &member("c", "bob", MemberRole::Member)).await;
    tables.put(&stored("c", 1)).await;
    assert!(channels.delete(&reader(&channel), &pending(7, key("c"), EndCause::ChannelDeleted), NOW).await.unwrap());
    assert_eq!(
        channels.create(&next(), &next_member("alice", MemberRole::Owner), None, MANY).await.unwrap(),
        ChannelCreated::Done
    );
    tables
}

#[tokio::test]
async fn a_channel_that_took_an_id_anew_has_nothing_of_the_earlier_one() {
    let tables = taken_anew().await;
    let (channels, messages) = (tables.channels(), tables.messages());
    let key = next().key();
    assert_eq!(channels.channel(&key.channel_id).await.unwrap(), Some(next()));
    assert_eq!(messages.head(&key.channel_id).await.unwrap(), Some((ChannelHead::from(&next()), Rev::ZERO)));
    assert_eq!(messages.messages(&key, Range::Newest, 9, NOW).await.unwrap(), []);
    assert_eq!(messages.message(&key, Seq::FIRST, NOW).await.unwrap(), None);
    assert_eq!(messages.idempotency_record(&key, &request("alice", "key-1")).await.unwrap(), None);
    assert_eq!(channels.creation(&key, &user("alice"), &"k".parse().unwrap()).await.unwrap(), None);
    assert_eq!(channels.member(&key, &user("bob")).await.unwrap(), None);
    assert!(!messages.is_member(&key, &user("bob")).await.unwrap());
    assert_eq!(channels.members_among(&key, &[user("bob")]).await.unwrap(), []);
    assert_eq!(channels.mark_read(&key, &user("bob"), Seq::FIRST).await.unwrap(), None);
    let members = channels.members(&key, None, 9).await.unwrap().members;
    assert_eq!(members, [next_member("alice", MemberRole::Owner)]);
}

#[tokio::test]
async fn a_cached_head_of_the_earlier_channel_appends_nothing_to_the_later() {
    let tables = taken_anew().await;
    // The state of the earlier channel before its message: the same `seq` and version as the later one's.
    let cached = head("c", 0, Visibility::Public);
    let now = ChannelHead::from(&next());
    assert_eq!(now, ChannelHead { incarnation: life(2), ..cached.clone() });
    let before = tables.dump().await;
    assert_eq!(
        tables.append(&cached, "x", None, NOW).await,
        AppendResult::Stale { head: Some(now), bucket_full_at: None }
    );
    assert_eq!(tables.dump().await, before);
}

#[tokio::test]
async fn lists_name_each_channel_once_and_as_it_is() {
    let tables = taken_anew().await;
    let channels = tables.channels();
    let public = channels.public_channels("", None, 9).await.unwrap().channels;
    assert_eq!(public, [next()]);
    let own = async |id: &str| -> Vec<_> { tables.own(id).await.iter().map(Channel::key).collect() };
    assert_eq!(own("bob").await, [], "a member of the earlier channel only");
    assert_eq!(own("alice").await, [next().key()]);
    tables.channel("d", Visibility::Public).await;
    assert_eq!(own("alice").await, [next().key(), key("d")]);
    let found = channels.channels_among(&[key("c"), next().key()]).await.unwrap();
    assert_eq!(found, [next()], "the key of the earlier channel leads nowhere");
    let of_bob = channels.memberships_among(&user("bob"), &[next().key()]).await.unwrap();
    assert_eq!(of_bob, [], "the later channel has no membership of bob");
    assert!(channels.read_marks(&[(next().key(), user("bob"))]).await.unwrap().is_empty());
    // The readers of memberships distinguish the keys.
    let memberships = channels.memberships(&user("alice"), 9).await.unwrap().channels;
    assert_eq!(memberships, [key("c"), next().key(), key("d")]);
}

#[tokio::test]
async fn a_stale_entry_of_the_public_list_leads_nowhere() {
    let tables = taken_anew().await;
    let entry = |name: &str, incarnation: Option<u8>| {
        let put = tables.client.put_item().table_name("chat_channels");
        let put = put.item("channel_id", AttributeValue::S("public#".into()));
        let put = put.item("sk", AttributeValue::S(format!("{name}#c")));
        match incarnation {
            Some(number) => put.item("incarnation", AttributeValue::S(life(number).to_string())),
            None => put,
        }
    };
    entry("of the earlier one", Some(1)).send().await.unwrap();
    entry("of no one", None).send().await.unwrap();
    assert_eq!(tables.channels().public_channels("of", None, 9).await.unwrap().channels, []);
    // The entry belongs to another channel, so it is not removed.
    entry("c", Some(1)).send().await.unwrap();
    let before = tables.dump().await;
    let renamed = Channel { name: "other".into(), version: 2, ..next() };
    assert!(!tables.channels().update(&reader(&next()), &renamed, None, NOW).await.unwrap());
    assert_eq!(tables.dump().await, before);
}

#[tokio::test]
async fn subscriptions_of_the_earlier_channel_are_no_audience_of_the_later() {
    let tables = taken_anew().await;
    let connections = tables.connections();
    let listener = Connection { channels: vec![key("c")], ..connection("x=", 0, NOW) };
    connections.register_pending(&listener).await.unwrap();
    connections.activate(&listener, &BTreeSet::new()).await.unwrap();
    assert_eq!(connections.audience(&key("c"), NOW).await.unwrap().subscriptions.len(), 1);
    let later = connections.audience(&next().key(), NOW).await.unwrap();
    assert_eq!(later, chat::model::connection::Audience::default());
    assert!(!connections.unsubscribe(&next().key(), &listener.key).await.unwrap());
}

#[tokio::test]
async fn requests_and_replies_have_records_of_their_own() {
    let tables = Tables::new().await;
    tables.channel("c", Visibility::Public).await;
    let messages = tables.messages();
    let append = async |seq: u64, key: RecordKey| {
        let (head, message) = (head("c", seq - 1, Visibility::Public), stored("c", seq));
        let record = IdempotencyRecord { key, ..record(&message, "k") };
        messages.append(Append { record: Some(&record), ..unkeyed(&head, &message) }).await.unwrap()
    };
    let reply = RecordKey::Reply { seq: Seq::FIRST };
    // Keys that a caller can choose, with any sender id.
    for (seq, (sender, chosen)) in (1..).zip([("agent", "reply:1"), ("alice", "answered#0000000000000001")]) {
        assert_eq!(append(seq, request(sender, chosen)).await, AppendResult::Stored);
    }
    assert_eq!(messages.idempotency_record(&key("c"), &reply).await.unwrap(), None);
    assert_eq!(append(3, reply.clone()).await, AppendResult::Stored);
    assert_eq!(messages.idempotency_record(&key("c"), &reply).await.unwrap().unwrap().seq, Seq::new(3));
    let AppendResult::KeyTaken(taken) = append(4, reply.clone()).await else { panic!("the message has two replies") };
    assert_eq!((taken.seq, taken.key), (Seq::new(3), reply));
}
