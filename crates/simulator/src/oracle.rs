//! What must hold of every schedule.

use std::collections::{BTreeMap, BTreeSet};

use chat::{
    id::{ChannelId, UserId},
    message::{Message, Role},
};

use crate::{
    tables::Tables,
    world::{PRIVATE, PUBLIC, World},
};

/// A frame has reached a user's socket: it must be the user's to see.
pub(crate) fn pushed(tables: &mut Tables, user: &UserId, frame: &str) {
    let Ok(frame) = serde_json::from_str::<serde_json::Value>(frame) else {
        return tables.violations.push(format!("no JSON was pushed to {user}"));
    };
    let Some(Ok(channel)) = frame["channel_id"].as_str().map(str::parse::<ChannelId>) else {
        return tables.violations.push(format!("a frame of no channel was pushed to {user}"));
    };
    let key = (channel, user.clone());
    if tables.notes.ended.contains(&key) {
        tables.violations.push(format!("{user} got a frame of {} after the membership had ended", key.0));
    }
    let outsider = key.0.as_str() == PRIVATE && matches!(user.as_str(), "carol" | "mallory");
    if outsider {
        tables.violations.push(format!("{user} got a frame of {}, and never was a member", key.0));
    }
}

/// After the mishaps, when nobody has anything to do.
pub(crate) fn at_rest(world: &World) {
    check(world, false);
}

/// After one more message in each channel.
pub(crate) fn at_the_end(world: &World) {
    check(world, true);
}

fn check(world: &World, is_end: bool) {
    let mut tables = world.tables();
    let mut found = histories(&tables);
    found.extend(accepted(&tables));
    found.extend(replies(&tables));
    found.extend(clients(&tables, is_end));
    tables.violations.extend(found);
}

/// Numbered 1, 2, 3 … without a gap; in the stream as in the table; each message of a sender once.
fn histories(tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    for (channel, messages) in &tables.messages {
        let numbers: Vec<u64> = messages.iter().map(|message| message.seq).collect();
        let wanted: Vec<u64> = (1..).take(numbers.len()).collect();
        if numbers != wanted {
            found.push(format!("{channel} is numbered {numbers:?}"));
        }
        let mut seen = BTreeSet::new();
        for Message { sender_id, content, reply_to, .. } in messages {
            if !seen.insert((sender_id, content, reply_to)) {
                found.push(format!("{channel} has a message of {sender_id} twice: {content}"));
            }
        }
    }
    found
}

/// What was accepted is where it was said to be.
fn accepted(tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    for (channel, user, text, seq) in &tables.notes.accepted {
        let is_there =
            |message: &Message| message.seq == *seq && message.sender_id == *user && message.content == *text;
        if !tables.messages.get(channel).is_some_and(|messages| messages.iter().any(is_there)) {
            found.push(format!("{text} of {user} was accepted as {seq} of {channel}, and is not there"));
        }
    }
    found
}

/// One end of each question, and no more calls of the model than something made necessary.
fn replies(tables: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
    let public = tables.messages.iter().filter(|(channel, _)| channel.as_str() == PUBLIC).flat_map(|(_, all)| all);
    let (questions, answers): (Vec<&Message>, Vec<&Message>) = public.partition(|message| message.role == Role::User);
    for answer in answers {
        *ends.entry(answer.reply_to.unwrap_or_default()).or_default() += 1;
    }
    for question in questions {
        let count = ends.remove(&question.seq).unwrap_or_default();
        if count != 1 {
            found.push(format!("message {} of {PUBLIC} has {count} replies", question.seq));
        }
    }
    if !ends.is_empty() {
        found.push(format!("replies to nothing: {ends:?}"));
    }
    for (question, calls) in &tables.notes.calls {
        let allowed = 1 + tables.notes.disturbances.get(question).copied().unwrap_or_default();
        if *calls > allowed {
            found.push(format!("{calls} calls of the model for message {}, of {allowed} that were needed", question.1));
        }
    }
    found
}

/// Each client that is there shows the history of its channels.
fn clients(tables: &Tables, is_end: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, view) in &tables.notes.clients {
        let (Some(user), Some(connection)) = (&view.user, &view.connection) else { continue };
        // Who was given up need not know what comes last, until something comes after it.
        if !is_end && tables.notes.given_up.contains(connection) {
            continue;
        }
        for (channel, shown) in &view.shown {
            if tables.notes.ended.contains(&(channel.clone(), user.clone())) {
                continue;
            }
            let history = tables.messages.get(channel).map(Vec::as_slice).unwrap_or_default();
            let wanted: Vec<(u64, String)> =
                history.iter().map(|message| (message.seq, message.content.clone())).collect();
            if *shown != wanted {
                let numbers: Vec<u64> = shown.iter().map(|(seq, _)| *seq).collect();
                found.push(format!("{name} shows {numbers:?} of the {} messages of {channel}", wanted.len()));
            }
        }
    }
    found
}
