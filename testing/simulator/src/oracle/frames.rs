//! Frames: each user gets only those of channels that the user may see, and those that tell of the end of that right.

use std::collections::BTreeSet;

use chat::{
    memory::State,
    model::{id::UserId, incarnation::ChannelKey},
};
use serde_json::Value;

use super::{drafts, may_see, numbers, versions::channel_of};
use crate::tables::{Notes, Tables};

/// Checks that the user may see a frame that reaches their socket.
pub(crate) fn pushed(state: &State, tables: &mut Tables, who: &UserId, frame: &str) {
    let known = tables.notes.last_frame.take().filter(|(text, _)| text == frame);
    let keys = if let Some((_, keys)) = known {
        keys
    } else {
        let Ok(content) = serde_json::from_str::<Value>(frame) else {
            return tables.violations.push(format!("no JSON was pushed to {who}"));
        };
        if is_of_end(&content, who) {
            return;
        }
        let wrong = drafts::unstored(&tables.notes, &content).into_iter().chain(uncovered(&tables.notes, &content));
        let wrong: Vec<String> = wrong.collect();
        tables.violations.extend(wrong);
        let has_key = content["events"].is_array() || content["draft_id"].is_string();
        match keys_of(&tables.notes, &content) {
            Ok(keys) => keys,
            Err(_) if !has_key && may_hear_of(state, &tables.notes, who, &content) => return,
            Err(what) => return tables.violations.push(format!("{what} was pushed to {who}: {frame}")),
        }
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

/// Returns why events of a frame cover changes of other messages.
fn uncovered(notes: &Notes, frame: &Value) -> Vec<String> {
    let events = frame["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(|event| numbers::strange(notes, channel_of(notes, event)?, event)).collect()
}

/// Returns whether a frame tells the user of the end of the right to see a channel, or of the socket's end.
fn is_of_end(frame: &Value, who: &UserId) -> bool {
    match frame["type"].as_str() {
        Some("closing" | "channel.deleted") => true,
        Some("member.removed") => frame["user_id"] == who.as_str(),
        _ => false,
    }
}

/// Returns whether the user may receive an ephemeral frame of a channel. It names the channel by its id only.
fn may_hear_of(state: &State, notes: &Notes, who: &UserId, frame: &Value) -> bool {
    let Some(id) = frame["channel_id"].as_str() else { return false };
    let mut current = state.channels.values().filter(|channel| channel.channel_id.as_str() == id);
    let mut ends = notes.shut_out.iter().filter(|((key, of), _)| key.channel_id.as_str() == id && of == who);
    current.any(|channel| may_see(state, &channel.key(), who))
        || ends.any(|(_, numbers)| numbers.iter().all(|number| !notes.ends[*number].answered))
}

/// Returns the channels whose messages or drafts a frame holds.
fn keys_of(notes: &Notes, frame: &Value) -> Result<Vec<ChannelKey>, String> {
    let id = frame["channel_id"].as_str().ok_or("a frame of no channel")?;
    let keys: Option<BTreeSet<ChannelKey>> = match frame["events"].as_array() {
        Some(events) => events.iter().map(|event| channel_of(notes, event).cloned()).collect(),
        None => frame["draft_id"].as_str().and_then(|id| Some(BTreeSet::from([notes.drafts.get(id)?.channel.clone()]))),
    };
    let keys = keys.ok_or("a frame of unknown messages")?;
    if keys.iter().any(|key| key.channel_id.as_str() != id) {
        return Err(format!("a frame of {id} with messages of another channel"));
    }
    Ok(keys.into_iter().collect())
}
