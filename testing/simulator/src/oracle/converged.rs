//! Invariants of the converged state.

use std::collections::{BTreeMap, BTreeSet};

use chat::{
    memory::State,
    model::{
        channel::Visibility,
        id::ChannelId,
        incarnation::ChannelKey,
        message::{Message, Role},
        seq::Seq,
        thread::ThreadSummary,
        time::Timestamp,
    },
};

use super::{may_see, numbers, presence, rates, versions::differs};
use crate::{
    executor::lock,
    tables::{Accepted, ClientView, Notes, Tables},
    world::{LOUNGE, PUBLIC, World, channel},
};

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
    found.extend(threads(&state));
    found.extend(rates::exceeded(world, &tables.notes));
    found.extend(numbers::records(&state, &tables.notes));
    found.extend(remains(&state));
    found.extend(subscriptions(&state, &tables, Timestamp::from_millis(world.time.now())));
    found.extend(presence::shown(&state, &tables, Timestamp::from_millis(world.time.now())));
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

pub(super) fn numbering(state: &State, key: &ChannelKey) -> Option<String> {
    let numbers: Vec<u64> = state.messages.get(key).into_iter().flat_map(BTreeMap::keys).map(|seq| seq.get()).collect();
    let last_seq = state.channel(key)?.last_seq;
    let wanted: Vec<u64> = (1..=last_seq.get()).collect();
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
        let mut ends: BTreeMap<Seq, u32> = BTreeMap::new();
        let (questions, answers): (Vec<&Message>, Vec<&Message>) =
            all.map(|item| &item.stored.message).partition(|message| message.role == Role::User);
        for answer in answers {
            *ends.entry(answer.reply_to.unwrap_or_default()).or_default() += 1;
        }
        for question in questions {
            let count = ends.remove(&question.seq).unwrap_or_default();
            // A message may be deleted before its reply. In the lounge, the agent may be too late.
            let must_have_one = live.channel_id.as_str() == PUBLIC && question.deleted_at.is_none();
            if count > 1 || (count == 0 && must_have_one) {
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

/// Checks that each thread has a root, and that the summary of a root is that of its replies.
fn threads(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    for live in state.channels.values() {
        let key = live.key();
        let all = state.messages.get(&key).into_iter().flat_map(BTreeMap::values).map(|item| &item.stored.message);
        let mut summaries: BTreeMap<Seq, ThreadSummary> = BTreeMap::new();
        for reply in all.clone() {
            if let Some(root) = reply.thread_seq {
                let before = summaries.get(&root).copied();
                summaries.insert(root, ThreadSummary::after_reply(before, reply.seq, reply.created_at));
            }
        }
        for message in all {
            let wanted = summaries.remove(&message.seq);
            if message.thread != wanted {
                found.push(format!("message {} of {key} has {:?}, not {wanted:?}", message.seq, message.thread));
            }
            if wanted.is_some() && message.thread_seq.is_some() {
                found.push(format!("message {} of {key} is a root in a thread", message.seq));
            }
        }
        if !summaries.is_empty() {
            found.push(format!("threads of {key} without a root: {:?}", summaries.keys()));
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
            if tables.sockets.get(&one.connection.id).is_none_or(|socket| !socket.open) {
                continue;
            }
            let is_member = state.member(key, &one.user_id).is_some();
            let may = match state.channel(key) {
                None => state.gate(key, now).closed,
                Some(live) => is_member || (live.visibility == Visibility::Public && !one.member),
            };
            if !may {
                found.push(format!("{} of {} is subscribed to {key}", one.connection.id, one.user_id));
            }
        }
    }
    found
}

/// Checks that each open client shows the history of its channels, with all changes.
fn clients(state: &State, tables: &Tables, is_end: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, view) in &tables.notes.clients {
        let (Some(who), Some(connection)) = (&view.user, &view.connection) else { continue };
        // A connection whose pushes were dropped lacks the last messages until another one follows.
        if !is_end && tables.notes.failed.contains(connection) {
            continue;
        }
        for live in state.channels.values() {
            let (id, key) = (&live.channel_id, live.key());
            let is_lounge = *id == channel(LOUNGE);
            let is_shown = if view.follows { state.member(&key, who).is_some() } else { view.shown.contains_key(id) };
            // The last message reveals a gap that the client cannot know of before.
            let must_know = is_end || (view.since_open.contains(&key) && !is_lounge);
            let is_silent = is_lounge && live.archived_at.is_some();
            let is_unfollowed = view.follows && tables.notes.unfollowed.contains(&(key.clone(), who.clone()));
            if !is_shown || !may_see(state, &key, who) || !must_know || is_silent || is_unfollowed {
                continue;
            }
            let shown = view.shown.get(id).map(Vec::as_slice).unwrap_or_default();
            let history = state.messages.get(&key).into_iter().flat_map(BTreeMap::values);
            let wanted: Vec<(Seq, String)> =
                history.map(|item| (item.stored.message.seq, item.stored.message.message_id.to_string())).collect();
            if shown != wanted {
                found.push(lacks(name, id, shown, &wanted));
                continue;
            }
            // Late frames of an earlier lounge name it by its id.
            if !is_lounge {
                found.extend(drafts_left(name, state, &key, view));
            }
            let known = lock(&view.known);
            let history = state.messages.get(&key).into_iter().flat_map(BTreeMap::values);
            let wrong = history.filter_map(|item| differs(&known, &key, &item.stored.message));
            found.extend(wrong.map(|wrong| format!("{name} has {wrong}")));
        }
    }
    found
}

/// Returns the drafts that a client shows although it has their messages.
fn drafts_left(name: &str, state: &State, key: &ChannelKey, view: &ClientView) -> Vec<String> {
    let all = state.messages.get(key).into_iter().flat_map(BTreeMap::values).map(|item| &item.stored.message);
    let answered: BTreeSet<Seq> =
        all.filter(|message| message.role != Role::User).filter_map(|message| message.reply_to).collect();
    let left = view.drafts.iter().filter(|(of, question)| *of == key.channel_id && answered.contains(question));
    left.map(|(_, question)| format!("{name} shows a draft of the reply to {question} of {key}, which it has"))
        .collect()
}

fn lacks(name: &str, id: &ChannelId, shown: &[(Seq, String)], wanted: &[(Seq, String)]) -> String {
    let numbers: Vec<u64> = shown.iter().map(|(seq, _)| seq.get()).collect();
    let strange = shown.iter().filter(|one| !wanted.contains(one)).count();
    format!("{name} shows {numbers:?} of the {} messages of {id}, {strange} of another channel", wanted.len())
}
