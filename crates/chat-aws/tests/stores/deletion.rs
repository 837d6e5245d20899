//! Deleted channels, and what is left of them.

use chat_aws::DynamoRemains;

use super::*;

fn remains(tables: &Tables) -> DynamoRemains {
    DynamoRemains::new(tables.client.clone(), "chat_events", "chat_channels")
}

/// A channel with 120 messages and 30 members besides alice.
async fn large(tables: &Tables) -> Channel {
    let channel = tables.channel("c", Visibility::Public).await;
    for seq in 1..=120 {
        tables.put(&stored("c", seq)).await;
    }
    for number in 0..30 {
        let member = member("c", &format!("user{number}"), MemberRole::Member);
        assert_eq!(tables.channels().add_member(&member, Visibility::Public, 0).await.unwrap(), MemberAdded::Added);
    }
    tables.channels().channel(&channel.channel_id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_deleted_channel_is_gone_at_once_for_everybody() {
    let tables = Tables::new().await;
    let (channels, messages) = (tables.channels(), tables.messages());
    let channel = tables.channel("c", Visibility::Public).await;
    let stale = Channel { version: 7, ..channel.clone() };
    assert!(!channels.delete(&stale, NOW).await.unwrap(), "it has changed");
    assert!(channels.delete(&channel, NOW).await.unwrap());
    assert!(!channels.delete(&channel, NOW).await.unwrap(), "once");
    assert_eq!(channels.channel(&channel.channel_id).await.unwrap(), None);
    assert_eq!(messages.head(&channel.channel_id).await.unwrap(), None);
    assert!(channels.channels_of(&user("alice"), None, 9).await.unwrap().channels.is_empty());
    assert!(channels.public_channels("", None, 9).await.unwrap().channels.is_empty());
    assert_eq!(tables.append(&head("c", 0, Visibility::Public), "k", None, NOW).await, Appended::HeadMoved(None));
    let bob = member("c", "bob", MemberRole::Member);
    assert_eq!(channels.add_member(&bob, Visibility::Public, 0).await.unwrap(), MemberAdded::ChannelChanged);
    let owner = member("c", "alice", MemberRole::Owner);
    assert!(!channels.create(&channel, &owner, None).await.unwrap(), "the id stays taken while something is left");
}

#[tokio::test]
async fn what_is_left_is_removed_in_steps_until_the_id_is_free() {
    let tables = Tables::new().await;
    let channel = large(&tables).await;
    assert!(tables.channels().delete(&channel, NOW).await.unwrap());
    let remains = remains(&tables);
    let left = remains.all(9).await.unwrap();
    assert_eq!(left.len(), 1);
    // No time at all: one step each.
    let mut steps = 0;
    while !remains.remove(&left[0], Timestamp::from_secs(0)).await.unwrap() {
        steps += 1;
        assert_eq!(remains.all(9).await.unwrap(), left, "it is taken up again");
    }
    assert!(steps >= 2, "{steps}");
    assert!(remains.all(9).await.unwrap().is_empty());
    for table in ["chat_events", "chat_channels"] {
        let found = tables.client.scan().table_name(table).send().await.unwrap();
        assert_eq!(found.items(), [], "{table}");
    }
    let created = tables.channel("c", Visibility::Private).await;
    assert_eq!(created.last_seq, 0);
}
