//! Invitations under every order of events that a seed generates, and memberships added without an invitation.

use super::*;
use crate::{
    app::{
        access::authorize_read,
        channels::{self, ChosenChannelIds, Created, CreationRules, NewChannel},
        members::list_members,
    },
    model::{channel::Memberships, seq::Seq, time::Timestamp},
};

impl World {
    /// Accepts an invitation of bob, or tries to join as bob.
    async fn join_as_bob(&self) -> Result<Added> {
        let bob = USER.parse().unwrap();
        self.membership().add(&CHANNEL.parse().unwrap(), &bob, &bob, None, Addition::Invite).await
    }

    async fn invite_bob(&self) -> Invitation {
        let (channel, alice, bob) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
        match self.membership().add(&channel, &alice, &bob, None, Addition::Invite).await.unwrap() {
            Added::Invited(invited) => invited.invitation,
            other @ Added::Joined { .. } => panic!("{other:?}"),
        }
    }

    async fn member(&self) -> Option<Member> {
        self.store.member(&key(CHANNEL), &USER.parse().unwrap()).await.unwrap()
    }

    async fn invitation(&self) -> Option<Invitation> {
        let now = self.clock.now();
        self.store.invitation(&key(CHANNEL), &USER.parse().unwrap(), now).await.unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_invited_user_hears_nothing_before_accepting_and_everything_after(seed: u64) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            world.invite_bob().await;
            world.handshake(Asked::Channels(vec![CHANNEL.parse().unwrap()])).await;
            assert_eq!(world.subscriptions(), 0, "a named channel that is not the user's to see");
            join(world.handshake(Asked::Memberships), world.deliver()).await;
            let bob = USER.parse().unwrap();
            assert!(authorize_read(&world.store, &CHANNEL.parse().unwrap(), &bob).await.is_err());
            assert_eq!((world.subscriptions(), world.received().0), (0, 0));
            let added = world.join_as_bob().await.unwrap();
            assert!(matches!(added, Added::Joined { added: true, .. }), "{added:?}");
            world.deliver().await;
            assert_eq!(world.received().0, 1);
        });
    }

    #[test]
    fn an_invitation_is_accepted_or_taken_back(seed: u64, by_owner: bool) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            world.invite_bob().await;
            let (channel, bob): (ChannelId, UserId) = (CHANNEL.parse().unwrap(), USER.parse().unwrap());
            let caller = if by_owner { "alice".parse().unwrap() } else { bob.clone() };
            let withdrawal = async {
                world.turns().await;
                world.membership().remove(&channel, &caller, &bob).await
            };
            let (accepted, withdrawn) = join(world.join_as_bob(), withdrawal).await;
            // A removal after the acceptance ends the membership.
            let is_refused = matches!(accepted, Err(ChatError::ChannelNotFound));
            assert!(is_refused || accepted.is_ok(), "{accepted:?}");
            assert!(withdrawn.is_ok(), "{withdrawn:?}");
            assert_eq!((world.member().await, world.invitation().await), (None, None));
            assert_eq!(world.subscriptions(), 0);
        });
    }

    #[test]
    fn of_two_who_accept_at_once_both_are_answered_with_one_membership(seed: u64) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            world.invite_bob().await;
            let answers = join(world.join_as_bob(), world.join_as_bob()).await;
            let (one, other) = (answers.0.unwrap(), answers.1.unwrap());
            let kept = world.member().await.unwrap();
            let told = |answer: Added| match answer {
                Added::Joined { member, added } => {
                    assert_eq!(member, kept);
                    usize::from(added)
                }
                Added::Invited(invitation) => panic!("{invitation:?}"),
            };
            assert_eq!(told(one) + told(other), 1, "one of them reports the addition");
        });
    }

    #[test]
    fn nothing_is_accepted_into_a_channel_after_its_end(seed: u64, is_archived: bool) {
        run(async {
            let world = World::new(seed, Visibility::Private);
            world.invite_bob().await;
            world.handshake(Asked::Memberships).await;
            let (channel, alice): (ChannelId, UserId) = (CHANNEL.parse().unwrap(), "alice".parse().unwrap());
            let end = async {
                world.turns().await;
                if is_archived {
                    let changes = channels::Changes { archived: Some(true), ..channels::Changes::default() };
                    world.membership().change_channel(&channel, &alice, None, &changes).await.unwrap();
                } else {
                    world.membership().delete_channel(&channel, &alice, None).await.unwrap();
                    world.sockets.lock().unwrap().ended = true;
                }
            };
            let (accepted, ()) = join(world.join_as_bob(), end).await;
            world.deliver().await;
            assert_eq!(world.received().1, 0);
            let later = world.join_as_bob().await;
            if is_archived {
                let is_refused = matches!(accepted, Err(ChatError::ChannelArchived));
                assert_eq!(world.member().await.is_some(), !is_refused, "{accepted:?}");
                assert!(matches!(later, Err(ChatError::ChannelArchived)), "{later:?}");
            } else {
                assert!(matches!(later, Err(ChatError::ChannelNotFound)), "{later:?}");
            }
        });
    }
}

#[test]
fn an_invitation_offers_a_role_and_what_is_below_it() {
    run(async {
        let world = World::new(1, Visibility::Private);
        let (channel, alice, bob): (ChannelId, UserId, UserId) =
            (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap());
        let membership = world.membership();
        let add = async |caller: &UserId, role| membership.add(&channel, caller, &bob, role, Addition::Invite).await;
        let first = world.invite_bob().await;
        assert_eq!(world.invite_bob().await, first, "a repeated request returns the same invitation");
        let refused = add(&bob, Some(MemberRole::Moderator)).await;
        assert!(matches!(refused, Err(ChatError::Forbidden(_))), "{refused:?}");
        // An invitation with another role replaces the first one.
        let Added::Invited(second) = add(&alice, Some(MemberRole::Moderator)).await.unwrap() else { panic!() };
        let second = second.invitation;
        assert_eq!((second.role, second.incarnation == first.incarnation), (MemberRole::Moderator, false));
        let Added::Joined { member, added: true } = add(&bob, Some(MemberRole::Member)).await.unwrap() else {
            panic!()
        };
        assert_eq!((member.role, member.added_by), (MemberRole::Member, None));
        // A higher role is assigned by an owner, without an invitation.
        let Added::Joined { member, .. } = add(&alice, Some(MemberRole::Moderator)).await.unwrap() else { panic!() };
        assert_eq!(member.role, MemberRole::Moderator);
        assert_eq!(world.invitation().await, None);
    });
}

#[test]
fn whom_nobody_invited_joins_nothing_and_learns_nothing() {
    run(async {
        let world = World::new(1, Visibility::Private);
        assert!(matches!(world.join_as_bob().await, Err(ChatError::ChannelNotFound)));
        world.invite_bob().await;
        let (channel, carol): (ChannelId, UserId) = (CHANNEL.parse().unwrap(), "carol".parse().unwrap());
        let bob: UserId = USER.parse().unwrap();
        let membership = world.membership();
        // A user cannot use another user's invitation, and cannot add others with an invitation.
        for (caller, user) in [(&carol, &carol), (&carol, &bob), (&bob, &carol)] {
            let added = membership.add(&channel, caller, user, None, Addition::Invite).await;
            assert!(matches!(added, Err(ChatError::ChannelNotFound)), "{caller} {user}: {added:?}");
        }
        for (caller, user) in [(&carol, &bob), (&bob, &"alice".parse().unwrap())] {
            let removed = membership.remove(&channel, caller, user).await;
            assert!(matches!(removed, Err(ChatError::ChannelNotFound)), "{caller} {user}: {removed:?}");
        }
        let listed = list_members(&world.store, &channel, &bob, None, 9).await;
        assert!(matches!(listed, Err(ChatError::ChannelNotFound)));
        assert!(world.invitation().await.is_some());
    });
}

#[test]
fn a_user_has_a_limited_number_of_invitations_to_answer() {
    run(async {
        let mut world = World::new(1, Visibility::Private);
        let channels: Vec<String> = (0..=INVITATIONS_PER_USER).map(|number| format!("room{number:03}")).collect();
        for name in &channels {
            world.store =
                world.store.with_channel(name, Visibility::Private).with_role(name, "mallory", MemberRole::Owner);
        }
        let (mallory, bob): (UserId, UserId) = ("mallory".parse().unwrap(), USER.parse().unwrap());
        let membership = world.membership();
        for (number, name) in channels.iter().enumerate() {
            let added = membership.add(&name.parse().unwrap(), &mallory, &bob, None, Addition::Invite).await;
            if number < INVITATIONS_PER_USER {
                assert!(matches!(added, Ok(Added::Invited(_))), "{number}: {added:?}");
            } else {
                assert!(matches!(added, Err(ChatError::TooManyInvitations(INVITATIONS_PER_USER))), "{added:?}");
            }
        }
        // A declined invitation makes room.
        membership.remove(&channels[0].parse().unwrap(), &bob, &bob).await.unwrap();
        world.invite_bob().await;
    });
}

/// Returns a world with channels of mallory, to which bob was added without an invitation.
fn crowded(count: usize) -> World {
    let mut world = World::new(1, Visibility::Private);
    for number in 0..count {
        let name = format!("a{number:03}");
        world.store = world.store.with_channel(&name, Visibility::Private);
        let member = Member {
            channel_id: name.parse().unwrap(),
            user_id: USER.parse().unwrap(),
            incarnation: Incarnation::generate(world.clock.seed()),
            role: MemberRole::Member,
            joined_at: Timestamp::from_secs(1),
            added_by: Some("mallory".parse().unwrap()),
        };
        world.store.state().put_member(&key(&name), member, Seq::ZERO);
    }
    world
}

impl World {
    /// Returns the channels of bob's connection, and the number of channels that it leaves out.
    fn followed(&self) -> (BTreeSet<ChannelKey>, usize) {
        let state = self.store.state();
        let connection = state.connections.get(&"x=".parse::<ConnectionId>().unwrap()).unwrap();
        let channels: BTreeSet<ChannelKey> = connection.channels.iter().cloned().collect();
        let subscribed = |channel: &ChannelKey| {
            let of_channel = state.subscriptions.get(channel);
            of_channel.is_some_and(|all| all.values().any(|one| one.user_id.as_str() == USER))
        };
        assert!(channels.iter().all(subscribed));
        (channels, connection.left_out)
    }
}

#[test]
fn unwanted_memberships_leave_a_socket_the_channels_that_its_user_chose() {
    run(async {
        let mut world = crowded(150);
        world.store = world.store.with_member(CHANNEL, USER);
        world.handshake(Asked::Memberships).await;
        let (channels, left_out) = world.followed();
        assert_eq!((channels.len(), left_out), (CHANNELS_PER_CONNECTION, 51));
        assert!(channels.contains(&key(CHANNEL)), "it sorts after all others");
    });
}

#[test]
fn an_open_socket_without_room_gets_what_its_user_chooses_and_is_told_of_what_others_do() {
    run(async {
        let mut world = crowded(150);
        world.handshake(Asked::Memberships).await;
        assert_eq!(world.followed().1, 50);
        // A membership that another user adds does not replace one.
        world.store = world.store.with_channel("b", Visibility::Private).with_role("b", "mallory", MemberRole::Owner);
        let (mallory, bob): (UserId, UserId) = ("mallory".parse().unwrap(), USER.parse().unwrap());
        let before = world.followed().0;
        world.membership().add(&"b".parse().unwrap(), &mallory, &bob, None, Addition::Outright).await.unwrap();
        assert_eq!(world.followed(), (before, 51));
        // A membership that the user chooses does.
        world.invite_bob().await;
        world.join_as_bob().await.unwrap();
        let (channels, left_out) = world.followed();
        assert_eq!((channels.len(), left_out), (CHANNELS_PER_CONNECTION, 52));
        assert!(channels.contains(&key(CHANNEL)));
        let wanted = world.store.memberships(&bob, CHANNELS_PER_CONNECTION).await.unwrap();
        assert!(matches!(&wanted, Memberships { left_out: 52, .. }), "{wanted:?}");
        world.deliver().await;
        assert_eq!(world.received().0, 1);
    });
}

pub(super) fn room(id: Option<&str>, visibility: Visibility) -> NewChannel {
    NewChannel {
        channel_id: id.map(|id| id.parse().unwrap()),
        name: "Room".to_owned(),
        visibility,
        agent: crate::model::channel::AgentSettings::default(),
        read_receipts: false,
        retention_days: None,
    }
}

#[test]
fn a_user_creates_a_limited_number_of_channels_and_a_repeated_request_is_answered() {
    run(async {
        let world = World::new(1, Visibility::Private);
        let (membership, bob) = (world.membership(), USER.parse().unwrap());
        let rules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 2 };
        let create = async |id: &str, key: Option<&str>| {
            let key = key.map(|key| key.parse().unwrap());
            membership.create_channel(&bob, room(Some(id), Visibility::Public), key, rules).await
        };
        for id in ["one", "two"] {
            assert!(matches!(create(id, Some(id)).await, Ok(Created::New { .. })));
        }
        let refused = create("three", Some("three")).await;
        assert!(matches!(refused, Err(ChatError::TooManyChannels(2))), "{refused:?}");
        assert!(matches!(create("two", Some("two")).await, Ok(Created::Replayed(_))));
        membership.delete_channel(&"one".parse().unwrap(), &bob, None).await.unwrap();
        assert!(matches!(create("three", Some("three")).await, Ok(Created::New { .. })));
    });
}

#[test]
fn a_removed_creator_sees_a_private_channel_by_no_repeated_request() {
    run(async {
        for visibility in [Visibility::Private, Visibility::Public] {
            let world = World::new(1, Visibility::Private);
            let (membership, bob) = (world.membership(), USER.parse().unwrap());
            let (made, carol) = ("made".parse().unwrap(), "carol".parse().unwrap());
            let rules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 9 };
            let create = async || {
                let key = Some("k".parse().unwrap());
                membership.create_channel(&bob, room(Some("made"), visibility), key, rules).await
            };
            assert!(matches!(create().await, Ok(Created::New { .. })));
            membership.add(&made, &bob, &carol, Some(MemberRole::Owner), Addition::Outright).await.unwrap();
            assert!(matches!(create().await, Ok(Created::Replayed(_))));
            membership.remove(&made, &carol, &bob).await.unwrap();
            let again = create().await;
            match visibility {
                Visibility::Private => assert!(matches!(again, Err(ChatError::ChannelExists)), "{again:?}"),
                Visibility::Public => assert!(matches!(again, Ok(Created::Replayed(_))), "{again:?}"),
            }
        }
    });
}

#[test]
fn a_deployment_says_which_ids_are_chosen() {
    use ChosenChannelIds::{Any, None as No, Public};
    run(async {
        let world = World::new(1, Visibility::Private);
        let (membership, bob) = (world.membership(), USER.parse().unwrap());
        let cases = [(Any, true, true), (Public, true, false), (No, false, false)];
        for (number, (chosen_ids, of_public, of_private)) in cases.into_iter().enumerate() {
            let rules = CreationRules { chosen_ids, channels_per_user: 99 };
            for (visibility, may) in [(Visibility::Public, of_public), (Visibility::Private, of_private)] {
                let id = format!("room-{number}-{may}-{visibility:?}");
                let chosen = membership.create_channel(&bob, room(Some(&id), visibility), None, rules).await;
                match chosen {
                    Ok(_) => assert!(may, "{chosen_ids:?} {visibility:?}"),
                    Err(ChatError::Invalid(violations)) => {
                        assert!(!may, "{chosen_ids:?} {visibility:?}");
                        assert_eq!((violations[0].field.as_str(), violations[0].code), ("channel_id", "not_allowed"));
                    }
                    Err(other) => panic!("{other:?}"),
                }
                let generated = membership.create_channel(&bob, room(None, visibility), None, rules).await;
                assert!(matches!(generated, Ok(Created::New { .. })), "{generated:?}");
            }
        }
        // Only users who may choose an id learn that it is taken.
        let taken = async |chosen_ids| {
            let rules = CreationRules { chosen_ids, channels_per_user: 99 };
            membership.create_channel(&bob, room(Some(CHANNEL), Visibility::Private), None, rules).await
        };
        assert!(matches!(taken(Any).await, Err(ChatError::ChannelExists)));
        assert!(matches!(taken(Public).await, Err(ChatError::Invalid(_))));
    });
}
