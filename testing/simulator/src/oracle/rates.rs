//! Rates: the messages of a user, from all environments together, are no more than one bucket allows.

use chat::{
    memory::Effect,
    model::message::{Message, Role},
};

use crate::{tables::Notes, world::World};

/// Records the time of a message that takes a token.
pub(super) fn note(notes: &mut Notes, effect: &Effect) {
    let Effect::MessageAppended { item, .. } = effect else { return };
    let Message { role, sender_id, created_at, .. } = &item.stored.message;
    if *role == Role::User {
        notes.sent.entry(sender_id.clone()).or_default().push(*created_at);
    }
}

/// Returns the users who sent more in some period than a bucket allows from which each message takes its token when it
/// is sent.
pub(super) fn exceeded(world: &World, notes: &Notes) -> Vec<String> {
    let bucket = world.bucket();
    let exceeds = notes.sent.iter().filter_map(|(user, sent)| {
        let mut sent = sent.clone();
        sent.sort_unstable();
        let mut full_at = None;
        for now in sent {
            match bucket.take(full_at, now) {
                Ok(next) => full_at = Some(next),
                Err(wait) => return Some(format!("{user} sent a message {wait:?} too early")),
            }
        }
        None
    });
    exceeds.collect()
}
