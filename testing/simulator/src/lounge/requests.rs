//! Requests of the lounge's users. Each is repeated while it conflicts, or while its process dies.

use std::sync::Arc;

use chat::{
    app::channels::{Changes, ChosenChannelIds, CreationRules, NewChannel},
    model::{
        channel::{AgentMode, AgentSettings, MemberRole, Visibility},
        error::ChatError,
        invitation::Addition,
    },
};

use super::{by, live, pause, some_visibility};
use crate::{
    invocation::request,
    oracle,
    tables::{End, EndCause},
    world::{LOUNGE, World, channel, user},
};

/// Maximum attempts of a request that conflicts, or whose process dies.
const ATTEMPTS: u32 = 8;
/// The limit of channels per user is out of reach.
const RULES: CreationRules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 1_000 };

pub(super) async fn end_channel(world: &Arc<World>, who: &'static str) {
    for _ in 0..ATTEMPTS {
        let (process, deleted) = request(world, by(who), |node| async move {
            node.membership().delete_channel(&channel(LOUNGE), &user(who), None).await
        })
        .await;
        match deleted {
            Some(Ok(())) => return oracle::answered(world, process, 0, |_| false),
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(Err(_)) => return,
        }
    }
}

pub(super) async fn make_channel(world: &Arc<World>, who: &'static str, round: u64) {
    // Clients identify the incarnation by its name, which is unique.
    let name = format!("{LOUNGE} of {who} {round} {}", world.next_process());
    let visibility = some_visibility(world);
    let mode = if world.time.one_in(4) { AgentMode::Always } else { AgentMode::Off };
    for _ in 0..ATTEMPTS {
        let new = NewChannel {
            channel_id: Some(channel(LOUNGE)),
            name: name.clone(),
            visibility,
            agent: AgentSettings { mode, ..AgentSettings::default() },
            read_receipts: false,
            retention_days: None,
        };
        let key = name.replace(' ', "-").parse().ok();
        let made = request(world, by(who), |node| async move {
            node.membership().create_channel(&user(who), new, key, RULES).await
        });
        match made.await.1 {
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(_) => return,
        }
    }
}

/// Adds a member, accepts an invitation, or sets a role.
pub(super) async fn add(world: &Arc<World>, who: &'static str, whom: &'static str, role: Option<MemberRole>) {
    add_or_invite(world, who, whom, role, Addition::Outright).await;
}

pub(super) async fn add_or_invite(
    world: &Arc<World>,
    who: &'static str,
    whom: &'static str,
    role: Option<MemberRole>,
    addition: Addition,
) {
    let mut unanswered = None;
    for _ in 0..ATTEMPTS {
        let added = request(world, by(who), |node| async move {
            node.membership().add(&channel(LOUNGE), &user(who), &user(whom), role, addition).await
        });
        match added.await.1 {
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => {
                unanswered = live(world);
                pause(world, 200).await;
            }
            Some(Ok(_)) => return,
            Some(Err(_)) => break,
        }
    }
    world.tables().notes.unfollowed.extend(unanswered.map(|key| (key, user(whom))));
}

pub(super) async fn remove(world: &Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..ATTEMPTS {
        let (before, key) = (oracle::ends(world), live(world));
        let (process, removed) = request(world, by(who), |node| async move {
            node.membership().remove(&channel(LOUNGE), &user(who), &user(whom)).await
        })
        .await;
        let is_same = key.is_some() && key == live(world);
        let found =
            |end: &End| is_same && Some(&end.channel) == key.as_ref() && end.cause == EndCause::Removed(user(whom));
        match removed {
            Some(Ok(())) => return oracle::answered(world, process, 0, |_| false),
            Some(Err(ChatError::MemberNotFound)) => return oracle::answered(world, process, before, found),
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(Err(_)) => return,
        }
    }
}

pub(super) async fn set(world: &Arc<World>, who: &'static str, changes: Changes) {
    for _ in 0..ATTEMPTS {
        let (before, of_changes) = (oracle::ends(world), changes.clone());
        let (process, changed) = request(world, by(who), |node| async move {
            node.membership().change_channel(&channel(LOUNGE), &user(who), None, &of_changes).await
        })
        .await;
        match changed {
            Some(Ok((changed, _))) => {
                let is_hidden = changes.visibility == Some(Visibility::Private);
                return oracle::answered(world, process, before, |end| {
                    is_hidden && end.channel == changed.key() && end.cause == EndCause::MadePrivate
                });
            }
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(Err(_)) => return,
        }
    }
}
