//! Permissions: the changes that the memberships allow a caller.

use chat::{
    memory::{Effect, MessageItem, State},
    model::{
        channel::{AgentMode, Channel, Member, MemberRole, Visibility},
        id::UserId,
        incarnation::ChannelKey,
        invitation::Invitation,
        message::{Message, Role},
    },
};

use super::{Caller, may_see, role};

/// Returns why the memberships before a change forbid it, or `None`.
pub(super) fn forbidden(state: &State, caller: &Caller, effect: &Effect) -> Option<String> {
    match effect {
        Effect::ChannelCreated { channel, owner, .. } => creation(state, caller, channel, owner),
        Effect::ChannelUpdated { before, .. } | Effect::ChannelDeleted { channel: before, .. } => {
            let key = before.key();
            let is_owner = matches!(caller, Caller::User(who) if role(state, &key, who) == Some(MemberRole::Owner));
            unless(is_owner && state.channel(&key).is_some(), || format!("{key} is changed or deleted"))
        }
        Effect::MemberAdded { channel, member, .. } => {
            let may = matches!(caller, Caller::User(who) if may_add(state, channel, who, member));
            unless(may, || format!("{} is added to {channel}", member.user_id))
        }
        Effect::Invited { invitation } => offer(state, caller, invitation),
        Effect::InvitationWithdrawn { invitation } => withdrawal(state, caller, invitation),
        Effect::RoleChanged { channel, member, role } => role_change(state, caller, channel, member, *role),
        Effect::MemberRemoved { channel, member, .. } => removal(state, caller, channel, member),
        // A read mark in a deleted channel that is not removed yet has no effect.
        Effect::ReadMarked { channel, user, .. } => {
            let is_own = *caller == Caller::User(user.clone());
            let may = is_own && state.member(channel, user).is_some();
            unless(may, || format!("{user} keeps a read mark in {channel}"))
        }
        Effect::MessageAppended { item, .. } => append(state, caller, item),
        Effect::MessageRevised { before, .. } => {
            revision(state, caller, &before.stored.channel(), &before.stored.message, "revised")
        }
        Effect::ReplyCancelled { question } => match state.message(&question.channel, question.seq) {
            Some(item) => revision(state, caller, &question.channel, &item.stored.message, "cancelled"),
            None => Some(format!("a reply in {} is stopped", question.channel)),
        },
        Effect::ReactionChanged { user, after, .. } => {
            let key = after.stored.channel();
            let may = *caller == Caller::User(user.clone()) && is_open(state, &key) && may_see(state, &key, user);
            unless(may, || format!("{user} reacts in {key}"))
        }
        // Leases and drafts are the agent's own.
        _ => None,
    }
}

/// Returns the violation, unless the change is allowed.
fn unless(may: bool, wrong: impl FnOnce() -> String) -> Option<String> {
    (!may).then(wrong)
}

/// Returns whether a channel exists and is not archived.
fn is_open(state: &State, key: &ChannelKey) -> bool {
    state.channel(key).is_some_and(|found| found.archived_at.is_none())
}

fn creation(state: &State, caller: &Caller, channel: &Channel, owner: &Member) -> Option<String> {
    let is_own = *caller == Caller::User(owner.user_id.clone());
    let is_taken = state.channels.contains_key(&channel.channel_id);
    unless(is_own && !is_taken, || format!("{} is created for {}", channel.key(), owner.user_id))
}

fn offer(state: &State, caller: &Caller, invitation: &Invitation) -> Option<String> {
    let (channel, invited) = (invitation.channel(), &invitation.user_id);
    let Caller::User(who) = caller else { return Some("a user is invited".to_owned()) };
    let may = role(state, &channel, who) >= Some(offering(invitation.role));
    let is_member = state.member(&channel, invited).is_some();
    unless(is_open(state, &channel) && may && !is_member, || format!("{invited} is invited to {channel}"))
}

fn withdrawal(state: &State, caller: &Caller, invitation: &Invitation) -> Option<String> {
    let (channel, invited) = (invitation.channel(), &invitation.user_id);
    let Caller::User(who) = caller else { return Some("an invitation is withdrawn".to_owned()) };
    let may = who == invited || role(state, &channel, who) >= Some(MemberRole::Moderator);
    unless(may, || format!("the invitation of {invited} to {channel} is withdrawn"))
}

fn role_change(
    state: &State,
    caller: &Caller,
    channel: &ChannelKey,
    member: &Member,
    to: MemberRole,
) -> Option<String> {
    let Caller::User(who) = caller else { return Some("a role is changed".to_owned()) };
    let current = role(state, channel, &member.user_id);
    let steps_down = *who == member.user_id && current > Some(to);
    let may = is_open(state, channel) && (steps_down || role(state, channel, who) == Some(MemberRole::Owner));
    if !may || current.is_none() {
        return Some(format!("{} becomes {to:?} of {channel}", member.user_id));
    }
    last_owner(state, channel, &member.user_id, Some(to))
}

fn removal(state: &State, caller: &Caller, channel: &ChannelKey, member: &Member) -> Option<String> {
    let Caller::User(who) = caller else { return Some("a member is removed".to_owned()) };
    let Some(current) = role(state, channel, &member.user_id) else {
        return Some(format!("{} is removed from {channel}, and is no member", member.user_id));
    };
    let may = *who == member.user_id || role(state, channel, who) >= Some(current.max(MemberRole::Moderator));
    if !may || state.channel(channel).is_none() {
        return Some(format!("{} is removed from {channel}", member.user_id));
    }
    last_owner(state, channel, &member.user_id, None)
}

fn append(state: &State, caller: &Caller, item: &MessageItem) -> Option<String> {
    let (key, message) = (item.stored.channel(), &item.stored.message);
    let question = message.reply_to.and_then(|seq| state.message(&key, seq));
    let may = match caller {
        Caller::User(who) => message.role == Role::User && message.sender_id == *who && may_see(state, &key, who),
        Caller::Agent => {
            let is_there = question.is_some_and(|item| item.stored.message.deleted_at.is_none());
            let is_on = state.channel(&key).is_some_and(|channel| channel.agent.mode != AgentMode::Off);
            message.role != Role::User && is_there && is_on
        }
        Caller::System => false,
    };
    unless(is_open(state, &key) && may, || format!("a message is appended to {key}"))
}

fn may_add(state: &State, channel: &ChannelKey, who: &UserId, member: &Member) -> bool {
    let Some(found) = state.channel(channel) else { return false };
    let is_plain = member.role == MemberRole::Member;
    let is_own = *who == member.user_id;
    let may = match role(state, channel, who) {
        Some(MemberRole::Owner) => true,
        Some(MemberRole::Moderator) => is_plain,
        _ => is_own && is_plain && found.visibility == Visibility::Public,
    };
    let invited = state.invitations.get(channel).and_then(|all| all.get(&member.user_id));
    let accepts = is_own && invited.is_some_and(|invitation| invitation.role >= member.role);
    (may || accepts) && found.archived_at.is_none()
}

/// Returns the lowest role of a member that may offer `role`.
fn offering(role: MemberRole) -> MemberRole {
    if role == MemberRole::Member { MemberRole::Moderator } else { MemberRole::Owner }
}

fn revision(state: &State, caller: &Caller, key: &ChannelKey, message: &Message, how: &str) -> Option<String> {
    let may = matches!(caller, Caller::User(who) if {
        let is_author = message.role == Role::User && message.sender_id == *who;
        (is_author && may_see(state, key, who)) || role(state, key, who) >= Some(MemberRole::Moderator)
    });
    unless(is_open(state, key) && may, || format!("message {} of {key} is {how}", message.seq))
}

/// Checks that a channel always has an owner.
fn last_owner(state: &State, key: &ChannelKey, who: &UserId, to: Option<MemberRole>) -> Option<String> {
    let members = state.members.get(key).into_iter().flatten();
    let is_left = |(user, role): (&UserId, MemberRole)| {
        role == MemberRole::Owner && (user != who || to == Some(MemberRole::Owner))
    };
    let others = members.map(|(user, member)| (user, member.role)).filter(|one| is_left(*one)).count();
    (others == 0 && to != Some(MemberRole::Owner)).then(|| format!("{key} has no owner"))
}
