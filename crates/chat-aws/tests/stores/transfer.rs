//! Exports and imports on DynamoDB.

use chat::{
    memory::conformance::{Ports, check_transfer},
    model::{id::TenantId, thread::ThreadSummary},
    ports::channel_transfer::{ChannelTransfer, Published},
};
use chat_aws::{DynamoTransfer, Pace};

use super::*;

impl Tables {
    fn transfer(&self) -> DynamoTransfer {
        DynamoTransfer::new(self.channels(), self.messages(), Pace::default())
    }
}

#[tokio::test]
async fn exports_and_imports_on_dynamodb_keep_their_law() {
    let tables = Tables::new().await;
    let ports = Ports {
        channels: &tables.channels(),
        messages: &tables.messages(),
        connections: &tables.connections(),
        removal: &tables.deleted_channels(),
    };
    check_transfer(&ports, &tables.transfer(), NOW).await.unwrap();
}

#[tokio::test]
async fn all_channels_are_those_of_all_tenants() {
    let tables = Tables::new().await;
    tables.channel("general", Visibility::Public).await;
    let acme: TenantId = "acme".parse().unwrap();
    let of_acme = tables.channels().for_tenant(Some(&acme));
    let owner = member("general", "alice", MemberRole::Owner);
    let created = of_acme.create(&sample("general", Visibility::Private), &owner, None, MANY).await.unwrap();
    assert_eq!(created, ChannelCreated::Done);
    let mut listed = tables.transfer().all_channels(None).await.unwrap();
    assert_eq!(listed.next, None, "the table has less than 1 MB");
    listed.ids.sort();
    assert_eq!(listed.ids, [(None, channel_id("general")), (Some(acme), channel_id("general"))]);
}

#[tokio::test]
async fn imported_items_are_as_those_of_requests_and_no_agent_sees_them() {
    let tables = Tables::new().await;
    let channel = sample("general", Visibility::Public);
    let mut root = stored("general", 1);
    root.message.thread =
        Some(ThreadSummary { reply_count: 1, last_reply_seq: Seq::new(2), last_reply_at: root.message.created_at });
    let mut reply = stored("general", 2);
    reply.message.thread_seq = Some(Seq::FIRST);
    reply.message.reactions = Reactions::from([("👍".parse().unwrap(), [user("bob"), user("alice")].into())]);
    reply.expires_at = Some(LATER);
    let transfer = tables.transfer();
    transfer.import_messages(&channel.key(), &[root, reply]).await.unwrap();
    transfer
        .import_members(&channel.key(), &[(member("general", "alice", MemberRole::Owner), Seq::new(2))])
        .await
        .unwrap();
    assert_eq!(transfer.publish(&channel, 1, Rev::new(4)).await.unwrap(), Published::Done);

    let items = tables.dump().await;
    let key = channel.key().to_string();
    let of_seq = |seq: &str| &items[&("chat_events", key.clone(), seq.to_owned())];
    for seq in ["1", "2"] {
        assert_eq!(of_seq(seq)["no_agent"], AttributeValue::S("1".to_owned()));
    }
    let users = of_seq("2")["reactions"].as_m().unwrap()["👍"].as_ss().unwrap();
    assert_eq!(users.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&"alice".to_owned(), &"bob".to_owned()]));
    let expires_at = AttributeValue::N(LATER.as_secs().to_string());
    for sk in ["thread#0000000000000001#0000000000000002", "root#0000000000000001"] {
        let listed = &items[&("chat_channels", key.clone(), sk.to_owned())];
        assert_eq!(listed["expires_at"], expires_at, "{sk}");
    }
    let access = &items[&("chat_channels", key.clone(), "access".to_owned())];
    assert_eq!(access["owners"], AttributeValue::N("1".to_owned()));
    assert_eq!(tables.last_rev("general").await, Rev::new(4));
    assert_eq!(tables.own("alice").await, [channel]);
}

#[tokio::test]
async fn an_import_of_more_than_a_batch_is_complete() {
    let tables = Tables::new().await;
    let channel = Channel { last_seq: Seq::new(120), ..sample("general", Visibility::Public) };
    let messages: Vec<StoredMessage> = (1..=120).map(|seq| stored("general", seq)).collect();
    let bounded = DynamoTransfer::new(tables.channels(), tables.messages(), Pace::new(Some(100_000), Some(100_000)));
    bounded.import_messages(&channel.key(), &messages).await.unwrap();
    assert_eq!(bounded.publish(&channel, 1, Rev::ZERO).await.unwrap(), Published::Done);
    let found = bounded.messages_to_export(&channel.key(), Seq::ZERO, channel.last_seq, 200, NOW).await.unwrap();
    let without_trace = messages.into_iter().map(|stored| StoredMessage { trace: None, ..stored });
    assert_eq!(found, without_trace.collect::<Vec<_>>());
}
