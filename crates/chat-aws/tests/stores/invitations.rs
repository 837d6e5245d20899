//! Invitations and counts of channels, with concurrent writes and stale reads. The transaction decides.

use chat::{
    model::{id::TenantId, invitation::Invitation, seq::Seq},
    ports::{
        deleted_channels::DeletedChannels,
        invitation_store::{InvitationStore, Invited},
    },
};
use futures::future::{join, join_all};

use super::*;

/// Maximum number of invitations of a user, in tests of other rules.
const PENDING: usize = 10;

/// Number of repetitions of two concurrent writes.
const ROUNDS: u8 = 20;

/// Returns an invitation by alice, with an incarnation for each digit.
fn invitation(channel: &Channel, id: &str, number: u8) -> Invitation {
    Invitation {
        channel_id: channel.channel_id.clone(),
        channel_incarnation: channel.incarnation,
        user_id: user(id),
        incarnation: life(number),
        role: MemberRole::Member,
        invited_by: user("alice"),
        invited_at: NOW,
        expires_at: LATER,
    }
}

/// Creates a private channel of alice, and an invitation to it.
async fn invited(tables: &Tables, id: &str, name: &str) -> (Channel, Invitation) {
    let channel = tables.channel(id, Visibility::Private).await;
    let alice = member(id, "alice", MemberRole::Owner);
    let invitation = invitation(&channel, name, 5);
    let done = tables.channels().invite(&with(&channel, &alice), &invitation, PENDING).await.unwrap();
    assert_eq!(done, Invited::Done);
    (channel, invitation)
}

/// Returns the number of a user's memberships in the user's list, including the entries of those that the user chose.
async fn memberships(tables: &Tables, name: &str) -> usize {
    let of_user = format!("user#{name}");
    let is_membership = |sort: &str| sort.starts_with("member#") || sort.starts_with("chosen#");
    tables.dump().await.into_keys().filter(|(_, pk, sk)| *pk == of_user && is_membership(sk)).count()
}

#[tokio::test]
async fn of_two_who_accept_at_once_one_makes_the_membership() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    for round in 0..ROUNDS {
        let (id, name) = (format!("c{round}"), format!("bob{round}"));
        let (channel, invitation) = invited(&tables, &id, &name).await;
        let [one, other] =
            [2, 3].map(|number| Member { incarnation: life(number), ..member(&id, &name, MemberRole::Member) });
        let accept = async |member: &Member| channels.accept(&channel, &invitation, member, Seq::ZERO).await.unwrap();
        let outcomes = join(accept(&one), accept(&other)).await;
        let kept = channels.member(&channel.key(), &user(&name)).await.unwrap();
        match outcomes {
            (MemberAdded::Added, MemberAdded::Stale) => assert_eq!(kept, Some(one)),
            (MemberAdded::Stale, MemberAdded::Added) => assert_eq!(kept, Some(other)),
            others => panic!("{others:?}"),
        }
        assert_eq!(memberships(&tables, &name).await, 2);
    }
}

#[tokio::test]
async fn an_invitation_is_accepted_or_taken_back_and_never_both() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    for round in 0..ROUNDS {
        let (id, name) = (format!("c{round}"), format!("bob{round}"));
        let (channel, invitation) = invited(&tables, &id, &name).await;
        let (alice, bob) = (member(&id, "alice", MemberRole::Owner), member(&id, &name, MemberRole::Member));
        let by = with(&channel, &alice);
        // By a moderator, or by the invited user.
        let by = (round % 2 == 0).then_some(&by);
        let accept = async { channels.accept(&channel, &invitation, &bob, Seq::ZERO).await.unwrap() };
        let withdraw = async { channels.withdraw_invitation(by, &invitation).await.unwrap() };
        let (accepted, withdrawn) = if round % 4 < 2 {
            join(accept, withdraw).await
        } else {
            let (withdrawn, accepted) = join(withdraw, accept).await;
            (accepted, withdrawn)
        };
        let is_member = channels.member(&channel.key(), &user(&name)).await.unwrap().is_some();
        assert_eq!((accepted == MemberAdded::Added, withdrawn), (is_member, !is_member), "{accepted:?}");
        assert_eq!(channels.invitation(&channel.key(), &user(&name), NOW).await.unwrap(), None);
        assert!(channels.invitations_of(&user(&name), None, 9, NOW).await.unwrap().channels.is_empty());
    }
}

#[tokio::test]
async fn an_invitation_to_a_channel_that_was_deleted_or_taken_anew_leads_nowhere() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let (channel, invitation) = invited(&tables, "c", "bob").await;
    let (alice, bob) = (member("c", "alice", MemberRole::Owner), member("c", "bob", MemberRole::Member));
    let end = pending(7, channel.key(), EndCause::ChannelDeleted);
    assert!(channels.delete(&with(&channel, &alice), &end, NOW).await.unwrap());
    let deleted = tables.dump().await;
    assert_eq!(channels.accept(&channel, &invitation, &bob, Seq::ZERO).await.unwrap(), MemberAdded::Stale);
    assert_eq!(tables.dump().await, deleted);

    let next = Channel { incarnation: life(2), ..channel.clone() };
    let created = channels.create(&next, &Member { incarnation: life(2), ..alice }, None, MANY).await.unwrap();
    assert_eq!(created, ChannelCreated::Done);
    let anew = tables.dump().await;
    // With the channel as it was read, and with the current one.
    for found in [&channel, &next] {
        assert_eq!(channels.accept(found, &invitation, &bob, Seq::ZERO).await.unwrap(), MemberAdded::Stale);
    }
    assert_eq!(channels.invitation(&next.key(), &user("bob"), NOW).await.unwrap(), None);
    assert!(channels.invitations_of(&user("bob"), None, 9, NOW).await.unwrap().channels.is_empty());
    assert_eq!(tables.dump().await, anew);
    while !tables.deleted_channels().remove_some(&channel.key()).await.unwrap() {}
    assert!(!tables.dump().await.keys().any(|(_, pk, sk)| pk == "user#bob" || sk.contains("bob")));
}

#[tokio::test]
async fn who_accepts_after_a_removal_is_no_longer_refused_by_the_gate() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("c", Visibility::Private).await;
    let (alice, bob) = (member("c", "alice", MemberRole::Owner), member("c", "bob", MemberRole::Member));
    let by = with(&channel, &alice);
    tables.join(&channel, &bob).await;
    assert_eq!(channels.remove_member(&by, &bob, &removal(&bob), NOW).await.unwrap(), MemberChanged::Done);
    let is_blocked = async || {
        let gate = tables.connections().gate(&channel.key(), NOW).await.unwrap();
        gate.blocked.contains(&user("bob"))
    };
    assert!(is_blocked().await);
    let invitation = invitation(&channel, "bob", 5);
    assert_eq!(channels.invite(&by, &invitation, PENDING).await.unwrap(), Invited::Done);
    assert!(is_blocked().await, "an invited user is not a member");
    let again = Member { incarnation: life(3), ..bob };
    assert_eq!(channels.accept(&channel, &invitation, &again, Seq::ZERO).await.unwrap(), MemberAdded::Added);
    assert!(!is_blocked().await);
}

#[tokio::test]
async fn of_many_channels_that_a_user_creates_at_once_as_many_exist_as_may() {
    const MOST: usize = 3;
    let tables = Tables::new().await;
    let channels = tables.channels();
    let create = async |number: usize| {
        let id = format!("c{number}");
        let owner = member(&id, "alice", MemberRole::Owner);
        channels.create(&sample(&id, Visibility::Public), &owner, None, MOST).await.unwrap()
    };
    let outcomes = join_all((0..12).map(create)).await;
    let done = outcomes.iter().filter(|outcome| **outcome == ChannelCreated::Done).count();
    assert_eq!(done, MOST, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| [ChannelCreated::Done, ChannelCreated::TooMany].contains(outcome)));
    let public = channels.public_channels("", None, 99).await.unwrap().channels;
    assert_eq!(public.len(), MOST);
    assert_eq!(memberships(&tables, "alice").await, 2 * MOST);
    // A deleted channel makes room for one new channel.
    let (first, owner) = (&public[0], member(public[0].channel_id.as_str(), "alice", MemberRole::Owner));
    let end = pending(7, first.key(), EndCause::ChannelDeleted);
    let delete = async || channels.delete(&with(first, &owner), &end, NOW).await.unwrap();
    let deleted = join(delete(), delete()).await;
    assert_eq!(u8::from(deleted.0) + u8::from(deleted.1), 1, "one deletion counts");
    let outcomes = join_all((20..24).map(create)).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == ChannelCreated::Done).count(), 1, "{outcomes:?}");
    // Each user has a separate count.
    let of_bob = Channel { created_by: user("bob"), ..sample("d", Visibility::Public) };
    let bob = member("d", "bob", MemberRole::Owner);
    assert_eq!(channels.create(&of_bob, &bob, None, 1).await.unwrap(), ChannelCreated::Done);
}

#[tokio::test]
async fn invitations_are_listed_page_by_page_and_of_each_tenant_apart() {
    let tables = Tables::new().await;
    let tenant: TenantId = "acme".parse().unwrap();
    let theirs = tables.channels().for_tenant(Some(&tenant));
    let alice = |id: &str| member(id, "alice", MemberRole::Owner);
    for id in ["a", "b", "c", "d", "e"] {
        invited(&tables, id, "bob").await;
    }
    let channel = sample("a", Visibility::Private);
    let created = theirs.create(&channel, &alice("a"), None, MANY).await.unwrap();
    assert_eq!(created, ChannelCreated::Done);
    assert_eq!(theirs.invitation(&channel.key(), &user("bob"), NOW).await.unwrap(), None);
    let invitation = invitation(&channel, "bob", 6);
    let invited = theirs.invite(&with(&channel, &alice("a")), &invitation, 1).await.unwrap();
    assert_eq!(invited, Invited::Done, "tenants have separate counts");
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = tables.channels().invitations_of(&user("bob"), after.as_ref(), 2, NOW).await.unwrap();
        assert!(page.channels.len() <= 2);
        ids.extend(page.channels.into_iter().map(|one| one.invitation.channel_id.to_string()));
        after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    let page = theirs.invitations_of(&user("bob"), None, 9, NOW).await.unwrap();
    assert_eq!(page.channels.into_iter().map(|one| one.invitation).collect::<Vec<_>>(), [invitation]);
    let late = tables.channels().invitations_of(&user("bob"), None, 9, LATER).await.unwrap();
    assert!(late.channels.is_empty(), "the invitations have expired");
}

#[tokio::test]
async fn what_a_closed_connection_leaves_out_is_not_kept() {
    let tables = Tables::new().await;
    let connections = tables.connections();
    let opened = connection("x=", 1, NOW);
    let before = tables.dump().await;
    connections.set_left_out(&announced(&opened), 7).await.unwrap();
    assert_eq!(tables.dump().await, before, "no connection is created");
    connections.register_pending(&opened).await.unwrap();
    connections.activate(&opened, &BTreeSet::new()).await.unwrap();
    let found = async || connections.connection(&opened.key.id).await.unwrap().unwrap().left_out;
    assert_eq!(found().await, 0);
    let mut other = announced(&opened);
    other.key.connected_at = LATER;
    connections.set_left_out(&other, 7).await.unwrap();
    assert_eq!(found().await, 0, "another connection of the same id");
    connections.set_left_out(&announced(&opened), 7).await.unwrap();
    assert_eq!(found().await, 7);
}
