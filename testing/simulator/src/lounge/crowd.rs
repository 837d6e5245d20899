//! Passive sockets of many users.

use std::time::Duration;

use chat::model::{
    channel::{Member, MemberRole, Visibility},
    connection::{Connection, ConnectionKey, Subscription, UserConnection},
    seq::Seq,
    time::Timestamp,
};

use super::live;
use crate::{
    oracle::crowd_name,
    tables::Socket,
    world::{CROWD, OWNER, START, World, user},
};

/// Opens passive sockets before the schedule begins.
pub(super) fn gather(world: &World, count: u64) {
    let Some(key) = live(world) else { return };
    let connected_at = Timestamp::from_millis(START - 60_000);
    let ends_at = Timestamp::from_millis(START).plus(Duration::from_hours(1));
    for number in 0..count {
        let name = crowd_name(number % CROWD);
        let id = format!("crowd{number}=").parse();
        let id = id.unwrap_or_else(|_| unreachable!("a connection's name is an id"));
        let opened = Connection {
            key: ConnectionKey { id, connected_at },
            user_id: user(&name),
            channels: vec![key.clone()],
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            token_expires_at: ends_at,
            expires_at: ends_at,
        };
        let of_user = UserConnection::from(&opened);
        let mut state = world.store.state();
        let is_public = state.channel(&key).is_some_and(|live| live.visibility == Visibility::Public);
        if !is_public {
            let owner = state.member(&key, &user(OWNER)).cloned();
            if let Some(owner) = owner.filter(|_| number < CROWD) {
                let member = Member { user_id: user(&name), role: MemberRole::Member, ..owner };
                state.put_member(&key, member, Seq::ZERO);
            }
        }
        let subscription = Subscription { member: !is_public, ..of_user.subscription(&opened.user_id) };
        state.put_subscription(&key, subscription);
        let own = state.user_connections.entry(opened.user_id.clone()).or_default();
        own.insert(opened.key.id.clone(), of_user);
        let socket = Socket { user: opened.user_id.clone(), open: true, throttled_until: 0, inbox: None };
        let id = opened.key.id.clone();
        state.connections.insert(id.clone(), opened);
        drop(state);
        world.tables().sockets.insert(id, socket);
    }
}
