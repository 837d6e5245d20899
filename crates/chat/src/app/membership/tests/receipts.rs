//! Members as others see them: with their read marks only if the channel has read receipts.

use super::*;
use crate::{memory::Call, model::seq::Seq, testing::Before};

/// Returns a world whose channel has bob as a member, who has read up to 7.
fn world(read_receipts: bool) -> World {
    let mut world = World::new(1, Visibility::Private);
    world.store = world.store.with_member(CHANNEL, USER);
    let mut state = world.store.state();
    state.channels.values_mut().for_each(|channel| channel.read_receipts = read_receipts);
    state.listed.get_mut(&USER.parse::<UserId>().unwrap()).unwrap().insert(key(CHANNEL), Seq::new(7));
    drop(state);
    world
}

fn ids() -> (ChannelId, UserId, UserId) {
    (CHANNEL.parse().unwrap(), "alice".parse().unwrap(), USER.parse().unwrap())
}

#[test]
fn read_marks_of_others_are_shown_if_the_channel_says_so() {
    run(async {
        let (channel, alice, bob) = ids();
        for read_receipts in [false, true] {
            let world = world(read_receipts);
            let membership = world.membership();
            let marks = [Seq::ZERO, Seq::new(7)].map(|mark| read_receipts.then_some(mark));
            let listed = membership.list(&channel, &bob, None, 9).await.unwrap();
            let found: Vec<_> = listed.members.into_iter().map(|one| (one.member.user_id, one.read_seq)).collect();
            assert_eq!(found, [(alice.clone(), marks[0]), (bob.clone(), marks[1])]);
            for caller in [&alice, &bob] {
                let found = membership.get(&channel, caller, &bob).await.unwrap();
                assert_eq!((found.member.role, found.read_seq), (MemberRole::Member, marks[1]), "{caller}");
            }
        }
    });
}

#[test]
fn a_user_is_no_member_or_not_to_be_seen() {
    run(async {
        let (world, (channel, alice, bob)) = (world(true), ids());
        let carol: UserId = "carol".parse().unwrap();
        let membership = world.membership();
        let refused = membership.get(&channel, &bob, &carol).await;
        assert!(matches!(refused, Err(ChatError::MemberNotFound)), "{refused:?}");
        for user in [&alice, &carol] {
            let refused = membership.get(&channel, &carol, user).await;
            assert!(matches!(refused, Err(ChatError::ChannelNotFound)), "{user}: {refused:?}");
        }
    });
}

#[test]
fn marks_that_are_read_after_the_setting_or_the_membership_has_ended_are_not_shown() {
    run(async {
        let (channel, alice, bob) = ids();
        for is_removed in [false, true] {
            let world = world(true);
            let hooked = world.store.through(Before::new(Call::ReadMarks, || {
                let mut state = world.store.state();
                if is_removed {
                    state.members.clear();
                } else {
                    state.channels.values_mut().for_each(|channel| channel.read_receipts = false);
                }
            }));
            let (sockets, clock) = (&world, &world.clock);
            let membership = Membership { channels: &hooked, connections: &hooked, sockets, clock };
            let found = membership.get(&channel, &bob, &alice).await;
            assert!(hooked.hook().is_done());
            match found {
                Ok(found) => assert_eq!((found.read_seq, is_removed), (None, false)),
                Err(refused) => assert!(is_removed && matches!(refused, ChatError::ChannelNotFound), "{refused:?}"),
            }
        }
    });
}
