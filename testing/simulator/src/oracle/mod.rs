//! Invariants of every schedule: those of each instant, and those of the converged state.

mod converged;
mod drafts;
mod frames;
mod numbers;
mod permissions;
mod presence;
mod rates;
mod revisions;
mod versions;

use std::sync::LazyLock;

use chat::{
    memory::{Effect, State},
    model::{
        channel::{MemberRole, Visibility},
        id::UserId,
        incarnation::ChannelKey,
    },
};

use self::{converged::numbering, permissions::forbidden};
pub(crate) use self::{
    converged::{at_the_end, check_quiescent},
    drafts::{held, progressed, resumed, shown},
    frames::pushed,
    numbers::{delivered, without_first_numbers},
    presence::announces,
    versions::{Derived, outdated},
};
use crate::{
    tables::{End, EndCause, Notes},
    world::{CROWD, USERS, World, user},
};

static EVERYBODY: LazyLock<Vec<UserId>> = LazyLock::new(|| {
    let crowd = (0..CROWD).map(crowd_name);
    USERS.iter().map(|name| (*name).to_owned()).chain(crowd).map(|name| user(&name)).collect()
});

/// Returns the name of a user of the crowd.
pub(crate) fn crowd_name(number: u64) -> String {
    format!("crowd{number}")
}

/// Caller of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A user's request.
    User(UserId),
    /// The agent's worker.
    Agent,
    /// A function without a caller: delivery, maintenance.
    System,
}

/// Returns whether a user may see a channel.
fn may_see(state: &State, key: &ChannelKey, who: &UserId) -> bool {
    let Some(found) = state.channel(key) else { return false };
    found.visibility == Visibility::Public || state.member(key, who).is_some()
}

fn role(state: &State, key: &ChannelKey, who: &UserId) -> Option<MemberRole> {
    state.member(key, who).map(|member| member.role)
}

/// Returns whether the current memberships forbid a read by the caller.
pub(crate) fn is_misread(state: &State, caller: &Caller, key: &ChannelKey) -> bool {
    matches!(caller, Caller::User(who) if !may_see(state, key, who))
}

/// Checks that the caller may make a change, at the instant before it takes effect.
pub(crate) fn commits(world: &World, caller: &Caller, process: u64, state: &State, effect: &Effect) {
    world.tell(|| format!("{process} {}", tale(effect)));
    if let Some(wrong) = forbidden(state, caller, effect) {
        world.violation(format!("{caller:?}: {wrong}"));
    }
    let mut tables = world.tables();
    if let Effect::MessageAppended { item, .. } = effect {
        tables.notes.channels.insert(item.stored.message.message_id, item.stored.channel());
    }
    rates::note(&mut tables.notes, effect);
    if let Effect::ChannelDeleted { channel, .. } = effect {
        tables.violations.extend(numbering(state, &channel.key()));
    }
    let lost = revisions::lost(&tables.notes, process, effect).or_else(|| revisions::misnumbered(state, effect));
    tables.violations.extend(lost);
    let misnumbered = numbers::note(&mut tables.notes, effect);
    let not_said = drafts::note(world, &mut tables.notes, effect);
    tables.violations.extend(misnumbered.into_iter().chain(not_said));
    versions::note(&mut tables.notes, effect);
    note_ends(&mut tables.notes, process, state, effect);
    drop(tables);
    match effect {
        // Raised before the process may die.
        Effect::MessageAppended { .. } | Effect::MessageRevised { .. } | Effect::ReactionChanged { .. } => {
            world.appended.raise();
        }
        Effect::ChannelDeleted { .. } | Effect::ChannelUpdated { .. } | Effect::MemberRemoved { .. } => {
            world.ended.raise();
        }
        _ => {}
    }
}

fn tale(effect: &Effect) -> String {
    match effect {
        Effect::ChannelCreated { channel, owner, .. } => {
            format!("creates {} {:?} for {}", channel.key(), channel.visibility, owner.user_id)
        }
        Effect::ChannelUpdated { changed, .. } => {
            format!("makes {} {:?}, archived: {}", changed.key(), changed.visibility, changed.archived_at.is_some())
        }
        Effect::ChannelDeleted { channel, .. } => format!("deletes {}", channel.key()),
        Effect::MemberAdded { channel, member, .. } => {
            format!("adds {} to {channel} as {:?}", member.user_id, member.role)
        }
        Effect::RoleChanged { channel, member, role } => format!("makes {} {role:?} of {channel}", member.user_id),
        Effect::MemberRemoved { channel, member, .. } => format!("removes {} from {channel}", member.user_id),
        Effect::MessageAppended { item, .. } => {
            let message = &item.stored.message;
            format!("appends {} to {}: {}", message.seq, item.stored.channel(), message.content)
        }
        other => format!("{other:?}").chars().take(120).collect(),
    }
}

/// Records the users whose right to see a channel ends or begins with a change.
fn note_ends(notes: &mut Notes, process: u64, state: &State, effect: &Effect) {
    let (key, cause) = match effect {
        Effect::ChannelDeleted { channel, .. } => (channel.key(), EndCause::Deleted),
        Effect::MemberRemoved { channel, member, .. } => (channel.clone(), EndCause::Removed(member.user_id.clone())),
        Effect::ChannelUpdated { before, changed, .. } if before.visibility != changed.visibility => {
            if changed.visibility == Visibility::Public {
                let key = changed.key();
                notes.shut_out.retain(|(of, _), _| *of != key);
                return;
            }
            (changed.key(), EndCause::MadePrivate)
        }
        Effect::MemberAdded { channel, member, .. } => {
            notes.shut_out.remove(&(channel.clone(), member.user_id.clone()));
            return;
        }
        _ => return,
    };
    let is_public = state.channel(&key).is_some_and(|found| found.visibility == Visibility::Public);
    let number = notes.ends.len();
    for who in EVERYBODY.iter() {
        let is_meant = match &cause {
            EndCause::Deleted => true,
            EndCause::MadePrivate => state.member(&key, who).is_none(),
            EndCause::Removed(removed) => who == removed && !is_public,
        };
        let place = (key.clone(), who.clone());
        // The end does not apply to a user who could never see the channel.
        if is_meant && (may_see(state, &key, who) || notes.shut_out.contains_key(&place)) {
            notes.shut_out.entry(place).or_default().push(number);
        }
    }
    notes.ends.push(End { channel: key, cause, by: process, answered: false });
}

/// Records that a request of `process` got its response. It covers the ends that the request made, and those found by
/// it among the first `before` ends.
pub(crate) fn answered(world: &World, process: u64, before: usize, found: impl Fn(&End) -> bool) {
    let mut tables = world.tables();
    for (number, end) in tables.notes.ends.iter_mut().enumerate() {
        if end.by == process || (number < before && found(end)) {
            end.answered = true;
        }
    }
}

/// Returns the number of ends so far.
pub(crate) fn ends(world: &World) -> usize {
    world.tables().notes.ends.len()
}
