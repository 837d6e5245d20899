//! Tests of the keys of the three tables.

use chat::{
    model::{
        id::{ConnectionId, MessageId, Seed},
        limits::LARGEST_SEQ,
        rev::Rev,
        time::Timestamp,
    },
    ports::{message_store::RecordKey, reply_leases::MessageKey},
};

use super::*;

const KEY: &str = "general@01arz3ndektsv4rrffq69g5fav";

fn key() -> ChannelKey {
    KEY.parse().unwrap()
}

fn sort(item: &Item) -> &str {
    item["sk"].as_s().unwrap()
}

#[test]
fn what_is_written_into_a_key_is_read_from_it() {
    let (tenant, user): (TenantId, UserId) = ("acme".parse().unwrap(), "alice".parse().unwrap());
    let id: ConnectionId = "L0SM9cOFvHcCIhw=".parse().unwrap();
    for tenant in [None, Some(tenant)] {
        let keys = Keys::for_tenant(tenant.as_ref());
        assert_eq!(channel_key(&keys.channel(&key())), Ok((tenant.clone(), key())));
        for part in [0, 1, 63] {
            let place = Place { channel: key(), part };
            assert_eq!(place.to_string().parse::<Place>(), Ok(place.clone()));
            let subscription = keys.subscription(&place, &id);
            let found = subscribed(subscription["pk"].as_s().unwrap(), sort(&subscription));
            assert_eq!(found, Some((tenant.clone(), key())));
            assert_eq!(AudienceSort::read(sort(&subscription)), Ok(AudienceSort::Subscription(id.clone())));
        }
        assert_eq!(
            keys.part(&Place { channel: key(), part: 0 }),
            keys.audience(&key()),
            "the gate is beside the first"
        );
        assert_eq!(AudienceSort::read(sort(&keys.parts(&key()))), Ok(AudienceSort::Parts));
        let blocked = keys.blocked(&key(), &user);
        assert_eq!(AudienceSort::read(sort(&blocked)), Ok(AudienceSort::Blocked(user.clone())));
        assert_eq!(AudienceSort::read(sort(&keys.gate(&key()))), Ok(AudienceSort::Gate));
        assert_eq!(subscribed(blocked["pk"].as_s().unwrap(), sort(&blocked)), None);
        assert_eq!(listed_channel(sort(&keys.listed(&user, &key()))), Ok(key()));
        assert_eq!(member_of(sort(&keys.member(&key(), &user))), Some(user.clone()));
        assert_eq!(seq_of(sort(&keys.in_thread(&key(), Seq::FIRST, Seq::new(9)))), Some(Seq::new(9)));
        assert_eq!(seq_of(sort(&keys.root(&key(), Seq::new(10)))), Some(Seq::new(10)));
        assert_eq!(public_channel(sort(&keys.public("A #1", &key().channel_id))), Some(key().channel_id));
        let plain = keys.plain(keys.member(&key(), &user));
        assert_eq!(plain["channel_id"].as_s().unwrap(), "general");
    }
    for bad in ["general", "acme~general", "~general@01arz3ndektsv4rrffq69g5fav", "a~b~c@01arz3ndektsv4rrffq69g5fav"] {
        assert!(channel_key(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_gate_sorts_before_the_subscriptions() {
    let id: ConnectionId = "!".parse().unwrap();
    let (keys, longest) = (Keys::default(), "z".repeat(128).parse().unwrap());
    let first = Place { channel: key(), part: 0 };
    let in_order =
        [keys.gate(&key()), keys.parts(&key()), keys.blocked(&key(), &longest), keys.subscription(&first, &id)];
    assert!(in_order.is_sorted_by_key(|item| sort(item).to_owned()));
    assert!(sort(&in_order[2]) < first_subscription() && sort(&in_order[3]) > first_subscription());
}

#[test]
fn a_user_s_lists_sort_by_the_ids_of_the_channels_whatever_their_incarnations() {
    let (keys, user) = (Keys::default(), "alice".parse().unwrap());
    let channel = |id: &str, last: char| format!("{id}@01arz3ndektsv4rrffq69g5fa{last}").parse().unwrap();
    let listed: Vec<ChannelKey> =
        vec![channel("a", '0'), channel("a", '1'), channel("a-b", '0'), channel("a.b", '0'), channel("ab", '0')];
    let sks: Vec<String> = listed.iter().map(|key| sort(&keys.listed(&user, key)).to_owned()).collect();
    assert!(sks.is_sorted());
    let all = keys.memberships(&user);
    assert!(sks.iter().all(|sk| (all.first.as_str()..=all.last.as_str()).contains(&sk.as_str())));
    let sks: Vec<String> = listed.iter().map(|key| sort(&keys.listed_invitation(&user, key)).to_owned()).collect();
    assert!(sks.is_sorted());
    let all = keys.invitations(&user, None);
    assert!(sks.iter().all(|sk| (all.first.as_str()..=all.last.as_str()).contains(&sk.as_str())));
    let after = keys.invitations(&user, Some(&listed[0].channel_id)).first;
    assert_eq!(sks.iter().filter(|sk| **sk >= after).count(), 3, "both incarnations are left out");
}

#[test]
fn no_request_of_a_sender_has_the_key_of_a_reply() {
    let keys = Keys::default();
    let reply = keys.record(&key(), &RecordKey::Reply { seq: Seq::new(7) });
    for (sender, chosen) in [("answered", "0000000000000007"), ("agent", "reply:7"), ("a", "#answered#7")] {
        let request = RecordKey::Request { sender_id: sender.parse().unwrap(), key: chosen.parse().unwrap() };
        assert_ne!(keys.record(&key(), &request), reply);
        assert!(sort(&keys.record(&key(), &request)).starts_with("idem#"));
    }
}

#[test]
fn the_records_of_changes_sort_by_their_numbers_in_partitions_of_their_own() {
    let tenant: TenantId = "acme".parse().unwrap();
    let keys = Keys::for_tenant(Some(&tenant));
    let (last, records) = (keys.last_change(&key().channel_id), keys.change_records(&key()));
    assert_eq!((last["channel_id"].as_s().unwrap().as_str(), sort(&last)), ("changes#acme~general", "last"));
    assert_eq!(records, format!("changes#acme~{KEY}"));
    let numbers = [1, 2, 9, 10, 11, 1_000_000, LARGEST_SEQ].map(Rev::new);
    let sks: Vec<String> = numbers.iter().map(|rev| sort(&keys.change(&key(), *rev)).to_owned()).collect();
    assert!(sks.is_sorted());
    assert_eq!(sks.iter().map(|sk| rev_of(sk)).collect::<Vec<_>>(), numbers.map(Some));
    for (after, expected) in [(0, 7), (1, 6), (10, 3), (LARGEST_SEQ - 1, 1), (LARGEST_SEQ, 0), (u64::MAX, 0)] {
        let range = keys.changes(&key(), Rev::new(after));
        assert_eq!(range.partition, records);
        assert_eq!(range.is_empty(), expected == 0, "after {after}");
        let found = sks.iter().filter(|sk| (range.first.as_str()..=range.last.as_str()).contains(&sk.as_str()));
        assert_eq!(found.count(), expected, "after {after}");
    }
    assert_eq!(rev_of("last"), None);
}

#[test]
fn the_pieces_of_a_draft_sort_by_their_positions_and_are_of_this_draft_only() {
    let keys = Keys::default();
    let [one, other] = [1, 2].map(|random| MessageId::generate(Seed { now: Timestamp::from_secs(1), random }));
    let question = MessageKey { channel: key(), seq: Seq::new(7) };
    let range = keys.draft_pieces(&question, one);
    let is_in = |item: &Item| (range.first.as_str()..=range.last.as_str()).contains(&sort(item));
    let pieces = [0, 9, 10, 32_768].map(|position| keys.draft_piece(&question, one, position));
    assert!(pieces.iter().all(is_in) && pieces.is_sorted_by_key(|item| sort(item).to_owned()));
    assert_eq!(pieces.each_ref().map(|item| position_of(sort(item))), [0, 9, 10, 32_768].map(Some));
    assert!(!is_in(&keys.draft_piece(&question, other, 0)), "another draft");
    let next = MessageKey { seq: Seq::new(8), ..question.clone() };
    assert!(!is_in(&keys.draft_piece(&next, one, 0)), "another question");
    assert!(!is_in(&keys.reply_lease(&question)));
}

#[test]
fn the_items_of_a_user_are_recognized_by_their_keys_and_those_of_others_are_not() {
    let (acme, other): (TenantId, TenantId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
    let [alice, bob]: [UserId; 2] = ["alice", "bob"].map(|id| id.parse().unwrap());
    let id: ConnectionId = "L0SM9cOFvHcCIhw=".parse().unwrap();
    let question = MessageKey { channel: key(), seq: Seq::new(7) };
    let draft = MessageId::generate(Seed { now: Timestamp::from_secs(1), random: 1 });
    let request = RecordKey::Request { sender_id: alice.clone(), key: "k#1".parse().unwrap() };
    for tenant in [None, Some(&acme)] {
        let keys = Keys::for_tenant(tenant);
        let strangers = [Some(&other), if tenant.is_some() { None } else { Some(&acme) }].map(Keys::for_tenant);
        let found = |keys: &Keys, user: &UserId, item: &Item| match item.get("pk") {
            Some(pk) => keys.connections_item(user, pk.as_s().unwrap(), sort(item)),
            None => keys.channels_item(user, item["channel_id"].as_s().unwrap(), sort(item)),
        };
        for (item, expected) in [
            (keys.member(&key(), &alice), OfUser::Member(key())),
            (keys.listed(&alice, &key()), OfUser::Listed(key())),
            (keys.chosen(&alice, &key(), Timestamp::from_secs(1)), OfUser::Listed(key())),
            (keys.invitation(&key(), &alice), OfUser::Invited(key())),
            (keys.listed_invitation(&alice, &key()), OfUser::ListedInvitation(key())),
            (keys.created(&alice), OfUser::Created),
            (keys.record(&key(), &request), OfUser::Own("idempotency record")),
            (keys.creation(&key(), &alice, &"k".parse().unwrap()), OfUser::Own("idempotency record")),
            (keys.tokens(&alice, Timestamp::from_secs(1)), OfUser::Own("tokens used")),
            (keys.user_connection(&alice, &id), OfUser::UserConnection(id.clone())),
            (keys.blocked(&key(), &alice), OfUser::Blocked),
            (keys.presence(&key(), &alice), OfUser::Own("presence")),
        ] {
            assert_eq!(found(&keys, &alice, &item), Some(expected), "{item:?}");
            assert_eq!(found(&keys, &bob, &item), None, "{item:?}");
            assert!(strangers.iter().all(|keys| found(keys, &alice, &item).is_none()), "{item:?}");
            let partition = item.get("pk").unwrap_or_else(|| &item["channel_id"]).as_s().unwrap();
            assert!(keys.is_own(partition) && strangers.iter().all(|keys| !keys.is_own(partition)), "{partition}");
        }
        // These have no user in their keys.
        let piece = keys.draft_piece(&question, draft, 9);
        assert_eq!(found(&keys, &alice, &piece), Some(OfUser::DraftPiece(key(), Seq::new(7))));
        for part in [0, 1, 63] {
            let subscription = keys.subscription(&Place { channel: key(), part }, &id);
            assert_eq!(found(&keys, &alice, &subscription), Some(OfUser::Told("subscription")));
            assert!(strangers.iter().all(|keys| found(keys, &alice, &subscription).is_none()), "{subscription:?}");
        }
        assert_eq!(found(&keys, &alice, &keys.listeners(&key())), Some(OfUser::Listeners));
        for item in [
            keys.meta(&key().channel_id),
            keys.access(&key()),
            keys.instructions(&key()),
            keys.reply_lease(&question),
            keys.gate(&key()),
            keys.parts(&key()),
            keys.divided_channel(&key()),
        ] {
            assert_eq!(found(&keys, &alice, &item), None, "{item:?}");
        }
        assert_eq!(found(&keys, &alice, &connection(&id)), Some(OfUser::Connection(id.clone())));
    }
}
