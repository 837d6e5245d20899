//! Users that change the channel and its members.

use std::sync::Arc;

use chat::{
    app::channels::Changes,
    model::{
        channel::{MemberRole, Visibility},
        invitation::Addition,
    },
};

use super::{
    messages::talk,
    pause,
    requests::{add, add_or_invite, end_channel, make_channel, remove, set},
    times,
};
use crate::{
    sender::Shared,
    world::{MEMBER, MODERATOR, OWNER, READER, RIVAL, STRANGER, World},
};

/// Deletes the channel. Other users recreate it.
pub(super) async fn remake(world: Arc<World>, caches: [Shared; 2]) {
    let rounds = 1 + world.time.below(2);
    for round in 0..rounds {
        pause(&world, 3_000).await;
        let deleter = if world.time.one_in(2) { OWNER } else { RIVAL };
        end_channel(&world, deleter).await;
        if world.time.one_in(4) {
            continue;
        }
        pause(&world, 300).await;
        let maker = [READER, STRANGER, RIVAL, MEMBER][usize::try_from(world.time.below(4)).unwrap_or_default()];
        make_channel(&world, maker, round).await;
        for who in [OWNER, MEMBER, MODERATOR, RIVAL] {
            if who != maker && world.time.one_in(3) {
                let role = world.time.one_in(2).then_some(MemberRole::Owner);
                add(&world, maker, who, role).await;
            }
        }
        // Both environments still cache the deleted channel.
        for (who, cache) in [maker, MEMBER].into_iter().zip(&caches) {
            world.time.spawn(talk(Arc::clone(&world), who, Arc::clone(cache)));
        }
    }
}

/// Leaves and rejoins, if the channel is public or the user is invited again.
pub(super) async fn rejoin(world: Arc<World>, who: &'static str) {
    let times = 3 + world.time.below(6);
    for _ in 0..times {
        pause(&world, 400).await;
        add(&world, who, who, None).await;
    }
}

pub(super) async fn invite(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 8) {
        pause(&world, 400).await;
        add_or_invite(&world, who, whom, None, Addition::Invite).await;
    }
}

pub(super) async fn expel(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 3) {
        pause(&world, 1_200).await;
        let who = if world.time.one_in(5) { whom } else { who };
        remove(&world, who, whom).await;
    }
}

pub(super) async fn readmit(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 3) {
        pause(&world, 1_500).await;
        add(&world, who, whom, None).await;
    }
}

/// Demotes another owner, removes them, and adds them again.
pub(super) async fn quarrel(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 4) {
        pause(&world, 600).await;
        match world.time.below(4) {
            0 => add(&world, who, whom, Some(MemberRole::Owner)).await,
            1 => remove(&world, who, whom).await,
            2 => add(&world, who, whom, Some(MemberRole::Member)).await,
            _ => {
                set(&world, who, Changes { archived: Some(false), ..Changes::default() }).await;
                add(&world, who, who, Some(MemberRole::Member)).await;
            }
        }
    }
}

pub(super) async fn flip(world: Arc<World>, who: &'static str) {
    for number in 0..times(&world, 4) {
        pause(&world, 2_000).await;
        let visibility = Some(if number % 2 == 0 { Visibility::Private } else { Visibility::Public });
        set(&world, who, Changes { visibility, ..Changes::default() }).await;
    }
}

pub(super) async fn archive(world: Arc<World>, who: &'static str) {
    for number in 0..times(&world, 3) {
        pause(&world, 1_200).await;
        set(&world, who, Changes { archived: Some(number % 2 == 0), ..Changes::default() }).await;
    }
    if world.time.one_in(2) {
        set(&world, who, Changes { archived: Some(false), ..Changes::default() }).await;
    }
}

pub(super) async fn promote_and_demote(world: Arc<World>, who: &'static str, whom: &'static str) {
    for number in 0..times(&world, 3) {
        pause(&world, 1_000).await;
        let role = if number % 2 == 0 { MemberRole::Member } else { MemberRole::Moderator };
        add(&world, who, whom, Some(role)).await;
    }
}

/// Makes a member an owner and then demotes them.
pub(super) async fn crown(world: Arc<World>, who: &'static str, whom: &'static str) {
    for number in 0..times(&world, 4) {
        pause(&world, 600).await;
        let role = if number % 2 == 0 { MemberRole::Owner } else { MemberRole::Member };
        add(&world, who, whom, Some(role)).await;
    }
}
