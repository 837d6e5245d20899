//! Versions: the state that a client derives from events and pages is the stored state of that version.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use chat::{
    memory::Effect,
    model::{
        id::{ChannelId, MessageId},
        incarnation::ChannelKey,
        message::{Message, StoredMessage},
        rev::Rev,
        seq::Seq,
    },
};
use serde_json::Value;
use switchboard_client::ChannelLog;

use crate::{
    executor::lock,
    tables::{Known, MessageState, Notes, Version},
    world::World,
};

/// Records the state of a changed message, and the channel of a reaction.
pub(super) fn note(notes: &mut Notes, effect: &Effect) {
    let (Effect::MessageAppended { item: after, .. }
    | Effect::MessageRevised { after, .. }
    | Effect::ReactionChanged { after, .. }) = effect
    else {
        return;
    };
    let StoredMessage { message, trace, rev, .. } = &after.stored;
    let key = after.stored.channel();
    if let (Effect::ReactionChanged { .. }, Some(trace)) = (effect, trace) {
        notes.reactions.insert(trace.traceparent.clone(), key.clone());
    }
    let version = Version { rev: *rev, state: of_message(message) };
    notes.states.entry((key, message.seq)).or_default().insert(message.version, version);
}

/// Returns the channel of the message that an event is about.
pub(super) fn channel_of<'a>(notes: &'a Notes, event: &Value) -> Option<&'a ChannelKey> {
    match event["message"]["message_id"].as_str() {
        Some(id) => notes.channels.get(&MessageId::try_from(id.to_owned()).ok()?),
        None => notes.reactions.get(event["traceparent"].as_str()?),
    }
}

/// Returns why a message of this version does not show all changes up to `rev`, or `None`.
pub(crate) fn outdated(notes: &Notes, place: &(ChannelKey, Seq), version: u64, rev: Rev) -> Option<String> {
    let next = notes.states.get(place)?.get(&(version + 1))?.rev;
    let (key, seq) = place;
    (next <= rev)
        .then(|| format!("version {version} of message {seq} of {key} counts up to {rev}, and {next} changed it"))
}

/// Returns why the state of a message that a client has is not the stored one, or `None`.
pub(super) fn differs(known: &Known, key: &ChannelKey, message: &Message) -> Option<String> {
    let (held, stored) = (known.get(&(key.clone(), message.seq)), of_message(message));
    let is_same = held.is_some_and(|(version, state)| *version == message.version && *state == stored);
    (!is_same)
        .then(|| format!("{held:?} of message {} of {key}, and {:?} is stored", message.seq, (message.version, stored)))
}

/// Newest states of messages that a client knows.
#[derive(Default)]
pub(crate) struct Derived(pub(crate) Arc<Mutex<Known>>);

impl Derived {
    /// Takes the messages that a client holds. If it has all changes up to `rev`, each message has them, and is the stored
    /// state of its version.
    pub(crate) fn hold(&self, world: &World, name: &str, channel: &ChannelId, log: &ChannelLog, rev: Option<Rev>) {
        let wrong: Vec<String> = {
            let (tables, mut all) = (world.tables(), lock(&self.0));
            let held = log.messages().filter_map(|message| {
                let id = MessageId::try_from(message.message_id.clone()).ok()?;
                let place = (tables.notes.channels.get(&id)?.clone(), Seq::new(message.seq));
                let late = rev.and_then(|rev| outdated(&tables.notes, &place, message.version, rev));
                if all.get(&place).is_some_and(|(version, _)| *version == message.version) {
                    return late;
                }
                let state = of_held(message);
                let wrong = rev.and_then(|_| strange(&tables.notes, &place, message.version, &state));
                all.insert(place, (message.version, state));
                late.or(wrong)
            });
            held.collect()
        };
        for wrong in wrong {
            world.violation(format!("{name}, in {channel}: {wrong}"));
        }
    }

    /// Checks that a message of a page shows all changes up to `rev`, and is the stored state of its version.
    pub(crate) fn read(world: &World, message: &Message, rev: Rev) {
        let wrong = {
            let tables = world.tables();
            let Some(key) = tables.notes.channels.get(&message.message_id).cloned() else { return };
            let (place, version) = ((key, message.seq), message.version);
            let late = outdated(&tables.notes, &place, version, rev);
            late.or_else(|| strange(&tables.notes, &place, version, &of_message(message)))
        };
        if let Some(wrong) = wrong {
            world.violation(format!("a page: {wrong}"));
        }
    }

    /// Forgets the messages of a channel.
    pub(crate) fn forget(&self, channel: &ChannelId) {
        lock(&self.0).retain(|(key, _), _| key.channel_id != *channel);
    }
}

/// Returns why a state is not the stored one of its version, or `None`.
fn strange(notes: &Notes, place: &(ChannelKey, Seq), version: u64, state: &MessageState) -> Option<String> {
    let stored = notes.states.get(place).and_then(|versions| versions.get(&version)).map(|version| &version.state);
    (stored != Some(state))
        .then(|| format!("version {version} of message {} of {} is {state:?}, not {stored:?}", place.1, place.0))
}

fn of_message(message: &Message) -> MessageState {
    let reactions = message.reactions.iter().map(|(emoji, users)| {
        let users = users.iter().map(|user| user.as_str().to_owned()).collect();
        (emoji.as_str().to_owned(), users)
    });
    MessageState {
        content: message.content.clone(),
        metadata: message.metadata.clone().map(Value::Object).unwrap_or_default(),
        is_deleted: message.deleted_at.is_some(),
        reactions: reactions.collect(),
    }
}

/// Returns the state that a client holds. A reaction names all users, since a schedule has fewer than one may name.
fn of_held(message: &switchboard_client::Message) -> MessageState {
    let reactions = message.reactions.iter().map(|reaction| {
        let mut users: BTreeSet<String> = reaction.user_ids.iter().cloned().collect();
        if u64::try_from(users.len()).ok() != Some(reaction.count) {
            users.insert(format!("{} in all", reaction.count));
        }
        (reaction.emoji.clone(), users)
    });
    MessageState {
        content: message.content.clone(),
        metadata: message.metadata.clone().unwrap_or_default(),
        is_deleted: message.deleted_at.is_some(),
        reactions: reactions.collect(),
    }
}
