//! Actors that start work by themselves: senders, an owner that ends a membership, functions that push batches, and
//! the maintenance.

use std::{sync::Arc, time::Duration};

use chat::{
    model::{channel::MemberRole, error::ChatError},
    ports::{clock::Clock, socket_gateway::HANDSHAKE_DURATION},
};

use crate::{
    changes::{react_last, revise},
    client, hall, lounge,
    oracle::{self, Caller},
    stream::{self, Reader},
    tables::EndCause,
    world::{LOUNGE, MEMBER, OWNER, PRIVATE, PUBLIC, READER, STRANGER, World, channel, user},
};

use crate::{
    invocation::request,
    sender::{Shared, hurry, insist_on, send_once},
};

/// Maximum number of concurrent maintenance functions.
const MAINTAINERS: usize = 2;

/// Starts all actors.
pub(crate) fn start(world: &Arc<World>) {
    stream::start(world, Reader::Delivery);
    stream::start(world, Reader::Agent);
    for _ in 0..MAINTAINERS {
        world.time.spawn(run_maintenance(Arc::clone(world)));
    }
    client::start(world, "alice, all of hers", OWNER, None);
    client::start(world, "bob, all of his", MEMBER, None);
    // Some schedules concentrate on the lounge.
    let is_fought_over = world.time.one_in(2) || world.invites || world.annotates;
    if is_fought_over {
        lounge::start(world);
    } else {
        client::start(world, "bob, private", MEMBER, Some(PRIVATE));
        client::start(world, "carol, public", READER, Some(PUBLIC));
        client::start(world, "mallory, private", STRANGER, Some(PRIVATE));
    }
    if world.hall {
        hall::start(world);
    }
    // One cache per channel: the senders' invocations share an environment, in sequence or concurrently.
    let (public, private) = (Shared::default(), Shared::default());
    for (who, to, cache) in [
        (OWNER, PUBLIC, &public),
        (READER, PUBLIC, &public),
        (OWNER, PRIVATE, &private),
        (MEMBER, PRIVATE, &private),
        (STRANGER, PRIVATE, &private),
    ] {
        let messages = 1 + world.time.below(3);
        if is_fought_over && !world.time.one_in(3) {
            continue;
        }
        let sender = insist_on(Arc::clone(world), who, to, messages, Arc::clone(cache));
        world.time.spawn(sender);
    }
    if world.busy {
        hurry(world, OWNER, PRIVATE);
    }
    for (of, other) in [(PUBLIC, READER), (PRIVATE, MEMBER)] {
        if world.time.one_in(if is_fought_over { 4 } else { 2 }) {
            world.time.spawn(revise(Arc::clone(world), of, other));
        }
    }
    if world.time.one_in(2) {
        world.time.spawn(end_membership(Arc::clone(world)));
    }
}

/// Sends one more message to each channel and reacts to one, after all sockets accept pushes again.
pub(crate) fn send_final_messages(world: &Arc<World>) {
    world.tables().sockets.values_mut().for_each(|socket| socket.throttled_until = 0);
    for to in [PUBLIC, PRIVATE] {
        world.time.spawn(finish(Arc::clone(world), OWNER.to_owned(), to, "last"));
    }
    let owner = {
        let state = world.store.state();
        let live = state.channels.get(&channel(LOUNGE)).filter(|live| live.archived_at.is_none());
        let members = live.and_then(|live| state.members.get(&live.key())).into_iter().flatten();
        members.filter(|(_, member)| member.role == MemberRole::Owner).map(|(user, _)| user.to_string()).next()
    };
    if let Some(owner) = owner {
        world.time.spawn(finish(Arc::clone(world), owner, LOUNGE, "last of all"));
    }
}

async fn finish(world: Arc<World>, who: String, to: &'static str, text: &'static str) {
    let (text, key) = (text.to_owned(), Some(LAST_KEY.to_owned()));
    send_once(Arc::clone(&world), &who, to, text, key, None, Shared::default()).await;
    react_last(&world, &who, to).await;
}

/// Idempotency key of the last message.
const LAST_KEY: &str = "last";

/// Ends a membership of the private channel as its owner, and retries until the request succeeds.
async fn end_membership(world: Arc<World>) {
    // In some schedules the sockets are so old that no handshake can be in progress.
    let age = if world.time.one_in(3) { HANDSHAKE_DURATION } else { Duration::ZERO };
    let pause = Duration::from_millis(world.time.below(3_000));
    world.time.sleep(age + pause).await;
    loop {
        let before = oracle::ends(&world);
        let (process, removed) = request(&world, Caller::User(user(OWNER)), |node| async move {
            node.membership().remove(&channel(PRIVATE), &user(OWNER), &user(MEMBER)).await
        })
        .await;
        match removed {
            Some(Ok(()) | Err(ChatError::MemberNotFound)) => {
                let is_meant = |cause: &EndCause| *cause == EndCause::Removed(user(MEMBER));
                oracle::answered(&world, process, before, |end| {
                    end.channel.channel_id.as_str() == PRIVATE && is_meant(&end.cause)
                });
                return;
            }
            _ => world.time.sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Runs the maintenance function, when there are pending ends or at its next tick.
async fn run_maintenance(world: Arc<World>) {
    loop {
        world.ended.until(|| (!world.store.state().pending.is_empty()).then_some(())).await;
        let wait = if world.time.one_in(2) { 500 } else { 20_000 };
        let wait = world.time.below(wait);
        world.time.sleep(Duration::from_millis(wait)).await;
        let lasts = Duration::from_millis(world.time.below(4_000));
        request(&world, Caller::System, |node| async move {
            let until = node.monotonic() + lasts;
            // After a failure the record stays for the next tick.
            let _ = node.maintenance().run(until).await;
        })
        .await;
    }
}
