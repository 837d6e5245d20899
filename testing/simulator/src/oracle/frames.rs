//! Frames: each user gets only those of channels that the user may see.

use std::collections::BTreeSet;

use chat::{
    memory::State,
    model::{id::UserId, incarnation::ChannelKey},
};

use super::{may_see, versions::channel_of};
use crate::tables::{Notes, Tables};

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
        Some(events) => events.iter().map(|event| channel_of(notes, event).cloned()).collect(),
        None => frame["draft_id"].as_str().and_then(|id| Some(BTreeSet::from([notes.drafts.get(id)?.clone()]))),
    };
    let keys = keys.ok_or("a frame of unknown messages")?;
    if keys.iter().any(|key| key.channel_id.as_str() != id) {
        return Err(format!("a frame of {id} with messages of another channel"));
    }
    Ok(keys.into_iter().collect())
}
