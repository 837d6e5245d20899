//! Entries of the audit log: one for each change of a channel, a membership or a role, and none for a refused one.

use super::*;
use crate::{
    app::{
        audit::testing::Audit,
        channels::{Changes, ChosenChannelIds, CreationRules, NewChannel},
    },
    model::{audit::AuditAction, channel::AgentSettings},
    testing::OpenSockets,
};

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_change_has_one_entry_and_a_refused_one_has_none() {
    let (store, sockets, clock) = (TestStore::seeded(1, 0), OpenSockets::default(), PausedClock::new(1));
    let deadline = clock.now().plus(Duration::from_hours(1));
    let members = Membership {
        channels: &store,
        connections: &store,
        sockets: &sockets,
        fan_out: &sockets,
        clock: &clock,
        deadline,
    };
    let audit = Audit::default();
    let _recording = audit.begin();
    let channel: ChannelId = CHANNEL.parse().unwrap();
    let new = NewChannel {
        channel_id: Some(channel.clone()),
        name: "secret".to_owned(),
        visibility: Visibility::Private,
        agent: AgentSettings::default(),
        read_receipts: false,
        retention_days: None,
    };
    let rules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 9 };
    members.create_channel(&user("alice"), new, None, rules).await.unwrap();
    let taken = audit.take();
    assert!(matches!(&taken[..], [(actor, AuditAction::ChannelCreated { .. })] if actor == "alice"), "{taken:?}");
    assert!(!format!("{taken:?}").contains("secret"));

    let (alice, bob) = (user("alice"), user("bob"));
    members.add(&channel, &alice, &bob, None, Addition::Outright).await.unwrap();
    members.add(&channel, &alice, &bob, Some(MemberRole::Moderator), Addition::Outright).await.unwrap();
    members.add(&channel, &alice, &bob, Some(MemberRole::Moderator), Addition::Outright).await.unwrap();
    members.add(&channel, &bob, &user("carol"), None, Addition::Invite).await.unwrap();
    members.add(&channel, &user("carol"), &user("carol"), None, Addition::Outright).await.unwrap();
    members.add(&channel, &bob, &user("dave"), None, Addition::Invite).await.unwrap();
    members.remove(&channel, &bob, &user("dave")).await.unwrap();
    members.remove(&channel, &bob, &user("carol")).await.unwrap();
    members.remove(&channel, &bob, &user("carol")).await.unwrap_err();
    members.remove(&channel, &bob, &alice).await.unwrap_err();
    let (member, moderator) = (MemberRole::Member, MemberRole::Moderator);
    let expected = [
        ("alice", AuditAction::MemberAdded { user_id: bob.clone(), role: member }),
        ("alice", AuditAction::RoleChanged { user_id: bob.clone(), from: member, to: moderator }),
        ("bob", AuditAction::MemberInvited { user_id: user("carol"), role: member }),
        ("carol", AuditAction::MemberAdded { user_id: user("carol"), role: member }),
        ("bob", AuditAction::MemberInvited { user_id: user("dave"), role: member }),
        ("bob", AuditAction::InvitationEnded { user_id: user("dave") }),
        ("bob", AuditAction::MemberRemoved { user_id: user("carol"), role: member }),
    ];
    assert_eq!(audit.take(), expected.map(|(actor, action)| (actor.to_owned(), action)));

    let changes = Changes { visibility: Some(Visibility::Public), ..Changes::default() };
    members.change_channel(&channel, &alice, None, &changes).await.unwrap();
    members.change_channel(&channel, &alice, None, &changes).await.unwrap();
    members.change_channel(&channel, &bob, None, &changes).await.unwrap_err();
    members.delete_channel(&channel, &bob, None).await.unwrap_err();
    members.delete_channel(&channel, &alice, None).await.unwrap();
    let expected = [
        ("alice", AuditAction::ChannelChanged { settings: vec!["visibility=public".to_owned()] }),
        ("alice", AuditAction::ChannelDeleted),
    ];
    assert_eq!(audit.take(), expected.map(|(actor, action)| (actor.to_owned(), action)));
}
