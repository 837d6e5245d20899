//! Connections and their subscriptions.

use chat::{
    model::{limits::CHANNELS_PER_CONNECTION, parts::Parts},
    ports::expiry_store::ExpiryStore,
};

use super::*;

/// Returns the subscriptions of a channel, including refused ones.
async fn subscriptions(
    tables: &Tables,
    channel: &ChannelKey,
    now: Timestamp,
) -> Vec<chat::model::connection::Subscription> {
    tables.connections().audience(channel, now).await.unwrap().subscriptions
}

fn none() -> BTreeSet<ChannelKey> {
    BTreeSet::new()
}

/// Activates a pending connection.
async fn opened(tables: &Tables, connection: &Connection) {
    tables.connections().register_pending(connection).await.unwrap();
    let channels = tables.connections().activate(connection, &none()).await.unwrap();
    assert_eq!(channels.as_ref(), Some(&connection.channels));
}

#[tokio::test]
async fn live_connections_gain_and_lose_channels() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let one = Connection { auto_subscribe: true, ..connection("x=", 0, NOW) };
    opened(&tables, &one).await;
    let of_user = connections.connections_of(&user("alice"), NOW).await.unwrap();
    assert_eq!(of_user, [announced(&one)]);
    assert!(connections.connections_of(&user("alice"), LATER).await.unwrap().is_empty(), "expired");

    let channel = key("c");
    let subscribe = async |member| connections.subscribe(&channel, &user("alice"), &of_user[0], member).await.unwrap();
    for member in [false, true, true] {
        assert!(subscribe(member).await);
        let found = subscriptions(&tables, &channel, NOW).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].member, member, "the later item replaces the earlier one");
    }
    let there = connections.connection(&one.key.id).await.unwrap().unwrap();
    assert_eq!(there.channels, std::slice::from_ref(&channel));
    assert!(connections.unsubscribe(&channel, &one.key).await.unwrap());
    assert!(!connections.unsubscribe(&channel, &one.key).await.unwrap());
    assert_eq!(connections.connection(&one.key.id).await.unwrap(), Some(one.clone()));

    assert!(subscribe(true).await);
    assert!(connections.close(&one.key).await.unwrap());
    assert!(subscriptions(&tables, &channel, NOW).await.is_empty());
    assert!(connections.connections_of(&user("alice"), NOW).await.unwrap().is_empty());
    assert!(!subscribe(true).await, "the connection is removed");
    assert!(subscriptions(&tables, &channel, NOW).await.is_empty(), "no subscription remains");

    let before = tables.dump().await;
    let other = Connection { user_id: user("bob"), ..connection("y=", 1, NOW) };
    connections.register_pending(&other).await.unwrap();
    assert!(connections.subscribe(&channel, &user("bob"), &announced(&other), true).await.unwrap());
    connections.remove_pending(&user("bob"), &announced(&other)).await.unwrap();
    assert_eq!(tables.dump().await, before);
    assert!(connections.connections_of(&user("bob"), NOW).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_takes_no_more_channels_than_it_may() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let one = connection("x=", CHANNELS_PER_CONNECTION, NOW);
    opened(&tables, &one).await;
    let of_user = announced(&one);
    assert!(!connections.subscribe(&key("more"), &user("alice"), &of_user, true).await.unwrap());
    assert!(subscriptions(&tables, &key("more"), NOW).await.is_empty());
    assert!(connections.subscribe(&one.channels[0], &user("alice"), &of_user, true).await.unwrap());
}

#[tokio::test]
async fn a_subscription_obeys_the_token_that_its_connection_has_now() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let one = Connection { auto_subscribe: true, ..connection("x=", 0, NOW) };
    opened(&tables, &one).await;
    let as_read = announced(&one);
    let end = Timestamp::from_secs(LATER.as_secs() + 600);
    let limit = Some(BTreeSet::from([channel_id("c")]));
    let renewed = Connection { allowed_channels: limit, token_expires_at: end, expires_at: end, ..one.clone() };
    assert_eq!(connections.renew(&renewed).await.unwrap(), Some(Vec::new()));

    // Both subscriptions are decided by the earlier token.
    let subscribe = async |channel| connections.subscribe(&channel, &user("alice"), &as_read, true).await.unwrap();
    assert!(!subscribe(key("d")).await, "beyond the limit");
    assert!(subscriptions(&tables, &key("d"), NOW).await.is_empty());
    assert!(subscribe(key("c")).await);
    assert_eq!(subscriptions(&tables, &key("c"), LATER).await.len(), 1, "it ends with the current token");
}

#[tokio::test]
async fn a_connection_opens_with_all_its_subscriptions_and_closes_with_them() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    // More than one BatchWriteItem holds.
    let one = connection("x=", 60, NOW);
    let by_membership: BTreeSet<ChannelKey> = one.channels.iter().take(20).cloned().collect();
    assert_eq!(connections.activate(&one, &by_membership).await.unwrap(), None, "it is not pending");
    assert!(tables.dump().await.is_empty(), "no subscription remains");
    connections.register_pending(&one).await.unwrap();
    connections.activate(&one, &by_membership).await.unwrap();
    assert_eq!(connections.connection(&one.key.id).await.unwrap(), Some(one.clone()));
    for channel in &one.channels {
        let found = subscriptions(&tables, channel, NOW).await;
        let expected = announced(&one).subscription(&one.user_id);
        let expected = chat::model::connection::Subscription { member: by_membership.contains(channel), ..expected };
        assert_eq!(found, [expected]);
        assert!(subscriptions(&tables, channel, LATER).await.is_empty(), "expired");
    }
    assert!(connections.close(&one.key).await.unwrap());
    assert!(!connections.close(&one.key).await.unwrap());
    for channel in &one.channels {
        assert!(subscriptions(&tables, channel, NOW).await.is_empty());
    }
}

#[tokio::test]
async fn cleaning_up_an_old_connection_spares_a_new_one_of_the_same_id() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let reused = connection("x=", 2, Timestamp::from_millis(NOW.as_millis() + 1));
    opened(&tables, &reused).await;
    let before = tables.dump().await;
    let (old, channel) = (connection("x=", 2, NOW), &reused.channels[0]);
    assert!(!connections.close(&old.key).await.unwrap());
    assert!(!connections.unsubscribe(channel, &old.key).await.unwrap());
    connections.remove_pending(&old.user_id, &announced(&old)).await.unwrap();
    let of_old = announced(&old).subscription(&old.user_id);
    assert!(!connections.confirm_member(channel, &of_old).await.unwrap());
    assert!(!connections.subscribe(&key("more"), &old.user_id, &announced(&old), true).await.unwrap());
    assert_eq!(tables.dump().await, before);
    assert_eq!(connections.renew(&old).await.unwrap(), None);
    assert_eq!(connections.connection(&reused.key.id).await.unwrap(), Some(reused));
}

#[tokio::test]
async fn subscriptions_without_a_connection_are_removed_all_the_same() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let one = connection("x=", 1, NOW);
    opened(&tables, &one).await;
    tables.delete("chat_connections", "pk", "conn#x=", "sk", "meta").await;
    let channel = &one.channels[0];
    assert!(connections.unsubscribe(channel, &one.key).await.unwrap());
    assert!(!connections.unsubscribe(channel, &one.key).await.unwrap());
    assert!(subscriptions(&tables, channel, NOW).await.is_empty());
}

#[tokio::test]
async fn a_subscription_that_is_added_while_its_connection_closes_goes_with_it() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    for round in 0..20 {
        let one = connection(&format!("{round}="), 30, NOW);
        opened(&tables, &one).await;
        let (alice, of_user, more) = (user("alice"), announced(&one), key("more"));
        let (closed, _) =
            tokio::join!(connections.close(&one.key), connections.subscribe(&more, &alice, &of_user, true));
        assert!(closed.unwrap());
        assert!(subscriptions(&tables, &more, NOW).await.is_empty(), "round {round}");
    }
}

/// One environment knows that the channel is divided, and the other one does not.
#[tokio::test]
async fn a_channel_that_is_added_while_a_connection_opens_keeps_its_place() {
    let tables = Tables::new().await;
    let (early, late) = (tables.connections(), tables.connections());
    let one = Connection { auto_subscribe: true, ..connection("x=", 2, NOW) };
    assert_ne!(Parts::MOST.part_of(&one.key.id), 0);
    let divided = &one.channels[0];
    early.register_pending(&one).await.unwrap();
    late.divide(divided, Parts::ONE, usize::MAX).await.unwrap();
    assert!(late.subscribe(divided, &one.user_id, &announced(&one), true).await.unwrap());
    let channels = early.activate(&one, &one.channels.iter().cloned().collect()).await.unwrap().unwrap();
    assert_eq!(channels.into_iter().collect::<BTreeSet<_>>(), one.channels.iter().cloned().collect());
    for channel in &one.channels {
        assert_eq!(subscriptions(&tables, channel, NOW).await.len(), 1, "{channel}");
    }
    assert!(early.unsubscribe(divided, &one.key).await.unwrap());
    assert!(subscriptions(&tables, divided, NOW).await.is_empty());
}

#[tokio::test]
async fn a_connection_that_was_read_without_its_places_closes_with_all_subscriptions() {
    let tables = Tables::new().await;
    let (early, late) = (tables.connections(), tables.connections());
    let one = connection("x=", 2, NOW);
    let before = connection("y=", 0, NOW);
    early.register_pending(&before).await.unwrap();
    late.divide(&one.channels[0], Parts::ONE, usize::MAX).await.unwrap();
    late.register_pending(&one).await.unwrap();
    late.activate(&one, &none()).await.unwrap();
    let (_, found) = early.find(&one.key.id).await.unwrap().unwrap();
    assert!(early.close_found(&found).await.unwrap());
    for channel in &one.channels {
        assert!(subscriptions(&tables, channel, NOW).await.is_empty(), "{channel}");
    }
    assert!(!early.close_found(&found).await.unwrap());
}

#[tokio::test]
async fn items_of_a_connection_outlive_it_so_that_its_socket_can_be_closed() {
    const HOUR: i64 = 3_600;
    let tables = Tables::new().await;
    let one = connection("x=", 1, NOW);
    opened(&tables, &one).await;
    let found = tables.client.scan().table_name("chat_connections").send().await.unwrap();
    let mut kept_until: Vec<(String, i64)> = found
        .items()
        .iter()
        .map(|item| (item["pk"].as_s().unwrap().clone(), item["expires_at"].as_n().unwrap().parse().unwrap()))
        .collect();
    kept_until.sort_unstable();
    let (end, channel) = (LATER.as_secs(), key("c000"));
    let expected = [
        (format!("chan#{channel}"), end + HOUR),
        ("conn#x=".to_owned(), end + HOUR),
        // Listed until API Gateway has closed every socket itself.
        (format!("ends#{}", end / 60), end + 3 * HOUR),
        ("user#alice".to_owned(), end + HOUR),
    ];
    assert_eq!(kept_until, expected);
    // After its end it is found by its id only, and not in its user's list.
    assert_eq!(tables.connections().connection(&one.key.id).await.unwrap(), Some(one));
    assert!(tables.connections().connections_of(&user("alice"), LATER).await.unwrap().is_empty());
}

#[tokio::test]
async fn minutes_are_worked_off_from_the_last_one_on() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let at = |minutes: i64| Timestamp::from_secs(NOW.as_secs() + minutes * 60);
    let minutes = async |now| {
        let found = connections.ended_minutes(at(now)).await.unwrap();
        assert!(found.is_sorted());
        let minute = |time: &Timestamp| (time.as_secs() - NOW.as_secs()) / 60;
        (found.first().map(minute).unwrap(), found.last().map(minute).unwrap(), found.len())
    };
    // Without a cursor, all minutes of sockets that API Gateway has not closed.
    assert_eq!(minutes(0).await, (-180, 0, 181));
    connections.worked_off(at(0)).await.unwrap();
    assert_eq!(minutes(0).await, (-2, 0, 3));
    assert_eq!(minutes(1).await, (-2, 1, 4));
    // The maintenance did not run for an hour, or for a day.
    assert_eq!(minutes(60).await, (-2, 60, 63));
    assert_eq!(minutes(24 * 60).await, (24 * 60 - 180, 24 * 60, 181));
    connections.worked_off(at(60)).await.unwrap();
    connections.worked_off(at(30)).await.unwrap();
    assert_eq!(minutes(60).await, (58, 60, 3), "the cursor never moves back");
    // A clock behind the clock that wrote the cursor.
    assert_eq!(minutes(50).await, (48, 50, 3));
}
