//! Tests that every change checks its authority in its transaction. If a part of the authority is not as it was read,
//! the change is refused and nothing is written.

use chat::{
    model::{invitation::Invitation, message_ref::MessageRef, reaction::Toggle},
    ports::{
        invitation_store::{InvitationStore, Invited},
        message_store::ReactionResult,
        reply_leases::{CancelResult, LeaseOwner, MessageKey, ReplyLeases},
    },
};

use super::*;

/// A change by a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Rename,
    Archive,
    Hide,
    Delete,
    AddMember,
    AddOwner,
    Invite,
    TakeInvitationBack,
    Promote,
    MakeOwner,
    DemoteOwner,
    DemoteSelf,
    RemoveMember,
    RemoveOwner,
    RemoveSelf,
    Revise,
    React,
    TakeBack,
    Cancel,
}

impl Change {
    const ALL: [Self; 19] = [
        Self::Rename,
        Self::Archive,
        Self::Hide,
        Self::Delete,
        Self::AddMember,
        Self::AddOwner,
        Self::Invite,
        Self::TakeInvitationBack,
        Self::Promote,
        Self::MakeOwner,
        Self::DemoteOwner,
        Self::DemoteSelf,
        Self::RemoveMember,
        Self::RemoveOwner,
        Self::RemoveSelf,
        Self::Revise,
        Self::React,
        Self::TakeBack,
        Self::Cancel,
    ];

    /// The changes that every user may do who can read a public channel.
    const OF_READERS: [Self; 5] = [Self::AddMember, Self::Revise, Self::React, Self::TakeBack, Self::Cancel];

    fn needs_the_version(self) -> bool {
        matches!(self, Self::Rename | Self::Archive | Self::Hide | Self::Delete)
    }

    /// Returns the member that the change concerns, if it is not the caller.
    fn target(self) -> Option<(&'static str, MemberRole)> {
        match self {
            Self::Promote | Self::MakeOwner | Self::RemoveMember => Some(("bob", MemberRole::Member)),
            Self::DemoteOwner | Self::RemoveOwner => Some(("dave", MemberRole::Owner)),
            _ => None,
        }
    }
}

/// An event between the reading of an authority and the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    CallerDemoted,
    CallerRemoved,
    CallerCameBack,
    VisibilityChanged,
    Archived,
    Deleted,
    TakenAnew,
    Renamed,
    OthersChanged,
    TargetDemoted,
    TargetRemoved,
    TargetCameBack,
}

/// Creates a channel of bob and the owners alice, dave and olga, with an invitation, and a message with a reaction of
/// alice and a reply that is being written.
async fn channel(tables: &Tables, id: &str, visibility: Visibility) -> Channel {
    let channel = tables.channel(id, visibility).await;
    fill(tables, &channel).await;
    channel
}

/// Creates everything except the channel and alice's membership.
async fn fill(tables: &Tables, channel: &Channel) {
    let id = channel.channel_id.as_str();
    for (user, role) in [("olga", MemberRole::Owner), ("dave", MemberRole::Owner), ("bob", MemberRole::Member)] {
        tables.join(channel, &member(id, user, role)).await;
    }
    let olga = member(id, "olga", MemberRole::Owner);
    let invited = tables.channels().invite(&with(channel, &olga), &invitation(channel, "ina"), MANY).await.unwrap();
    assert_eq!(invited, Invited::Done);
    let head = ChannelHead { incarnation: channel.incarnation, ..head(id, 0, channel.visibility) };
    let message = StoredMessage { incarnation: channel.incarnation, ..stored(id, 1) };
    assert_eq!(tables.messages().append(unkeyed(&head, &message)).await.unwrap(), AppendResult::Stored);
    let (number, thumb) = (tables.next_number(id).await, "👍".parse().unwrap());
    let reacted = tables.messages().react(&reader(channel), &revision(id), &thumb, Toggle::Add, number, NOW).await;
    assert_eq!(reacted.unwrap(), ReactionResult::Done);
    let question = MessageKey { channel: channel.key(), seq: Seq::FIRST };
    tables.channels().acquire(&question, LeaseOwner::new(1), LATER, NOW).await.unwrap();
}

/// Returns an invitation by olga.
fn invitation(channel: &Channel, id: &str) -> Invitation {
    Invitation {
        channel_id: channel.channel_id.clone(),
        channel_incarnation: channel.incarnation,
        user_id: user(id),
        incarnation: life(5),
        role: MemberRole::Member,
        invited_by: user("olga"),
        invited_at: NOW,
        expires_at: LATER,
    }
}

fn revision(channel: &str) -> MessageRef {
    MessageRef { channel_id: channel_id(channel), seq: Seq::FIRST, caller: user("alice"), trace: None }
}

/// Makes an event happen. Its actor is olga.
async fn happen(tables: &Tables, event: Event, channel: &Channel, target: (&str, MemberRole)) {
    let (id, channels) = (channel.channel_id.as_str(), tables.channels());
    let olga = member(id, "olga", MemberRole::Owner);
    let by = with(channel, &olga);
    let change_role = async |of: Member, role| {
        assert_eq!(channels.change_role(&by, &of, role).await.unwrap(), MemberChanged::Done);
    };
    let remove = async |of: &Member| {
        assert_eq!(channels.remove_member(&by, of, &removal(of), NOW).await.unwrap(), MemberChanged::Done);
    };
    // The same membership with another incarnation.
    let come_back = async |of: Member| {
        remove(&of).await;
        let again = Member { incarnation: life(3), ..of };
        assert_eq!(channels.add_member(&by, &again, Seq::ZERO).await.unwrap(), MemberAdded::Added);
    };
    let delete = async || {
        let end = pending(8, channel.key(), EndCause::ChannelDeleted);
        assert!(channels.delete(&by, &end, NOW).await.unwrap());
    };
    let alice = member(id, "alice", MemberRole::Owner);
    let target = member(id, target.0, target.1);
    let other = match channel.visibility {
        Visibility::Public => Visibility::Private,
        Visibility::Private => Visibility::Public,
    };
    match event {
        Event::Nothing => {}
        Event::CallerDemoted => change_role(alice, MemberRole::Moderator).await,
        Event::CallerRemoved => remove(&alice).await,
        Event::CallerCameBack => come_back(alice).await,
        Event::VisibilityChanged => {
            drop(tables.change(channel, Channel { visibility: other, ..channel.clone() }).await);
        }
        Event::Archived => drop(tables.change(channel, Channel { archived_at: Some(NOW), ..channel.clone() }).await),
        Event::Renamed => drop(tables.change(channel, Channel { name: "renamed".into(), ..channel.clone() }).await),
        Event::Deleted => delete().await,
        Event::TakenAnew => {
            delete().await;
            // The same channel with another incarnation.
            let next = Channel { incarnation: life(2), last_seq: Seq::ZERO, last_message_at: None, ..channel.clone() };
            assert_eq!(channels.create(&next, &alice, None, MANY).await.unwrap(), ChannelCreated::Done);
            fill(tables, &next).await;
        }
        Event::OthersChanged => change_role(olga.clone(), MemberRole::Moderator).await,
        Event::TargetDemoted => change_role(target, MemberRole::Moderator).await,
        Event::TargetRemoved => remove(&target).await,
        Event::TargetCameBack => come_back(target).await,
    }
}

/// Attempts a change. Returns `false` if its authority is not as it was read.
async fn attempt(tables: &Tables, change: Change, by: &Authority<'_>) -> bool {
    let channels = tables.channels();
    let (channel, id) = (by.channel, by.channel.channel_id.as_str());
    let update = async |changed: Channel, pending: Option<&PendingEnd>| {
        let changed = Channel { version: channel.version + 1, ..changed };
        channels.update(by, &changed, pending, NOW).await.unwrap()
    };
    let add = async |role| match channels.add_member(by, &member(id, "carol", role), Seq::ZERO).await.unwrap() {
        MemberAdded::Added => true,
        MemberAdded::Stale => false,
        MemberAdded::Already(other) => panic!("{other:?} is a member already"),
    };
    let is_done = |outcome: MemberChanged| match outcome {
        MemberChanged::Done => true,
        MemberChanged::Stale => false,
        MemberChanged::LastOwner => panic!("there are other owners"),
    };
    let change_role =
        async |name, from, to| is_done(channels.change_role(by, &member(id, name, from), to).await.unwrap());
    let remove = async |name, role| {
        let member = member(id, name, role);
        is_done(channels.remove_member(by, &member, &removal(&member), NOW).await.unwrap())
    };
    let (member, moderator, owner) = (MemberRole::Member, MemberRole::Moderator, MemberRole::Owner);
    match change {
        Change::Rename => update(Channel { name: "new".into(), ..channel.clone() }, None).await,
        Change::Archive => update(Channel { archived_at: Some(LATER), ..channel.clone() }, None).await,
        Change::Hide => {
            let end = pending(9, channel.key(), EndCause::MadePrivate);
            update(Channel { visibility: Visibility::Private, ..channel.clone() }, Some(&end)).await
        }
        Change::Delete => channels.delete(by, &pending(9, channel.key(), EndCause::ChannelDeleted), NOW).await.unwrap(),
        Change::AddMember => add(member).await,
        Change::AddOwner => add(owner).await,
        Change::Invite => match channels.invite(by, &invitation(channel, "carol"), MANY).await.unwrap() {
            Invited::Done => true,
            Invited::Stale => false,
            other => panic!("{other:?}"),
        },
        Change::TakeInvitationBack => {
            channels.withdraw_invitation(Some(by), &invitation(channel, "ina")).await.unwrap()
        }
        Change::Promote => change_role("bob", member, moderator).await,
        Change::MakeOwner => change_role("bob", member, owner).await,
        Change::DemoteOwner => change_role("dave", owner, member).await,
        Change::DemoteSelf => change_role("alice", owner, member).await,
        Change::RemoveMember => remove("bob", member).await,
        Change::RemoveOwner => remove("dave", owner).await,
        Change::RemoveSelf => remove("alice", owner).await,
        Change::Revise => revise(tables, by).await,
        Change::React => react(tables, by, "🎉", Toggle::Add).await,
        Change::TakeBack => react(tables, by, "👍", Toggle::Remove).await,
        Change::Cancel => {
            let question = MessageKey { channel: channel.key(), seq: Seq::FIRST };
            match channels.cancel(by, &question, NOW).await.unwrap() {
                CancelResult::Done => true,
                CancelResult::Stale => false,
                CancelResult::NoReply => panic!("the lease is held"),
            }
        }
    }
}

/// Attempts to replace the content of the message.
async fn revise(tables: &Tables, by: &Authority<'_>) -> bool {
    let id = by.channel.channel_id.as_str();
    // The version after the reaction.
    let message = Message { content: "better".into(), ..stored(id, 1).message.revised().revised() };
    let revised = StoredMessage { message, ..stored(id, 1) };
    match tables.messages().update_message(by, &revised, tables.next_number(id).await).await.unwrap() {
        UpdateResult::Done => true,
        UpdateResult::Stale => false,
        other => panic!("{other:?}"),
    }
}

/// Attempts to add a reaction to the message, or to remove it.
async fn react(tables: &Tables, by: &Authority<'_>, emoji: &str, toggle: Toggle) -> bool {
    let id = by.channel.channel_id.as_str();
    let number = tables.next_number(id).await;
    match tables.messages().react(by, &revision(id), &emoji.parse().unwrap(), toggle, number, NOW).await.unwrap() {
        ReactionResult::Done => true,
        ReactionResult::Stale => false,
        other => panic!("{other:?}"),
    }
}

/// Checks each of `changes` after `event`: whether it is allowed, and that nothing is written if it is not.
async fn each_after(
    event: Event,
    visibility: Visibility,
    is_member: bool,
    changes: &[Change],
    is_allowed: impl Fn(Change) -> bool,
) {
    let tables = Tables::new().await;
    for (number, change) in changes.iter().enumerate() {
        let id = format!("c{number}");
        let as_read = channel(&tables, &id, visibility).await;
        let alice = member(&id, "alice", MemberRole::Owner);
        happen(&tables, event, &as_read, change.target().unwrap_or(("bob", MemberRole::Member))).await;
        let before = tables.dump().await;
        let by = Authority { channel: &as_read, member: is_member.then_some(&alice) };
        let is_done = attempt(&tables, *change, &by).await;
        assert_eq!(is_done, is_allowed(*change), "{change:?} after {event:?}");
        assert_eq!(tables.dump().await != before, is_done, "{change:?} after {event:?}");
    }
}

#[tokio::test]
async fn what_is_as_it_was_read_allows_every_change() {
    for visibility in [Visibility::Public, Visibility::Private] {
        let changes = Change::ALL.map(|change| match (change, visibility) {
            // The channel is already private.
            (Change::Hide, Visibility::Private) => Change::Rename,
            _ => change,
        });
        each_after(Event::Nothing, visibility, true, &changes, |_| true).await;
    }
    each_after(Event::OthersChanged, Visibility::Public, true, &Change::ALL, |_| true).await;
    each_after(Event::Nothing, Visibility::Public, false, &Change::OF_READERS, |_| true).await;
}

#[tokio::test]
async fn a_caller_whose_role_has_changed_changes_nothing() {
    each_after(Event::CallerDemoted, Visibility::Public, true, &Change::ALL, |_| false).await;
}

#[tokio::test]
async fn a_caller_who_was_removed_changes_nothing() {
    each_after(Event::CallerRemoved, Visibility::Public, true, &Change::ALL, |_| false).await;
}

#[tokio::test]
async fn a_caller_who_came_back_in_the_same_role_changes_nothing_by_the_earlier_membership() {
    each_after(Event::CallerCameBack, Visibility::Public, true, &Change::ALL, |_| false).await;
}

#[tokio::test]
async fn a_channel_of_another_visibility_is_not_changed() {
    for visibility in [Visibility::Public, Visibility::Private] {
        each_after(Event::VisibilityChanged, visibility, true, &Change::ALL, |_| false).await;
    }
    each_after(Event::VisibilityChanged, Visibility::Public, false, &Change::OF_READERS, |_| false).await;
}

#[tokio::test]
async fn an_archived_channel_is_not_changed() {
    each_after(Event::Archived, Visibility::Public, true, &Change::ALL, |_| false).await;
    each_after(Event::Archived, Visibility::Public, false, &Change::OF_READERS, |_| false).await;
}

#[tokio::test]
async fn a_deleted_channel_is_not_changed() {
    each_after(Event::Deleted, Visibility::Public, true, &Change::ALL, |_| false).await;
    each_after(Event::Deleted, Visibility::Public, false, &Change::OF_READERS, |_| false).await;
}

#[tokio::test]
async fn a_channel_that_took_the_id_anew_is_not_changed() {
    each_after(Event::TakenAnew, Visibility::Public, true, &Change::ALL, |_| false).await;
    each_after(Event::TakenAnew, Visibility::Public, false, &Change::OF_READERS, |_| false).await;
}

#[tokio::test]
async fn settings_of_another_version_are_not_replaced_and_nothing_else_depends_on_them() {
    each_after(Event::Renamed, Visibility::Public, true, &Change::ALL, |change| !change.needs_the_version()).await;
}

#[tokio::test]
async fn a_member_who_is_not_as_read_is_not_changed() {
    let about_others: Vec<Change> = Change::ALL.into_iter().filter(|change| change.target().is_some()).collect();
    for event in [Event::TargetDemoted, Event::TargetRemoved, Event::TargetCameBack] {
        each_after(event, Visibility::Public, true, &about_others, |_| false).await;
    }
}

#[tokio::test]
async fn a_change_by_what_is_not_as_it_was_read_is_stale_and_not_of_the_last_owner() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("c", Visibility::Public).await;
    let alice = member("c", "alice", MemberRole::Owner);
    let leave = async |by: &Authority<'_>, member: &Member| {
        let demoted = channels.change_role(by, member, MemberRole::Member).await.unwrap();
        assert_eq!(channels.remove_member(by, member, &removal(member), NOW).await.unwrap(), demoted);
        demoted
    };
    let before = tables.dump().await;
    assert_eq!(leave(&with(&channel, &alice), &alice).await, MemberChanged::LastOwner);
    let other = Member { incarnation: life(3), ..alice.clone() };
    assert_eq!(leave(&with(&channel, &other), &other).await, MemberChanged::Stale);
    // The caller is the member, but both were read in different states.
    assert_eq!(leave(&with(&channel, &other), &alice).await, MemberChanged::Stale);
    let bob = member("c", "bob", MemberRole::Owner);
    assert_eq!(leave(&with(&channel, &bob), &alice).await, MemberChanged::Stale, "bob is not a member");
    let archived = Channel { archived_at: Some(NOW), ..channel.clone() };
    assert_eq!(leave(&with(&archived, &alice), &alice).await, MemberChanged::Stale);
    // A caller whose authority is a membership cannot be added as a member.
    assert_eq!(channels.add_member(&with(&channel, &bob), &bob, Seq::ZERO).await.unwrap(), MemberAdded::Stale);
    assert_eq!(tables.dump().await, before);
}

#[tokio::test]
async fn a_read_mark_is_kept_for_as_long_as_the_membership() {
    let tables = Tables::new().await;
    let channels = tables.channels();
    let channel = tables.channel("c", Visibility::Public).await;
    let bob = member("c", "bob", MemberRole::Member);
    tables.join(&channel, &bob).await;
    let mark = async |seq| channels.mark_read(&key("c"), &user("bob"), Seq::new(seq)).await.unwrap();
    assert_eq!(mark(3).await, Some(Seq::new(3)));
    let removed = channels.remove_member(&with(&channel, &bob), &bob, &removal(&bob), NOW).await.unwrap();
    assert_eq!(removed, MemberChanged::Done);
    let before = tables.dump().await;
    assert_eq!(mark(4).await, None);
    assert_eq!(tables.dump().await, before, "no membership is restored");
}
