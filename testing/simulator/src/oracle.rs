//! Invariants of every schedule: those of each instant, and those of the converged state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use chat::{
    memory::{Effect, State},
    model::{
        channel::{Member, MemberRole, Visibility},
        id::{ChannelId, MessageId, UserId},
        incarnation::ChannelKey,
        message::{Message, Role},
        time::Timestamp,
    },
};

use crate::{
    tables::{Accepted, End, EndCause, Notes, Tables},
    world::{CROWD, LOUNGE, PUBLIC, USERS, World, channel, user},
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
    if let Effect::ChannelDeleted { channel, .. } = effect {
        tables.violations.extend(numbering(state, &channel.key()));
    }
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

/// Returns why the memberships before a change forbid it, or `None`.
fn forbidden(state: &State, caller: &Caller, effect: &Effect) -> Option<String> {
    let wrong = |what: String| Some(what);
    match effect {
        Effect::ChannelCreated { channel, owner, .. } => {
            let is_own = *caller == Caller::User(owner.user_id.clone());
            let is_taken = state.channels.contains_key(&channel.channel_id);
            if is_own && !is_taken {
                None
            } else {
                wrong(format!("{} is created for {}", channel.key(), owner.user_id))
            }
        }
        Effect::ChannelUpdated { before, .. } | Effect::ChannelDeleted { channel: before, .. } => {
            let key = before.key();
            let is_owner = matches!(caller, Caller::User(who) if role(state, &key, who) == Some(MemberRole::Owner));
            if is_owner && state.channel(&key).is_some() { None } else { wrong(format!("{key} is changed or deleted")) }
        }
        Effect::MemberAdded { channel, member, .. } => {
            let may = matches!(caller, Caller::User(who) if may_add(state, channel, who, member));
            if may { None } else { wrong(format!("{} is added to {channel}", member.user_id)) }
        }
        Effect::Invited { invitation } => {
            let (channel, invited) = (invitation.channel(), &invitation.user_id);
            let Caller::User(who) = caller else { return wrong("a user is invited".to_owned()) };
            let is_open = state.channel(&channel).is_some_and(|found| found.archived_at.is_none());
            let may = role(state, &channel, who) >= Some(offering(invitation.role));
            let is_member = state.member(&channel, invited).is_some();
            if is_open && may && !is_member { None } else { wrong(format!("{invited} is invited to {channel}")) }
        }
        Effect::InvitationWithdrawn { invitation } => {
            let (channel, invited) = (invitation.channel(), &invitation.user_id);
            let Caller::User(who) = caller else { return wrong("an invitation is withdrawn".to_owned()) };
            let may = who == invited || role(state, &channel, who) >= Some(MemberRole::Moderator);
            if may { None } else { wrong(format!("the invitation of {invited} to {channel} is withdrawn")) }
        }
        Effect::RoleChanged { channel, member, role: to } => {
            let Caller::User(who) = caller else { return wrong("a role is changed".to_owned()) };
            let is_open = state.channel(channel).is_some_and(|found| found.archived_at.is_none());
            let current = role(state, channel, &member.user_id);
            let steps_down = *who == member.user_id && current > Some(*to);
            let may = is_open && (steps_down || role(state, channel, who) == Some(MemberRole::Owner));
            if !may || current.is_none() {
                return wrong(format!("{} becomes {to:?} of {channel}", member.user_id));
            }
            last_owner(state, channel, &member.user_id, Some(*to))
        }
        Effect::MemberRemoved { channel, member, .. } => {
            let Caller::User(who) = caller else { return wrong("a member is removed".to_owned()) };
            let Some(current) = role(state, channel, &member.user_id) else {
                return wrong(format!("{} is removed from {channel}, and is no member", member.user_id));
            };
            let may = *who == member.user_id || role(state, channel, who) >= Some(current.max(MemberRole::Moderator));
            if !may || state.channel(channel).is_none() {
                return wrong(format!("{} is removed from {channel}", member.user_id));
            }
            last_owner(state, channel, &member.user_id, None)
        }
        // A read mark in a deleted channel that is not removed yet has no effect.
        Effect::ReadMarked { channel, user, .. } => {
            let is_own = *caller == Caller::User(user.clone());
            let may = is_own && state.member(channel, user).is_some();
            if may { None } else { wrong(format!("{user} keeps a read mark in {channel}")) }
        }
        Effect::MessageAppended { item, .. } => {
            let (key, message) = (item.stored.channel(), &item.stored.message);
            let is_open = state.channel(&key).is_some_and(|found| found.archived_at.is_none());
            let question = message.reply_to.and_then(|seq| state.message(&key, seq));
            let may = match caller {
                Caller::User(who) => {
                    message.role == Role::User && message.sender_id == *who && may_see(state, &key, who)
                }
                Caller::Agent => message.role != Role::User && question.is_some(),
                Caller::System => false,
            };
            if is_open && may { None } else { wrong(format!("a message is appended to {key}")) }
        }
        Effect::MessageRevised { before, .. } => {
            revision(state, caller, &before.stored.channel(), &before.stored.message, "revised")
        }
        Effect::ReplyCancelled { question } => {
            let found = state.message(&question.channel, question.seq);
            match found {
                Some(item) => revision(state, caller, &question.channel, &item.stored.message, "cancelled"),
                None => wrong(format!("a reply in {} is stopped", question.channel)),
            }
        }
        Effect::ReactionChanged { user, after } => {
            let key = after.stored.channel();
            let is_open = state.channel(&key).is_some_and(|found| found.archived_at.is_none());
            let may = *caller == Caller::User(user.clone()) && is_open && may_see(state, &key, user);
            if may { None } else { wrong(format!("{user} reacts in {key}")) }
        }
        Effect::LeaseAcquired { .. } | Effect::LeaseRenewed { .. } => None,
    }
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
    let is_open = state.channel(key).is_some_and(|found| found.archived_at.is_none());
    let may = matches!(caller, Caller::User(who) if {
        let is_author = message.role == Role::User && message.sender_id == *who;
        (is_author && may_see(state, key, who)) || role(state, key, who) >= Some(MemberRole::Moderator)
    });
    (!is_open || !may).then(|| format!("message {} of {key} is {how}", message.seq))
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

/// Checks that the user may see a frame that reaches their socket.
pub(crate) fn pushed(state: &State, tables: &mut Tables, who: &UserId, frame: &str) {
    let known = tables.notes.last_frame.take().filter(|(text, _)| text == frame);
    let keys = match known {
        Some((_, keys)) => keys,
        None => match keys_of(&tables.notes, frame) {
            Ok(keys) => keys,
            Err(what) => return tables.violations.push(format!("{what} was pushed to {who}")),
        },
    };
    for key in &keys {
        if may_see(state, key, who) {
            continue;
        }
        match tables.notes.shut_out.get(&(key.clone(), who.clone())) {
            None => tables.violations.push(format!("{who} got a frame of {key}, and never might see it")),
            Some(ends) => {
                if let Some(end) = ends.iter().map(|end| &tables.notes.ends[*end]).find(|end| end.answered) {
                    let what = format!("{who} got a frame of {key} after it was answered: {:?}", end.cause);
                    tables.violations.push(what);
                }
            }
        }
    }
    tables.notes.last_frame = Some((frame.to_owned(), keys));
}

/// Returns the channels whose messages or drafts a frame holds.
fn keys_of(notes: &Notes, frame: &str) -> Result<Vec<ChannelKey>, String> {
    let frame: serde_json::Value = serde_json::from_str(frame).map_err(|_| "no JSON".to_owned())?;
    let id = frame["channel_id"].as_str().ok_or("a frame of no channel")?;
    let keys: Option<BTreeSet<ChannelKey>> = match frame["events"].as_array() {
        Some(events) => events
            .iter()
            .map(|event| {
                let id = event["message"]["message_id"].as_str()?;
                notes.channels.get(&MessageId::try_from(id.to_owned()).ok()?).cloned()
            })
            .collect(),
        None => frame["draft_id"].as_str().and_then(|id| Some(BTreeSet::from([notes.drafts.get(id)?.clone()]))),
    };
    let keys = keys.ok_or("a frame of unknown messages")?;
    if keys.iter().any(|key| key.channel_id.as_str() != id) {
        return Err(format!("a frame of {id} with messages of another channel"));
    }
    Ok(keys.into_iter().collect())
}

/// Checks the state after the faults, when no task has anything left to do.
pub(crate) fn check_quiescent(world: &World) {
    check(world, false);
}

/// Checks the state after one more message in each channel.
pub(crate) fn at_the_end(world: &World) {
    check(world, true);
}

fn check(world: &World, is_end: bool) {
    let state = world.store.state();
    let mut tables = world.tables();
    let mut found = histories(&state);
    found.extend(accepted(&state, &tables.notes.accepted));
    found.extend(replies(&state, &tables.notes));
    found.extend(remains(&state));
    found.extend(subscriptions(&state, &tables, Timestamp::from_millis(world.time.now())));
    found.extend(clients(&state, &tables, is_end));
    tables.violations.extend(found);
}

/// Checks that messages are numbered 1, 2, 3 … without a gap, and that each message of a sender is stored once.
fn histories(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    for live in state.channels.values() {
        let key = live.key();
        found.extend(numbering(state, &key));
        let mut seen = BTreeSet::new();
        for item in state.messages.get(&key).into_iter().flat_map(BTreeMap::values) {
            let Message { sender_id, content, reply_to, deleted_at, .. } = &item.stored.message;
            if deleted_at.is_none() && !seen.insert((sender_id, content, reply_to)) {
                found.push(format!("{key} has a message of {sender_id} twice: {content}"));
            }
        }
    }
    found
}

fn numbering(state: &State, key: &ChannelKey) -> Option<String> {
    let numbers: Vec<u64> = state.messages.get(key).into_iter().flat_map(BTreeMap::keys).copied().collect();
    let last_seq = state.channel(key)?.last_seq;
    let wanted: Vec<u64> = (1..=last_seq).collect();
    (numbers != wanted).then(|| format!("{key} is numbered {numbers:?}, up to {last_seq}"))
}

/// Checks that an accepted message is stored as long as its channel exists.
fn accepted(state: &State, accepted: &[Accepted]) -> Vec<String> {
    let mut found = Vec::new();
    for Accepted { channel, seq, message_id, user, text } in accepted {
        let is_there = |message: &Message| {
            let is_same = message.message_id == *message_id && message.sender_id == *user;
            let is_changed = message.edited_at.is_some() || message.deleted_at.is_some();
            is_same && (is_changed || message.content == *text)
        };
        let item = state.message(channel, *seq);
        if state.channel(channel).is_some() && !item.is_some_and(|item| is_there(&item.stored.message)) {
            found.push(format!("{text} of {user} was accepted as {seq} of {channel}, and is not stored"));
        }
    }
    found
}

/// Checks that each message gets one reply, with no more model calls than the faults made necessary.
fn replies(state: &State, notes: &Notes) -> Vec<String> {
    let mut found = Vec::new();
    for live in state.channels.values() {
        let key = live.key();
        let all = state.messages.get(&key).into_iter().flat_map(BTreeMap::values);
        let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
        let (questions, answers): (Vec<&Message>, Vec<&Message>) =
            all.map(|item| &item.stored.message).partition(|message| message.role == Role::User);
        for answer in answers {
            *ends.entry(answer.reply_to.unwrap_or_default()).or_default() += 1;
        }
        for question in questions {
            let count = ends.remove(&question.seq).unwrap_or_default();
            // In the lounge, a message may be edited, or the agent may be too late.
            if count > 1 || (count == 0 && live.channel_id.as_str() == PUBLIC) {
                found.push(format!("message {} of {key} has {count} replies", question.seq));
            }
        }
        if !ends.is_empty() {
            found.push(format!("replies to nothing: {ends:?}"));
        }
    }
    for (question, calls) in &notes.calls {
        let allowed = 1 + notes.disturbances.get(question).copied().unwrap_or_default();
        if *calls > allowed {
            found.push(format!("{calls} calls of the model for message {}, of {allowed} that were needed", question.1));
        }
    }
    found
}

/// Checks that all ends are carried out and that deleted channels leave no items, except leases of late workers: those
/// expire.
fn remains(state: &State) -> Vec<String> {
    let mut found: Vec<String> = state
        .pending
        .values()
        .map(|pending| format!("a pending end remains: {:?} of {}", pending.cause, pending.channel))
        .collect();
    let tables = [
        ("messages", state.messages.keys().collect::<Vec<_>>()),
        ("members", state.members.keys().collect()),
        ("records", state.records.keys().collect()),
        ("creations", state.creations.keys().collect()),
        ("listed", state.listed.values().flat_map(BTreeMap::keys).collect()),
        ("invitations", state.invitations.keys().collect()),
        ("public", state.public.values().collect()),
    ];
    for (table, keys) in tables {
        for key in keys.into_iter().filter(|key| state.channel(key).is_none()) {
            found.push(format!("{table} of {key} remain"));
        }
    }
    found
}

/// Checks that no open socket has a subscription that its user may not have. A subscription to a deleted channel may
/// have been created while its members were still listed: the gate refuses it.
fn subscriptions(state: &State, tables: &Tables, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    for (key, all) in &state.subscriptions {
        for one in all.values() {
            if tables.sockets.get(&one.connection_id).is_none_or(|socket| !socket.open) {
                continue;
            }
            let is_member = state.member(key, &one.user_id).is_some();
            let may = match state.channel(key) {
                None => state.gate(key, now).closed,
                Some(live) => is_member || (live.visibility == Visibility::Public && !one.member),
            };
            if !may {
                found.push(format!("{} of {} is subscribed to {key}", one.connection_id, one.user_id));
            }
        }
    }
    found
}

/// Checks that each open client shows the history of its channels.
fn clients(state: &State, tables: &Tables, is_end: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, view) in &tables.notes.clients {
        let (Some(who), Some(connection)) = (&view.user, &view.connection) else { continue };
        // A connection whose pushes were dropped lacks the last messages until another one follows.
        if !is_end && tables.notes.given_up.contains(connection) {
            continue;
        }
        for live in state.channels.values() {
            let (id, key) = (&live.channel_id, live.key());
            let is_lounge = *id == channel(LOUNGE);
            let is_shown = if view.follows { state.member(&key, who).is_some() } else { view.shown.contains_key(id) };
            // The last message reveals a gap that the client cannot know of before.
            let must_know = is_end || (view.since_open.contains(&key) && !is_lounge);
            let is_silent = is_lounge && live.archived_at.is_some();
            if !is_shown || !may_see(state, &key, who) || !must_know || is_silent {
                continue;
            }
            let shown = view.shown.get(id).map(Vec::as_slice).unwrap_or_default();
            let history = state.messages.get(&key).into_iter().flat_map(BTreeMap::values);
            let wanted: Vec<(u64, String)> =
                history.map(|item| (item.stored.message.seq, item.stored.message.message_id.to_string())).collect();
            if shown != wanted {
                found.push(lacks(name, id, shown, &wanted));
            }
        }
    }
    found
}

fn lacks(name: &str, id: &ChannelId, shown: &[(u64, String)], wanted: &[(u64, String)]) -> String {
    let numbers: Vec<u64> = shown.iter().map(|(seq, _)| *seq).collect();
    let strange = shown.iter().filter(|one| !wanted.contains(one)).count();
    format!("{name} shows {numbers:?} of the {} messages of {id}, {strange} of another channel", wanted.len())
}
