//! Gates, and the pages of the subscriptions beside them.

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use chat::model::{
    connection::{Audience, Gate},
    limits::GATE_DURATION,
    parts::AudienceCursor,
};

use super::*;

const OPEN: Gate = Gate { closed: false, private: false, blocked: BTreeSet::new() };

/// Returns the gate of a channel, after a check that both readers return the same.
async fn gate(tables: &Tables, channel: &ChannelKey, now: Timestamp) -> Gate {
    let gate = tables.connections().gate(channel, now).await.unwrap();
    assert_eq!(tables.connections().audience(channel, now).await.unwrap().gate, gate);
    gate
}

#[tokio::test]
async fn a_gate_follows_the_visibility_of_its_channel() {
    let tables = Tables::new().await;
    let public = tables.channel("c", Visibility::Public).await;
    assert_eq!(gate(&tables, &key("c"), NOW).await, OPEN);
    let renamed = tables.change(&public, Channel { name: "Other".into(), ..public.clone() }).await;
    assert_eq!(gate(&tables, &key("c"), NOW).await, OPEN);
    let private = tables.change(&renamed, Channel { visibility: Visibility::Private, ..renamed.clone() }).await;
    let shut = Gate { private: true, ..OPEN };
    assert_eq!(gate(&tables, &key("c"), NOW).await, shut);
    let archived = tables.change(&private, Channel { archived_at: Some(NOW), ..private.clone() }).await;
    assert_eq!(gate(&tables, &key("c"), NOW).await, shut);
    tables.change(&archived, Channel { visibility: Visibility::Public, ..archived.clone() }).await;
    assert_eq!(gate(&tables, &key("c"), NOW).await, OPEN);
    assert_eq!(gate(&tables, &key("d"), NOW).await, OPEN, "another channel's gate is open");
}

#[tokio::test]
async fn a_gate_blocks_who_was_removed_until_the_user_is_a_member_again() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let (bob, carol) = (member("c", "bob", MemberRole::Member), member("c", "carol", MemberRole::Member));
    for one in [&bob, &carol] {
        tables.join(&channel, one).await;
        let removed = tables.channels().remove_member(&with(&channel, one), one, &removal(one), NOW).await.unwrap();
        assert_eq!(removed, MemberChanged::Done);
    }
    assert_eq!(gate(&tables, &key("c"), NOW).await.blocked, BTreeSet::from([user("bob"), user("carol")]));
    tables.join(&channel, &bob).await;
    assert_eq!(gate(&tables, &key("c"), NOW).await, Gate { blocked: BTreeSet::from([user("carol")]), ..OPEN });
}

#[tokio::test]
async fn a_deleted_channel_is_closed_and_the_next_of_its_id_is_not() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let end = pending(7, key("c"), EndCause::ChannelDeleted);
    assert!(tables.channels().delete(&reader(&channel), &end, NOW).await.unwrap());
    assert_eq!(gate(&tables, &key("c"), NOW).await, Gate { closed: true, ..OPEN });
    let next = Channel { incarnation: life(2), ..channel };
    let owner = Member { incarnation: life(2), ..member("c", "bob", MemberRole::Owner) };
    assert_eq!(tables.channels().create(&next, &owner, None, MANY).await.unwrap(), ChannelCreated::Done);
    assert_eq!(gate(&tables, &next.key(), NOW).await, OPEN);
}

#[tokio::test]
async fn a_gate_lasts_longer_than_any_connection() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let bob = member("c", "bob", MemberRole::Member);
    tables.join(&channel, &bob).await;
    tables.channels().remove_member(&with(&channel, &bob), &bob, &removal(&bob), NOW).await.unwrap();
    tables.change(&channel, Channel { visibility: Visibility::Private, ..channel.clone() }).await;
    let shut = Gate { private: true, blocked: BTreeSet::from([user("bob")]), ..OPEN };
    let end = NOW.plus(GATE_DURATION);
    assert_eq!(gate(&tables, &key("c"), Timestamp::from_millis(end.as_millis() - 1)).await, shut);
    assert_eq!(gate(&tables, &key("c"), end).await, OPEN);
    assert!(GATE_DURATION > chat::ports::socket_gateway::CONNECTION_DURATION);
}

#[tokio::test]
async fn a_subscription_rests_on_a_membership_once_that_is_confirmed() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let channel = tables.channel("c", Visibility::Public).await;
    let stranger = Connection { channels: vec![key("c")], ..connection("x=", 0, NOW) };
    connections.register_pending(&stranger).await.unwrap();
    connections.activate(&stranger, &BTreeSet::new()).await.unwrap();
    let admitted = async || connections.audience(&key("c"), NOW).await.unwrap().admitted();
    let before = admitted().await;
    assert_eq!((before.len(), before[0].member), (1, false));
    tables.change(&channel, Channel { visibility: Visibility::Private, ..channel.clone() }).await;
    assert_eq!(admitted().await, []);
    assert!(connections.confirm_member(&key("c"), &before[0]).await.unwrap());
    assert_eq!(admitted().await.len(), 1);
    let mut gone = before[0].clone();
    gone.connection.id = "y=".parse().unwrap();
    assert!(!connections.confirm_member(&key("c"), &gone).await.unwrap());
    assert_eq!(admitted().await.len(), 1, "no subscription is created");
}

/// Writes subscriptions with the longest user and connection ids. Every 10th has expired.
async fn crowd(tables: &Tables, size: usize) -> Vec<ConnectionId> {
    let text = |text: String| AttributeValue::S(text);
    let ids: Vec<ConnectionId> = (0..size).map(|number| format!("{number:0>128}").parse().unwrap()).collect();
    let puts: Vec<WriteRequest> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let end = if number % 10 == 0 { NOW } else { LATER };
            let put = PutRequest::builder()
                .item("pk", text(format!("chan#{}", key("c"))))
                .item("sk", text(format!("conn#{id}")))
                .item("user_id", text(format!("{number:u>128}")))
                .item("connected_at", text(NOW.to_string()))
                .item("expires_at", AttributeValue::N((end.as_secs() + 3_600).to_string()));
            WriteRequest::builder().put_request(put.build().unwrap()).build()
        })
        .collect();
    for puts in puts.chunks(25) {
        let written = tables.client.batch_write_item().request_items("chat_connections", puts.to_vec()).send().await;
        assert!(written.unwrap().unprocessed_items.is_none_or(|left| left.is_empty()));
    }
    ids.into_iter().enumerate().filter(|(number, _)| number % 10 != 0).map(|(_, id)| id).collect()
}

#[tokio::test]
async fn subscriptions_are_read_page_by_page_from_a_cursor_on() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    let bob = member("c", "bob", MemberRole::Member);
    tables.join(&channel, &bob).await;
    tables.channels().remove_member(&with(&channel, &bob), &bob, &removal(&bob), NOW).await.unwrap();
    tables.change(&channel, Channel { visibility: Visibility::Private, ..channel.clone() }).await;
    let living = crowd(&tables, 1_050).await;
    let connections = tables.connections();
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = connections.subscriptions_page(&key("c"), after.as_ref(), 100, NOW).await.unwrap();
        assert!(page.subscriptions.len() <= 100);
        found.extend(page.subscriptions.into_iter().map(|one| one.connection.id));
        pages += 1;
        let Some(next) = page.next_after else { break };
        after = Some(next);
    }
    assert_eq!(found, living);
    assert_eq!(pages, 11);
    // After a connection that is removed, and after the last one.
    let gone: ConnectionId = format!("{:0>127}!", 104).parse().unwrap();
    let page =
        connections.subscriptions_page(&key("c"), Some(&AudienceCursor::after(gone.clone())), 5, NOW).await.unwrap();
    assert_eq!(page.subscriptions.first().map(|one| &one.connection.id), living.iter().find(|id| **id > gone));
    let last = living.last().cloned().map(AudienceCursor::after);
    let page = connections.subscriptions_page(&key("c"), last.as_ref(), 5, NOW).await.unwrap();
    assert_eq!(page, chat::ports::connection_store::SubscriptionPage::default());
}

/// A query page ends at 1 MB ("Paginating table query results in DynamoDB").
#[tokio::test]
async fn an_audience_of_several_pages_is_read_whole_with_its_gate() {
    let tables = Tables::new().await;
    let channel = tables.channel("c", Visibility::Public).await;
    tables.change(&channel, Channel { visibility: Visibility::Private, ..channel.clone() }).await;
    let living = crowd(&tables, 3_500).await;
    let query = tables.client.query().table_name("chat_connections").key_condition_expression("pk = :pk");
    let query = query.expression_attribute_values(":pk", AttributeValue::S(format!("chan#{}", key("c"))));
    assert!(query.send().await.unwrap().last_evaluated_key.is_some(), "more than one page");
    let Audience { gate, subscriptions } = tables.connections().audience(&key("c"), NOW).await.unwrap();
    assert_eq!(gate, Gate { private: true, ..OPEN });
    assert_eq!(subscriptions.into_iter().map(|one| one.connection.id).collect::<Vec<_>>(), living);
}
