//! Deleted channels, and the removal of their items.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};
use chat::{
    model::{id::Seed, reaction::Toggle, token_bucket::Bucket},
    ports::{
        channel_store::Creation,
        deleted_channels::DeletedChannels,
        message_store::ReactionResult,
        rate_limiter::{LimitedAction, RateLimiter},
        reply_leases::{DraftPiece, LeaseOwner, MessageKey, PieceStored, ReplyLeases},
    },
};
use chat_aws::DynamoDeletedChannels;

use super::*;

fn end() -> PendingEnd {
    pending(7, key("c"), EndCause::ChannelDeleted)
}

/// Creates a channel with 120 messages, 110 changes, 30 members besides alice, and one item of each other kind.
async fn large(tables: &Tables) -> Channel {
    let channels = tables.channels();
    let creation = Creation { key: "k".parse().unwrap(), fingerprint: "f".into() };
    let alice = member("c", "alice", MemberRole::Owner);
    assert_eq!(
        channels.create(&sample("c", Visibility::Public), &alice, Some(&creation), MANY).await.unwrap(),
        ChannelCreated::Done
    );
    let channel = sample("c", Visibility::Public);
    for seq in 1..=120 {
        tables.put(&stored("c", seq)).await;
    }
    for number in 0..30 {
        tables.join(&channel, &member("c", &format!("user{number}"), MemberRole::Member)).await;
    }
    for last in 0..110 {
        let toggle = if last % 2 == 0 { Toggle::Add } else { Toggle::Remove };
        let reacted = tables.react(&reader(&channel), ("alice", "👍", toggle), 1, number_after(last)).await;
        assert_eq!(reacted, ReactionResult::Done);
    }
    let (question, owner) = (MessageKey { channel: key("c"), seq: Seq::FIRST }, LeaseOwner::new(1));
    channels.acquire(&question, owner, LATER, NOW).await.unwrap();
    let draft_id = MessageId::generate(Seed { now: NOW, random: 1 });
    let piece = DraftPiece { draft_id, position: 0, text: "Hello".into() };
    assert_eq!(channels.store_piece(&question, owner, LATER, &piece, NOW).await.unwrap(), PieceStored::Stored);
    let bucket = Bucket { every: std::time::Duration::from_secs(1), burst: 1 };
    channels.take(&user("alice"), &LimitedAction::Reply(&key("c")), bucket, NOW).await.unwrap().unwrap();
    channels.channel(&channel.channel_id).await.unwrap().unwrap()
}

async fn remove(remains: &DynamoDeletedChannels) -> usize {
    let mut steps = 0;
    while !remains.remove_some(&key("c")).await.unwrap() {
        steps += 1;
        assert!(steps < 99, "the removal must end");
    }
    steps
}

/// Returns the items of a table whose keys contain a channel's key.
async fn left(tables: &Tables, channel: &ChannelKey) -> Vec<String> {
    let (one, other) = (format!("{channel}"), format!("{}#{}", channel.channel_id, channel.incarnation));
    let keys = tables.dump().await.into_keys();
    let of_channel = |key: &str| key.ends_with(&one) || key.contains(&other);
    keys.filter(|(_, partition, sort)| of_channel(partition) || of_channel(sort))
        .map(|key| format!("{key:?}"))
        .collect()
}

#[tokio::test]
async fn a_deleted_channel_is_gone_at_once_for_everybody_and_its_id_is_free() {
    let tables = Tables::new().await;
    let (channels, messages) = (tables.channels(), tables.messages());
    let channel = tables.channel("c", Visibility::Public).await;
    let stale = Channel { version: 7, ..channel.clone() };
    assert!(!channels.delete(&reader(&stale), &end(), NOW).await.unwrap(), "the channel has changed");
    assert!(channels.delete(&reader(&channel), &end(), NOW).await.unwrap());
    assert!(!channels.delete(&reader(&channel), &end(), NOW).await.unwrap(), "a channel is deleted once");
    assert_eq!(channels.channel(&channel.channel_id).await.unwrap(), None);
    assert_eq!(messages.head(&channel.channel_id).await.unwrap(), None);
    assert!(tables.own("alice").await.is_empty());
    assert!(channels.public_channels("", None, 9).await.unwrap().channels.is_empty());
    assert_eq!(tables.append(&head("c", 0, Visibility::Public), "k", None, NOW).await, AppendResult::ChannelNotFound);
    let bob = member("c", "bob", MemberRole::Member);
    assert_eq!(channels.add_member(&reader(&channel), &bob, Seq::ZERO).await.unwrap(), MemberAdded::Stale);
    let next = Channel { incarnation: life(2), ..channel };
    assert_eq!(
        channels.create(&next, &member("c", "bob", MemberRole::Owner), None, MANY).await.unwrap(),
        ChannelCreated::Done
    );
    assert_eq!(channels.channel(&next.channel_id).await.unwrap(), Some(next));
}

#[tokio::test]
async fn what_belonged_to_a_deleted_channel_is_removed_in_steps() {
    let tables = Tables::new().await;
    let channel = large(&tables).await;
    assert!(tables.channels().delete(&reader(&channel), &end(), NOW).await.unwrap());
    assert_eq!(tables.due(NOW).await, [end()]);
    assert!(left(&tables, &key("c")).await.len() > 260);
    let last = ("chat_channels", "changes#c".to_owned(), "last".to_owned());
    assert!(!tables.dump().await.contains_key(&last), "the number ends with the channel");
    let steps = remove(&tables.deleted_channels()).await;
    assert!(steps >= 5, "{steps}");
    let gate = |item: &String| item.contains("a-gate");
    let left = left(&tables, &key("c")).await;
    assert!(left.iter().all(|item| gate(item) || item.contains("pending#")), "{left:?}");
    assert_eq!(tables.due(NOW).await, [end()], "the maintenance removes the pending end last");
}

/// Lets a number of requests pass and fails the others, like a function that stops.
#[derive(Debug)]
struct StopsAfter(AtomicUsize);

impl Intercept for StopsAfter {
    fn name(&self) -> &'static str {
        "StopsAfter"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| ()).map_err(|_| "the function has stopped".into())
    }
}

#[tokio::test]
async fn an_interrupted_removal_leaves_no_entry_in_the_list_of_a_user() {
    let tables = Tables::new().await;
    let channel = large(&tables).await;
    assert!(tables.channels().delete(&reader(&channel), &end(), NOW).await.unwrap());
    // Stops after one request, after two, and so on, until the removal succeeds.
    let mut requests = 1;
    loop {
        let stops = StopsAfter(AtomicUsize::new(requests));
        let config = tables.client.config().to_builder().interceptor(stops).build();
        let remains = DynamoDeletedChannels::new(Client::from_conf(config), "chat_events", "chat_channels");
        let mut outcome = Ok(false);
        while let Ok(false) = outcome {
            outcome = remains.remove_some(&key("c")).await;
        }
        let items = tables.dump().await;
        let sort_keys = |prefix: &str| items.keys().filter(|(_, _, sort)| sort.starts_with(prefix)).count();
        let listed = sort_keys("member#c#");
        let members = sort_keys("member#") - listed;
        // A user's entry is found by the member, which must exist as long as the entry.
        assert!(members >= listed, "{members} members and {listed} entries after {requests} requests");
        if outcome.is_ok() {
            break;
        }
        requests += 1;
    }
    assert!(requests > 3, "{requests}");
    assert!(left(&tables, &key("c")).await.iter().all(|item| !item.contains("member#")));
}

#[tokio::test]
async fn two_removals_at_once_spare_the_next_channel_of_the_same_id() {
    let tables = Tables::new().await;
    let channel = large(&tables).await;
    assert!(tables.channels().delete(&reader(&channel), &end(), NOW).await.unwrap());
    let next =
        Channel { incarnation: life(2), name: "next".into(), last_seq: Seq::ZERO, last_message_at: None, ..channel };
    let owner = Member { incarnation: life(2), ..member("c", "alice", MemberRole::Owner) };
    assert_eq!(tables.channels().create(&next, &owner, None, MANY).await.unwrap(), ChannelCreated::Done);
    let append = async |seq: u64| {
        let head = ChannelHead { incarnation: life(2), ..head("c", seq - 1, Visibility::Public) };
        let message = StoredMessage { incarnation: life(2), ..stored("c", seq) };
        let record = record(&message, &format!("key-{seq}"));
        let appended = tables.messages().append(Append { record: Some(&record), ..unkeyed(&head, &message) }).await;
        assert_eq!(appended.unwrap(), AppendResult::Stored);
        message.message
    };
    let bob = member("c", "bob", MemberRole::Member);
    tables.join(&next, &bob).await;
    let mut accepted = vec![append(1).await];
    let (one, other) = (tables.deleted_channels(), tables.deleted_channels());
    let (_, _, sent) = tokio::join!(remove(&one), remove(&other), async {
        let mut sent = Vec::new();
        for seq in 2..=60 {
            sent.push(append(seq).await);
        }
        sent
    });
    accepted.extend(sent);
    remove(&one).await;
    let kept = tables.messages().messages(&next.key(), Range::After(Seq::ZERO), 99, NOW).await.unwrap();
    assert_eq!(kept, accepted);
    let members = tables.channels().members(&next.key(), None, 9).await.unwrap().members;
    assert_eq!(members, [owner, bob]);
    let own = tables.own("bob").await;
    assert_eq!(own.iter().map(|channel| channel.incarnation).collect::<Vec<_>>(), [life(2)]);
    for seq in 1..=60 {
        let kept = tables.messages().idempotency_record(&next.key(), &request("alice", &format!("key-{seq}"))).await;
        assert!(kept.unwrap().is_some(), "{seq}");
    }
    assert!(left(&tables, &key("c")).await.iter().all(|item| item.contains("a-gate") || item.contains("pending#")));
}
