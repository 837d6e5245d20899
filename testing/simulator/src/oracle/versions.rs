//! Versions: the state that a client derives from events and pages is the stored state of that version.

use std::collections::BTreeMap;

use chat::{
    memory::Effect,
    model::{
        id::MessageId,
        incarnation::ChannelKey,
        message::{Message, StoredMessage},
        seq::Seq,
    },
};
use serde_json::Value;

use crate::{
    tables::{MessageState, Notes},
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
    let StoredMessage { message, trace, .. } = &after.stored;
    let key = after.stored.channel();
    if let (Effect::ReactionChanged { .. }, Some(trace)) = (effect, trace) {
        notes.reactions.insert(trace.traceparent.clone(), key.clone());
    }
    notes.states.entry((key, message.seq)).or_default().insert(message.version, of_message(message));
}

/// Returns the channel of the message that an event is about.
pub(super) fn channel_of<'a>(notes: &'a Notes, event: &Value) -> Option<&'a ChannelKey> {
    match event["message"]["message_id"].as_str() {
        Some(id) => notes.channels.get(&MessageId::try_from(id.to_owned()).ok()?),
        None => notes.reactions.get(event["traceparent"].as_str()?),
    }
}

/// Newest states of messages that a client knows, with their versions.
#[derive(Default)]
pub(crate) struct Derived(BTreeMap<(ChannelKey, Seq), (u64, MessageState)>);

impl Derived {
    /// Applies an event. A client that lacks a version before that of a reaction no longer knows the state.
    pub(crate) fn hear(&mut self, world: &World, event: &Value) {
        let wrong = self.apply(&world.tables().notes, event);
        if let Some(wrong) = wrong {
            world.violation(wrong);
        }
    }

    /// Takes a message of a page.
    pub(crate) fn read(&mut self, world: &World, message: &Message) {
        let key = world.tables().notes.channels.get(&message.message_id).cloned();
        let Some(key) = key else { return };
        let wrong = self.take(&world.tables().notes, (key, message.seq), message.version, of_message(message));
        if let Some(wrong) = wrong {
            world.violation(wrong);
        }
    }

    fn apply(&mut self, notes: &Notes, event: &Value) -> Option<String> {
        let key = channel_of(notes, event)?.clone();
        let (seq, version) = (Seq::new(event["seq"].as_u64()?), event["version"].as_u64()?);
        let place = (key, seq);
        let message = &event["message"];
        if message.is_object() {
            return self.take(notes, place, version, of_event(message));
        }
        let (known, mut state) = self.0.get(&place)?.clone();
        if version <= known {
            return None;
        }
        if version > known + 1 {
            self.0.remove(&place);
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
        self.take(notes, place, version, state)
    }

    /// Takes a state, unless the client knows a later one.
    fn take(&mut self, notes: &Notes, place: (ChannelKey, Seq), version: u64, state: MessageState) -> Option<String> {
        if self.0.get(&place).is_some_and(|(known, _)| *known >= version) {
            return None;
        }
        let stored = notes.states.get(&place).and_then(|versions| versions.get(&version));
        let wrong = (stored != Some(&state))
            .then(|| format!("version {version} of message {} of {} is {state:?}, not {stored:?}", place.1, place.0));
        self.0.insert(place, (version, state));
        wrong
    }
}

fn of_message(message: &Message) -> MessageState {
    let reactions = message.reactions.iter().map(|(emoji, users)| {
        let users = users.iter().map(|user| user.as_str().to_owned()).collect();
        (emoji.as_str().to_owned(), users)
    });
    MessageState { content: message.content.clone(), reactions: reactions.collect() }
}

/// Returns the state in an event. An event names all users, since a schedule has fewer than an event may name.
fn of_event(message: &Value) -> MessageState {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reactions = list(&message["reactions"]);
    let reactions =
        reactions.iter().map(|one| (text(&one["emoji"]), list(&one["user_ids"]).iter().map(text).collect()));
    MessageState { content: text(&message["content"]), reactions: reactions.collect() }
}
