//! Numbers of changes: each channel has 1, 2, 3 … once, each with a record of the changed message.

use std::collections::{BTreeMap, BTreeSet};

use chat::{
    memory::{Effect, State},
    model::{
        incarnation::ChannelKey,
        message::{Change, MessageEvent},
        rev::Rev,
        seq::Seq,
    },
};
use serde_json::Value;

use crate::{tables::Notes, world::World};

/// Records the number of a change. Returns why it does not follow the one before it, or `None`.
pub(super) fn note(notes: &mut Notes, effect: &Effect) -> Option<String> {
    let after = match effect {
        Effect::MessageAppended { item, .. } => {
            let (rev, seq) = (item.stored.rev, item.stored.message.seq);
            return (rev != Rev::ZERO).then(|| format!("message {seq} of {} is new at {rev}", item.stored.channel()));
        }
        Effect::MessageRevised { after, .. } | Effect::ReactionChanged { after, .. } => &after.stored,
        _ => return None,
    };
    let key = after.channel();
    let changes = notes.changes.entry(key.clone()).or_default();
    changes.push(after.message.seq);
    let wanted = u64::try_from(changes.len()).unwrap_or_default();
    (after.rev.get() != wanted)
        .then(|| format!("change {wanted} of {key}, of message {}, gets the number {}", after.message.seq, after.rev))
}

/// Checks that each change of a channel has its record, and that a deleted channel has none.
pub(super) fn records(state: &State, notes: &Notes) -> Vec<String> {
    let mut found = Vec::new();
    for (key, changes) in &notes.changes {
        let records = state.changes.get(key);
        if state.channel(key).is_none() {
            found.extend(records.map(|_| format!("records of changes of {key} remain")));
            continue;
        }
        let stored: Vec<(u64, Seq)> =
            records.into_iter().flatten().map(|(rev, record)| (rev.get(), record.seq)).collect();
        let wanted: Vec<(u64, Seq)> = (1..).zip(changes.iter().copied()).collect();
        if stored != wanted {
            found.push(format!("{key} has the records {stored:?}, not {wanted:?}"));
        }
        let last = state.last_change(key);
        if last.get() != u64::try_from(changes.len()).unwrap_or_default() {
            found.push(format!("the last change of {key} is {last}, of {}", changes.len()));
        }
    }
    found
}

/// Checks that the frames of a batch of events name each of its numbers. The events of a schedule fit one frame.
pub(crate) fn delivered(world: &World, channel: &ChannelKey, events: &[MessageEvent], frames: &[String]) {
    let changes = events.iter().filter(|event| event.change != Change::Created);
    let wanted: BTreeSet<u64> = changes.map(|event| event.stored.rev.get()).collect();
    if wanted.is_empty() || frames.is_empty() {
        return;
    }
    let named: BTreeSet<u64> = frames.iter().flat_map(|frame| numbers_in(frame)).collect();
    let missing: Vec<&u64> = wanted.difference(&named).collect();
    if !missing.is_empty() {
        world.violation(format!("the frames of changes {wanted:?} of {channel} do not name {missing:?}"));
    }
}

/// Returns the numbers of the changes that the events of a frame cover.
fn numbers_in(frame: &str) -> Vec<u64> {
    let frame: Value = serde_json::from_str(frame).unwrap_or_default();
    let events = frame["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(covered).flatten().collect()
}

/// Returns the numbers that an event covers: none if it is no change.
fn covered(event: &Value) -> Option<std::ops::RangeInclusive<u64>> {
    let rev = event["rev"].as_u64()?;
    Some(event["rev_from"].as_u64().unwrap_or(rev)..=rev)
}

/// Checks that an event covers changes of its own message only.
pub(super) fn strange(notes: &Notes, channel: &ChannelKey, event: &Value) -> Option<String> {
    let (seq, changes) = (event["seq"].as_u64()?, notes.changes.get(channel)?);
    let mut numbers = covered(event)?;
    let is_own = |number: u64| {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        changes.get(index).map(|changed| changed.get() == seq)
    };
    let other = numbers.find(|number| is_own(*number) != Some(true))?;
    Some(format!("an event of message {seq} of {channel} covers change {other} of another one"))
}

/// Returns a frame whose events name the last of their numbers only: the mutant
/// [`FirstNumberLost`](crate::mutant::Mutant::FirstNumberLost).
pub(crate) fn without_first_numbers(frame: &str) -> String {
    let Ok(mut content) = serde_json::from_str::<BTreeMap<String, Value>>(frame) else { return frame.to_owned() };
    let Some(events) = content.get_mut("events").and_then(Value::as_array_mut) else { return frame.to_owned() };
    for event in events.iter_mut().filter_map(Value::as_object_mut) {
        event.remove("rev_from");
    }
    serde_json::to_string(&content).unwrap_or_default()
}
