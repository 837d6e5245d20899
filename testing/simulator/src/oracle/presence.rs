//! Presence: a socket that was told that a user came is told that the user has gone.

use chat::{
    memory::State,
    model::{id::ConnectionId, incarnation::ChannelKey, time::Timestamp},
};
use serde_json::Value;

use crate::{tables::Tables, world::World};

/// Records a push of an announcement to a socket. An arrival counts if it is delivered, a departure if it is tried.
pub(crate) fn announces(world: &World, key: &ChannelKey, id: &ConnectionId, frame: &str, is_delivered: bool) {
    let Ok(frame) = serde_json::from_str::<Value>(frame) else { return };
    let Some(user) = frame["user_id"].as_str().and_then(|user| user.parse().ok()) else { return };
    let place = (key.clone(), id.clone(), user);
    let mut tables = world.tables();
    let told = &mut tables.notes.told;
    match frame["type"].as_str() {
        Some("presence.joined") if is_delivered => _ = told.insert(place),
        Some("presence.left") => _ = told.remove(&place),
        _ => {}
    }
}

/// Checks that the open sockets show no user whose last subscription has ended.
pub(super) fn shown(state: &State, tables: &Tables, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    for (key, id, user) in &tables.notes.told {
        let Some(subscriptions) = state.subscriptions.get(key) else { continue };
        let is_open = tables.sockets.get(id).is_some_and(|socket| socket.open);
        let gate = state.gate(key, now);
        let listens = subscriptions.get(id).is_some_and(|one| gate.admits(&one.user_id, one.member));
        let is_there = subscriptions.values().any(|one| one.user_id == *user);
        if is_open && listens && !is_there {
            found.push(format!("{id} was told that {user} came to {key}, and not that {user} has gone"));
        }
    }
    found
}
