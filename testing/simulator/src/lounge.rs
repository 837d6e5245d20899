//! A contended channel. Users delete and recreate it, make it public and private, archive and restore it. Its owners
//! demote and remove each other, and its members rejoin while they are removed. During the run others write, edit,
//! react, read and listen.

use std::{sync::Arc, time::Duration};

use chat::{
    app::{
        agent::cancel,
        channels::{Changes, ChosenChannelIds, CreationRules, NewChannel, change, create, delete},
        edit::{Edit, delete as delete_message, edit},
        history::{history, one_message},
        presence::presence,
        react::react,
        read_mark::mark_read,
    },
    model::{
        channel::{AgentMode, AgentSettings, MemberRole, Visibility},
        connection::{Connection, Subscription, UserConnection},
        error::ChatError,
        incarnation::ChannelKey,
        invitation::Addition,
        message_ref::MessageRef,
        time::Timestamp,
    },
    ports::{message_store::Range, socket_gateway::HANDSHAKE_DURATION},
};

use crate::{
    client,
    invocation::request,
    node::Node,
    oracle::{self, Caller, crowd_name},
    sender::{Shared, send_once},
    tables::{EndCause, Socket},
    world::{CROWD, LOUNGE, MEMBER, MODERATOR, OWNER, READER, RIVAL, START, STRANGER, World, channel, user},
};

/// Maximum attempts of a request that conflicts, or whose process dies.
const ATTEMPTS: u32 = 8;
/// The limit of channels per user is out of reach.
const RULES: CreationRules = CreationRules { chosen_ids: ChosenChannelIds::Any, channels_per_user: 1_000 };

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
    time.spawn(false, async move {
        of_world.time.sleep(age).await;
        for (number, who) in [OWNER, MEMBER, READER, RIVAL].into_iter().enumerate() {
            if of_world.time.one_in(2) {
                of_world.time.spawn(false, talk(Arc::clone(&of_world), who, Arc::clone(&caches[number % 2])));
            }
        }
        for _ in 0..scenes {
            play(&of_world, &caches);
        }
        if of_world.invites {
            court(&of_world);
        }
    });
}

/// Starts a random actor.
fn play(world: &Arc<World>, caches: &[Shared; 2]) {
    let (time, of) = (&world.time, || Arc::clone(world));
    match time.below(12) {
        0 | 1 => drop(time.spawn(false, remake(of(), caches.clone()))),
        2 => {
            time.spawn(false, rejoin(of(), MEMBER));
            time.spawn(false, expel(of(), MODERATOR, MEMBER));
            time.spawn(false, readmit(of(), RIVAL, MEMBER));
        }
        3 => {
            time.spawn(false, quarrel(of(), OWNER, RIVAL));
            time.spawn(false, quarrel(of(), RIVAL, OWNER));
        }
        4 => {
            time.spawn(false, flip(of(), OWNER));
            time.spawn(false, flip(of(), RIVAL));
            time.spawn(false, crown(of(), OWNER, RIVAL));
        }
        5 => {
            time.spawn(false, moderate(of(), MODERATOR));
            time.spawn(false, promote_and_demote(of(), OWNER, MODERATOR));
        }
        6 => {
            time.spawn(false, moderate(of(), MEMBER));
            time.spawn(false, expel(of(), OWNER, MEMBER));
        }
        7 => {
            time.spawn(false, archive(of(), OWNER));
            time.spawn(false, moderate(of(), READER));
        }
        8 => {
            time.spawn(false, crown(of(), OWNER, MEMBER));
            time.spawn(false, expel(of(), MODERATOR, MEMBER));
            time.spawn(false, readmit(of(), MODERATOR, MEMBER));
        }
        10 => {
            time.spawn(false, readmit(of(), RIVAL, READER));
            time.spawn(false, flip(of(), OWNER));
            time.spawn(false, expel(of(), OWNER, READER));
        }
        9 => {
            time.spawn(false, moderate(of(), RIVAL));
            time.spawn(false, crown(of(), OWNER, RIVAL));
            time.spawn(false, flip(of(), RIVAL));
        }
        _ => {
            time.spawn(false, peek(of(), MEMBER));
            time.spawn(false, expel(of(), OWNER, MEMBER));
            time.spawn(false, flip(of(), RIVAL));
            time.spawn(false, peek(of(), STRANGER));
        }
    }
}

/// Invites Carol, withdraws the invitation, accepts and declines, all concurrently. Meanwhile the channel is archived
/// and restored.
fn court(world: &Arc<World>) {
    let (time, of) = (&world.time, || Arc::clone(world));
    for who in [OWNER, MODERATOR] {
        time.spawn(false, invite(of(), who, READER));
        for _ in 0..2 {
            time.spawn(false, expel(of(), who, READER));
        }
    }
    // Her role changes while other users remove her under the role that they have read.
    time.spawn(false, crown(of(), OWNER, READER));
    for _ in 0..2 {
        time.spawn(false, rejoin(of(), READER));
    }
    time.spawn(false, archive(of(), RIVAL));
    // Meanwhile one of the inviting users is demoted, removed and added again.
    time.spawn(false, promote_and_demote(of(), OWNER, MODERATOR));
    time.spawn(false, expel(of(), RIVAL, MODERATOR));
    time.spawn(false, readmit(of(), OWNER, MODERATOR));
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

/// Opens passive sockets before the schedule begins.
fn gather(world: &World, count: u64) {
    let Some(key) = live(world) else { return };
    let connected_at = Timestamp::from_millis(START - 60_000);
    let ends_at = Timestamp::from_millis(START).plus(Duration::from_hours(1));
    for number in 0..count {
        let name = crowd_name(number % CROWD);
        let connection_id = format!("crowd{number}=").parse();
        let connection_id = connection_id.unwrap_or_else(|_| unreachable!("a connection's name is an id"));
        let opened = Connection {
            connection_id,
            user_id: user(&name),
            channels: vec![key.clone()],
            auto_subscribe: false,
            allowed_channels: None,
            left_out: 0,
            connected_at,
            token_expires_at: ends_at,
            expires_at: ends_at,
        };
        let of_user = UserConnection::from(&opened);
        let mut state = world.store.state();
        let is_public = state.channel(&key).is_some_and(|live| live.visibility == Visibility::Public);
        if !is_public {
            let owner = state.member(&key, &user(OWNER)).cloned();
            if let Some(owner) = owner.filter(|_| number < CROWD) {
                let member = chat::model::channel::Member { user_id: user(&name), role: MemberRole::Member, ..owner };
                state.put_member(&key, member, 0);
            }
        }
        let subscription = Subscription { member: !is_public, ..of_user.subscription(&opened.user_id) };
        state.put_subscription(&key, subscription);
        let own = state.user_connections.entry(opened.user_id.clone()).or_default();
        own.insert(opened.connection_id.clone(), of_user);
        let socket = Socket { user: opened.user_id.clone(), open: true, throttled_until: 0, inbox: None };
        let id = opened.connection_id.clone();
        state.connections.insert(id.clone(), opened);
        drop(state);
        world.tables().sockets.insert(id, socket);
    }
}

/// Sends messages, sometimes the same one again under the same key. They go to the channel that has the id at that
/// time.
async fn talk(world: Arc<World>, who: &'static str, cache: Shared) {
    let messages = 1 + world.time.below(4);
    for number in 0..messages {
        pause(&world, 1_500).await;
        let number = if world.time.one_in(4) { 0 } else { number };
        let text = format!("{who} says {number}");
        let key = (number == 0 || !world.time.one_in(4)).then(|| format!("{who}-{number}"));
        let text = if key.is_some() { text } else { format!("{text}, once, as {}", world.next_process()) };
        send_once(Arc::clone(&world), who, LOUNGE, text, key, Arc::clone(&cache)).await;
    }
}

/// Deletes the channel. Other users recreate it.
async fn remake(world: Arc<World>, caches: [Shared; 2]) {
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
            world.time.spawn(false, talk(Arc::clone(&world), who, Arc::clone(cache)));
        }
    }
}

async fn end_channel(world: &Arc<World>, who: &'static str) {
    for _ in 0..ATTEMPTS {
        let (process, deleted) = request(world, by(who), |node| async move {
            delete(&node.membership(), &channel(LOUNGE), &user(who), None).await
        })
        .await;
        match deleted {
            Some(Ok(())) => return oracle::answered(world, process, 0, |_| false),
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(Err(_)) => return,
        }
    }
}

async fn make_channel(world: &Arc<World>, who: &'static str, round: u64) {
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
            retention_days: None,
        };
        let key = name.replace(' ', "-").parse().ok();
        let made =
            request(
                world,
                by(who),
                |node| async move { create(&node.membership(), &user(who), new, key, RULES).await },
            );
        match made.await.1 {
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(_) => return,
        }
    }
}

/// Adds a member, accepts an invitation, or sets a role.
async fn add(world: &Arc<World>, who: &'static str, whom: &'static str, role: Option<MemberRole>) {
    add_or_invite(world, who, whom, role, Addition::Outright).await;
}

async fn add_or_invite(
    world: &Arc<World>,
    who: &'static str,
    whom: &'static str,
    role: Option<MemberRole>,
    addition: Addition,
) {
    for _ in 0..ATTEMPTS {
        let added = request(world, by(who), |node| async move {
            node.membership().add(&channel(LOUNGE), &user(who), &user(whom), role, addition).await
        });
        match added.await.1 {
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(_) => return,
        }
    }
}

async fn remove(world: &Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..ATTEMPTS {
        let (before, key) = (oracle::ends(world), live(world));
        let (process, removed) = request(world, by(who), |node| async move {
            node.membership().remove(&channel(LOUNGE), &user(who), &user(whom)).await
        })
        .await;
        let is_same = key.is_some() && key == live(world);
        let found = |end: &crate::tables::End| {
            is_same && Some(&end.channel) == key.as_ref() && end.cause == EndCause::Removed(user(whom))
        };
        match removed {
            Some(Ok(())) => return oracle::answered(world, process, 0, |_| false),
            Some(Err(ChatError::MemberNotFound)) => return oracle::answered(world, process, before, found),
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => pause(world, 200).await,
            Some(Err(_)) => return,
        }
    }
}

async fn set(world: &Arc<World>, who: &'static str, changes: Changes) {
    for _ in 0..ATTEMPTS {
        let (before, of_changes) = (oracle::ends(world), changes.clone());
        let (process, changed) = request(world, by(who), |node| async move {
            change(&node.membership(), &channel(LOUNGE), &user(who), None, &of_changes).await
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

/// Leaves and rejoins, if the channel is public or the user is invited again.
async fn rejoin(world: Arc<World>, who: &'static str) {
    let times = 3 + world.time.below(6);
    for _ in 0..times {
        pause(&world, 400).await;
        add(&world, who, who, None).await;
    }
}

async fn invite(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 8) {
        pause(&world, 400).await;
        add_or_invite(&world, who, whom, None, Addition::Invite).await;
    }
}

async fn expel(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 3) {
        pause(&world, 1_200).await;
        let who = if world.time.one_in(5) { whom } else { who };
        remove(&world, who, whom).await;
    }
}

async fn readmit(world: Arc<World>, who: &'static str, whom: &'static str) {
    for _ in 0..times(&world, 3) {
        pause(&world, 1_500).await;
        add(&world, who, whom, None).await;
    }
}

/// Demotes another owner, removes them, and adds them again.
async fn quarrel(world: Arc<World>, who: &'static str, whom: &'static str) {
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

async fn flip(world: Arc<World>, who: &'static str) {
    for number in 0..times(&world, 4) {
        pause(&world, 2_000).await;
        let visibility = Some(if number % 2 == 0 { Visibility::Private } else { Visibility::Public });
        set(&world, who, Changes { visibility, ..Changes::default() }).await;
    }
}

async fn archive(world: Arc<World>, who: &'static str) {
    for number in 0..times(&world, 3) {
        pause(&world, 1_200).await;
        set(&world, who, Changes { archived: Some(number % 2 == 0), ..Changes::default() }).await;
    }
    if world.time.one_in(2) {
        set(&world, who, Changes { archived: Some(false), ..Changes::default() }).await;
    }
}

async fn promote_and_demote(world: Arc<World>, who: &'static str, whom: &'static str) {
    for number in 0..times(&world, 3) {
        pause(&world, 1_000).await;
        let role = if number % 2 == 0 { MemberRole::Member } else { MemberRole::Moderator };
        add(&world, who, whom, Some(role)).await;
    }
}

/// Makes a member an owner and then demotes them.
async fn crown(world: Arc<World>, who: &'static str, whom: &'static str) {
    for number in 0..times(&world, 4) {
        pause(&world, 600).await;
        let role = if number % 2 == 0 { MemberRole::Owner } else { MemberRole::Member };
        add(&world, who, whom, Some(role)).await;
    }
}

/// Edits, deletes, reacts, cancels, sets read marks and adds members, as long as the caller is allowed to.
async fn moderate(world: Arc<World>, who: &'static str) {
    let times = 3 + world.time.below(6);
    for number in 0..times {
        pause(&world, 500).await;
        let seq = 1 + world.time.below(4);
        let revision = MessageRef { channel_id: channel(LOUNGE), seq, caller: user(who), trace: None };
        let kind = world.time.below(8);
        let text = format!("{who} was here {number}");
        // The result is ignored: the oracle checks the effects.
        request(&world, by(who), |node| async move {
            let store = &node.store;
            match kind {
                0 | 1 => {
                    // Some edits change nothing.
                    let content = (kind == 0).then_some(text);
                    let edited = edit(store, store, &node, &revision, Edit { content, ..Edit::default() }).await;
                    if edited.is_ok() {
                        node.answers_with_what_it_read();
                    }
                }
                2 => drop(delete_message(store, store, &node, &revision).await),
                3 | 4 => drop(react(store, store, &node, &revision, "👍", kind == 3).await),
                5 => drop(mark_read(store, &channel(LOUNGE), &user(who), seq).await),
                6 => drop(cancel(store, store, &node, &revision).await),
                _ => {
                    let (id, addition) = (channel(LOUNGE), Addition::Outright);
                    drop(node.membership().add(&id, &user(who), &user(STRANGER), None, addition).await);
                }
            }
        })
        .await;
    }
}

/// Reads messages, members and settings, as long as the caller is allowed to.
async fn peek(world: Arc<World>, who: &'static str) {
    let times = 3 + world.time.below(8);
    for _ in 0..times {
        pause(&world, 400).await;
        let kind = world.time.below(4);
        request(&world, by(who), |node| async move { look(&node, who, kind).await }).await;
    }
}

async fn look(node: &Node, who: &'static str, kind: u64) {
    let (store, id, caller) = (&node.store, channel(LOUNGE), user(who));
    let shows = match kind {
        0 => history(store, store, node, &id, &caller, Range::Newest, 5)
            .await
            .is_ok_and(|page| !page.messages.is_empty()),
        1 => one_message(store, store, node, &id, &caller, 1).await.is_ok(),
        2 => node.membership().list(&id, &caller, None, 5).await.is_ok_and(|page| !page.members.is_empty()),
        _ => presence(store, store, node, node, &id, &caller).await.is_ok_and(|present| !present.is_empty()),
    };
    if shows {
        node.answers_with_what_it_read();
    }
}
