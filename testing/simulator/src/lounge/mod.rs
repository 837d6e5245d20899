//! A contended channel. Users delete and recreate it, make it public and private, archive and restore it. Its owners
//! demote and remove each other, and its members rejoin while they are removed. During the run others write, edit,
//! react, read and listen.

mod crowd;
mod members;
mod messages;
mod requests;

use std::{sync::Arc, time::Duration};

use chat::{
    model::{
        channel::{AgentMode, MemberRole, Visibility},
        incarnation::ChannelKey,
    },
    ports::socket_gateway::HANDSHAKE_DURATION,
};

use self::{
    crowd::gather,
    members::{archive, crown, expel, flip, invite, promote_and_demote, quarrel, readmit, rejoin, remake},
    messages::{annotate, moderate, peek, talk},
};
use crate::{
    client,
    oracle::Caller,
    sender::Shared,
    world::{LOUNGE, MEMBER, MODERATOR, OWNER, READER, RIVAL, STRANGER, World, channel, user},
};

/// Starts all actors of the lounge.
pub(crate) fn start(world: &Arc<World>) {
    let time = &world.time;
    let visibility = some_visibility(world);
    let mode = if time.one_in(4) { AgentMode::Always } else { AgentMode::Off };
    let members = [
        (OWNER, MemberRole::Owner),
        (RIVAL, MemberRole::Owner),
        (MODERATOR, MemberRole::Moderator),
        (MEMBER, MemberRole::Member),
    ];
    world.make_channel(LOUNGE, visibility, mode, &members);
    // With a slow gateway, the sockets of a crowd cannot be closed within one request.
    let is_crowded = if world.gateway_millis > 0 { time.one_in(2) } else { time.one_in(30) };
    let crowd = if time.one_in(400) {
        2_000 + time.below(2_000)
    } else if is_crowded {
        120 + time.below(150)
    } else {
        time.below(5)
    };
    gather(world, crowd);
    client::start(world, "carol, lounge", READER, Some(LOUNGE));
    if time.one_in(2) {
        client::start(world, "mallory, lounge", STRANGER, Some(LOUNGE));
    }
    if time.one_in(2) {
        client::start(world, "dave, all of his", RIVAL, None);
    }
    // Two environments of the sending function, each with its own cache.
    let caches = [Shared::default(), Shared::default()];
    let scenes = 1 + time.below(3);
    // In some schedules the sockets are so old that no handshake can be in progress.
    let age = if time.one_in(3) { HANDSHAKE_DURATION } else { Duration::ZERO };
    let of_world = Arc::clone(world);
    time.spawn(async move {
        of_world.time.sleep(age).await;
        for (number, who) in [OWNER, MEMBER, READER, RIVAL].into_iter().enumerate() {
            if of_world.time.one_in(2) {
                of_world.time.spawn(talk(Arc::clone(&of_world), who, Arc::clone(&caches[number % 2])));
            }
        }
        for _ in 0..scenes {
            play(&of_world, &caches);
        }
        if of_world.invites {
            court(&of_world);
        }
        if of_world.annotates {
            of_world.time.spawn(talk(Arc::clone(&of_world), OWNER, Shared::default()));
            of_world.time.spawn(annotate(Arc::clone(&of_world)));
        }
    });
}

/// Starts a random actor.
fn play(world: &Arc<World>, caches: &[Shared; 2]) {
    let (time, of) = (&world.time, || Arc::clone(world));
    match time.below(12) {
        0 | 1 => drop(time.spawn(remake(of(), caches.clone()))),
        2 => {
            time.spawn(rejoin(of(), MEMBER));
            time.spawn(expel(of(), MODERATOR, MEMBER));
            time.spawn(readmit(of(), RIVAL, MEMBER));
        }
        3 => {
            time.spawn(quarrel(of(), OWNER, RIVAL));
            time.spawn(quarrel(of(), RIVAL, OWNER));
        }
        4 => {
            time.spawn(flip(of(), OWNER));
            time.spawn(flip(of(), RIVAL));
            time.spawn(crown(of(), OWNER, RIVAL));
        }
        5 => {
            time.spawn(moderate(of(), MODERATOR));
            time.spawn(promote_and_demote(of(), OWNER, MODERATOR));
        }
        6 => {
            time.spawn(moderate(of(), MEMBER));
            time.spawn(expel(of(), OWNER, MEMBER));
        }
        7 => {
            time.spawn(archive(of(), OWNER));
            time.spawn(moderate(of(), READER));
        }
        8 => {
            time.spawn(crown(of(), OWNER, MEMBER));
            time.spawn(expel(of(), MODERATOR, MEMBER));
            time.spawn(readmit(of(), MODERATOR, MEMBER));
        }
        10 => {
            time.spawn(readmit(of(), RIVAL, READER));
            time.spawn(flip(of(), OWNER));
            time.spawn(expel(of(), OWNER, READER));
        }
        9 => {
            time.spawn(moderate(of(), RIVAL));
            time.spawn(crown(of(), OWNER, RIVAL));
            time.spawn(flip(of(), RIVAL));
        }
        _ => {
            time.spawn(peek(of(), MEMBER));
            time.spawn(expel(of(), OWNER, MEMBER));
            time.spawn(flip(of(), RIVAL));
            time.spawn(peek(of(), STRANGER));
        }
    }
}

/// Invites Carol, withdraws the invitation, accepts and declines, all concurrently. Meanwhile the channel is archived
/// and restored.
fn court(world: &Arc<World>) {
    let (time, of) = (&world.time, || Arc::clone(world));
    for who in [OWNER, MODERATOR] {
        time.spawn(invite(of(), who, READER));
        for _ in 0..2 {
            time.spawn(expel(of(), who, READER));
        }
    }
    // Her role changes while other users remove her under the role that they have read.
    time.spawn(crown(of(), OWNER, READER));
    for _ in 0..2 {
        time.spawn(rejoin(of(), READER));
    }
    time.spawn(archive(of(), RIVAL));
    // Meanwhile one of the inviting users is demoted, removed and added again.
    time.spawn(promote_and_demote(of(), OWNER, MODERATOR));
    time.spawn(expel(of(), RIVAL, MODERATOR));
    time.spawn(readmit(of(), OWNER, MODERATOR));
}

fn some_visibility(world: &World) -> Visibility {
    if world.time.one_in(2) { Visibility::Public } else { Visibility::Private }
}

async fn pause(world: &World, millis: u64) {
    let millis = world.time.below(millis / world.haste);
    world.time.sleep(Duration::from_millis(millis)).await;
}

/// Returns a random number of repetitions: up to `most`, or twice as many in haste.
fn times(world: &World, most: u64) -> u64 {
    let most = if world.haste > 1 { 2 * most } else { most };
    1 + world.time.below(most)
}

fn by(who: &str) -> Caller {
    Caller::User(user(who))
}

/// Returns the key of the lounge, if it exists.
fn live(world: &World) -> Option<ChannelKey> {
    world.store.state().channels.get(&channel(LOUNGE)).map(chat::model::channel::Channel::key)
}
