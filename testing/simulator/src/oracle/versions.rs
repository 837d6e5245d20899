//! Versions: the state that a client derives from events and pages is the stored state of that version.

use std::sync::{Arc, Mutex};

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
    /// Applies an event. A client that lacks a version before that of a reaction no longer knows the state.
    pub(crate) fn hear(&self, world: &World, event: &Value) {
        let wrong = self.apply(&world.tables().notes, event);
        if let Some(wrong) = wrong {
            world.violation(wrong);
        }
    }

    /// Takes a message of a page that shows all changes up to `rev`.
    pub(crate) fn read(&self, world: &World, message: &Message, rev: Rev) {
        let wrong: Vec<String> = {
            let tables = world.tables();
            let Some(key) = tables.notes.channels.get(&message.message_id).cloned() else { return };
            let (place, version) = ((key, message.seq), message.version);
            let late = outdated(&tables.notes, &place, version, rev).map(|late| format!("a page: {late}"));
            let taken = take(&mut lock(&self.0), &tables.notes, place, version, of_message(message));
            late.into_iter().chain(taken).collect()
        };
        for wrong in wrong {
            world.violation(wrong);
        }
    }

    /// Requires that the client has all changes of the messages that it shows, up to the number `rev` that it knows.
    pub(crate) fn require(&self, world: &World, name: &str, channel: &ChannelId, rev: Rev) {
        let wrong = {
            let (tables, known) = (world.tables(), lock(&self.0));
            let mut of_channel = known.iter().filter(|((key, _), _)| key.channel_id == *channel);
            of_channel.find_map(|(place, (version, _))| outdated(&tables.notes, place, *version, rev))
        };
        if let Some(wrong) = wrong {
            world.violation(format!("{name}: {wrong}"));
        }
    }

    /// Forgets the messages of a channel.
    pub(crate) fn forget(&self, channel: &ChannelId) {
        lock(&self.0).retain(|(key, _), _| key.channel_id != *channel);
    }

    fn apply(&self, notes: &Notes, event: &Value) -> Option<String> {
        let key = channel_of(notes, event)?.clone();
        let (seq, version) = (Seq::new(event["seq"].as_u64()?), event["version"].as_u64()?);
        let (place, mut all) = ((key, seq), lock(&self.0));
        let message = &event["message"];
        if message.is_object() {
            return take(&mut all, notes, place, version, of_event(message));
        }
        let (known, mut state) = all.get(&place)?.clone();
        if version <= known {
            return None;
        }
        if version > known + 1 {
            all.remove(&place);
            return None;
        }
        let (emoji, user) = (event["emoji"].as_str()?.to_owned(), event["user_id"].as_str()?.to_owned());
        let users = state.reactions.entry(emoji.clone()).or_default();
        if event["type"] == "reaction.added" {
            users.insert(user);
        } else {
            users.remove(&user);
        }
        let count = users.len();
        if count == 0 {
            state.reactions.remove(&emoji);
        }
        if event["count"].as_u64() != u64::try_from(count).ok() {
            return Some(format!("an event of message {seq} of {} counts {} of {count}", place.0, event["count"]));
        }
        take(&mut all, notes, place, version, state)
    }
}

/// Takes a state, unless the client knows a later one.
fn take(all: &mut Known, notes: &Notes, place: (ChannelKey, Seq), version: u64, state: MessageState) -> Option<String> {
    if all.get(&place).is_some_and(|(known, _)| *known >= version) {
        return None;
    }
    let stored = notes.states.get(&place).and_then(|versions| versions.get(&version)).map(|version| &version.state);
    let wrong = (stored != Some(&state))
        .then(|| format!("version {version} of message {} of {} is {state:?}, not {stored:?}", place.1, place.0));
    all.insert(place, (version, state));
    wrong
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

/// Returns the state in an event. An event names all users, since a schedule has fewer than an event may name.
fn of_event(message: &Value) -> MessageState {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reactions = list(&message["reactions"]);
    let reactions =
        reactions.iter().map(|one| (text(&one["emoji"]), list(&one["user_ids"]).iter().map(text).collect()));
    MessageState {
        content: text(&message["content"]),
        metadata: message["metadata"].clone(),
        is_deleted: message["deleted_at"].is_string(),
        reactions: reactions.collect(),
    }
}
