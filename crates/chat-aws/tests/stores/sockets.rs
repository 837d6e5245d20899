//! Tickets, renewed tokens, and announced presence.

use chat::{
    model::{connection::Subscription, ticket_digest::TicketDigest},
    ports::{
        expiry_store::ExpiryStore,
        presence_store::PresenceStore,
        ticket_store::{Ticket, TicketStore},
    },
};

use super::*;

#[tokio::test]
async fn a_ticket_is_redeemed_once_and_in_time() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let ticket = Ticket {
        user_id: user("alice"),
        tenant: Some("acme".parse().unwrap()),
        channels: Some(vec![key("a"), key("b")]),
        allowed_channels: Some(BTreeSet::from([channel_id("a"), channel_id("b")])),
        token_expires_at: LATER,
        expires_at: LATER,
    };
    let [one, two, three, other] = ["one", "two", "three", "other"].map(TicketDigest::of);
    connections.keep(&one, &ticket).await.unwrap();
    assert_eq!(connections.redeem(&other, NOW).await.unwrap(), None);
    let callers = futures::future::join_all((0..8).map(|_| connections.redeem(&one, NOW))).await;
    let redeemed: Vec<Ticket> = callers.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(redeemed, std::slice::from_ref(&ticket));

    let all = Ticket { tenant: None, channels: None, allowed_channels: None, ..ticket };
    connections.keep(&two, &all).await.unwrap();
    assert_eq!(connections.redeem(&two, NOW).await.unwrap(), Some(all.clone()));
    connections.keep(&three, &all).await.unwrap();
    assert_eq!(connections.redeem(&three, LATER).await.unwrap(), None, "the ticket has expired");
}

#[tokio::test]
async fn a_renewal_reaches_everything_that_has_a_time() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let opened = connection("x=", 3, NOW);
    connections.register_pending(&opened).await.unwrap();
    connections.activate(&opened, &BTreeSet::new()).await.unwrap();
    let end = Timestamp::from_secs(LATER.as_secs() + 600);
    let limit = opened.channels.iter().map(|channel| channel.channel_id.clone()).collect();
    let renewed =
        Connection { token_expires_at: end, expires_at: end, allowed_channels: Some(limit), ..opened.clone() };
    assert_eq!(connections.renew(&renewed).await.unwrap().as_ref(), Some(&opened.channels));
    assert_eq!(connections.connection(&opened.key.id).await.unwrap(), Some(renewed.clone()));
    assert_eq!(connections.connections_of(&user("alice"), LATER).await.unwrap(), [announced(&renewed)]);
    for channel in &opened.channels {
        let living = async |now| connections.audience(channel, now).await.unwrap().subscriptions.len();
        assert_eq!((living(LATER).await, living(end).await), (1, 0));
    }
    // Listed under the end of each of its tokens, until the maintenance removes the entries.
    assert_eq!(connections.expired_in_minute(LATER).await.unwrap(), std::slice::from_ref(&opened.key.id));
    assert_eq!(connections.expired_in_minute(end).await.unwrap(), std::slice::from_ref(&opened.key.id));
    connections.remove_expiry_entry(LATER, &opened.key.id).await.unwrap();
    assert!(connections.expired_in_minute(LATER).await.unwrap().is_empty());

    // The current channels, even if the caller has others.
    let fewer = Connection { channels: Vec::new(), ..renewed.clone() };
    assert!(connections.unsubscribe(&opened.channels[0], &opened.key).await.unwrap());
    assert_eq!(connections.renew(&fewer).await.unwrap().as_deref(), Some(&opened.channels[1..]));

    let mut other = renewed.clone();
    other.key.connected_at = LATER;
    assert_eq!(connections.renew(&other).await.unwrap(), None, "another connection with that id");
    connections.close(&opened.key).await.unwrap();
    assert_eq!(connections.renew(&renewed).await.unwrap(), None, "the connection is removed");
}

#[tokio::test]
async fn what_is_known_of_presence_changes_once() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let (channel, bob) = (key("c"), user("bob"));
    assert!(connections.mark_online(&channel, &bob, life(3), NOW).await.unwrap());
    assert!(!connections.mark_online(&channel, &bob, life(4), NOW).await.unwrap());
    assert!(connections.mark_online(&key("d"), &bob, life(3), NOW).await.unwrap());
    let anew = ChannelKey { incarnation: life(2), ..key("c") };
    assert!(connections.mark_online(&anew, &bob, life(3), NOW).await.unwrap());
    let asked = BTreeSet::from([bob.clone(), user("carol")]);
    let marks = async || connections.announced(&channel, &asked).await.unwrap().marks;
    assert_eq!(marks().await, BTreeMap::from([(bob.clone(), life(4))]));
    assert!(!connections.mark_offline(&channel, &bob, life(3)).await.unwrap());
    assert!(connections.mark_offline(&channel, &bob, life(4)).await.unwrap());
    assert!(connections.mark_offline(&channel, &bob, life(4)).await.unwrap());
    assert_eq!(marks().await, BTreeMap::new());
    assert!(connections.mark_online(&channel, &bob, life(4), NOW).await.unwrap());
}

#[tokio::test]
async fn two_hundred_listeners_and_users_are_read_in_parts() {
    let tables = Tables::new().await;
    let (connections, channel) = (tables.connections(), key("c"));
    let asked: BTreeSet<UserId> = (0..150).map(|number| user(&format!("u{number}"))).collect();
    for one in &asked {
        assert!(connections.mark_online(&channel, one, life(3), NOW).await.unwrap());
    }
    let listeners: Vec<Subscription> = (0..200)
        .map(|number| {
            let opened = connection(&format!("{number}="), 1, NOW);
            Subscription { member: number % 2 == 0, ..UserConnection::from(&opened).subscription(&opened.user_id) }
        })
        .collect();
    assert!(connections.set_listeners(&channel, None, &listeners, life(5), NOW).await.unwrap());
    let found = connections.announced(&channel, &asked).await.unwrap();
    assert_eq!((found.marks.len(), found.listeners_mark), (150, Some(life(5))));
    assert_eq!(found.listeners, listeners);
}
