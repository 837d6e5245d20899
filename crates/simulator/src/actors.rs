//! Who does something of their own accord: senders, an owner who ends a membership, the function that goes on with a
//! broadcast.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use chat::{
    clock::Timestamp,
    delivery::Broadcast,
    error::ChatError,
    id::{ChannelId, UserId},
    membership::Membership,
    message::{Draft, Head, Role},
    rate::Bucket,
    send::{Memory, Send, Sent, send},
};

use crate::{
    client,
    executor::lock,
    node::Node,
    stream::{self, Reader},
    tables::{QuestionKey, Tables},
    world::{MEMBER, OWNER, PRIVATE, PUBLIC, READER, STRANGER, World, channel, user},
};

/// How often a user may send.
const BUCKET: Bucket = Bucket { every: Duration::from_millis(400), burst: 3 };

/// What a process remembers between invocations. One that dies takes it along.
#[derive(Default)]
struct Process {
    head: Option<Head>,
    full_at: BTreeMap<UserId, Timestamp>,
}

type Shared = Arc<Mutex<Process>>;

/// Starts everybody.
pub(crate) fn start(world: &Arc<World>) {
    stream::start(world, Reader::Delivery);
    stream::start(world, Reader::Agent);
    client::start(world, "alice, all of hers", OWNER, None);
    client::start(world, "bob, all of his", MEMBER, None);
    client::start(world, "bob, private", MEMBER, Some(PRIVATE));
    client::start(world, "carol, public", READER, Some(PUBLIC));
    client::start(world, "mallory, private", STRANGER, Some(PRIVATE));
    // One memory for each channel: the senders' invocations share an environment, one after another or at once.
    let (public, private) = (Shared::default(), Shared::default());
    for (who, to, memory) in [
        (OWNER, PUBLIC, &public),
        (READER, PUBLIC, &public),
        (OWNER, PRIVATE, &private),
        (MEMBER, PRIVATE, &private),
        (STRANGER, PRIVATE, &private),
    ] {
        let messages = 1 + world.time.below(3);
        let sender = insist_on(Arc::clone(world), who, to, messages, Arc::clone(memory));
        world.time.spawn(false, sender);
    }
    if world.time.one_in(2) {
        world.time.spawn(false, end_membership(Arc::clone(world)));
    }
}

/// One more message in each channel, when all sockets take pushes again.
pub(crate) fn last_words(world: &Arc<World>) {
    world.tables().sockets.values_mut().for_each(|socket| socket.throttled_until = 0);
    for to in [PUBLIC, PRIVATE] {
        let (text, key) = ("last".to_owned(), Some("last".to_owned()));
        let last = send_once(Arc::clone(world), OWNER, to, text, key, Shared::default());
        world.time.spawn(false, last);
    }
}

/// A request that is made again until it is answered. `None`: who answered it died.
pub(crate) async fn request<T: std::marker::Send + 'static, F>(
    world: &Arc<World>,
    handle: impl FnOnce(Node) -> F,
) -> Option<T>
where
    F: Future<Output = T> + std::marker::Send + 'static,
{
    world.time.spawn(true, handle(Node::new(world))).await
}

/// Sends messages one after another, each until it is accepted or refused.
async fn insist_on(world: Arc<World>, who: &'static str, to: &'static str, messages: u64, memory: Shared) {
    for number in 0..messages {
        let pause = world.time.below(1_500);
        world.time.sleep(Duration::from_millis(pause)).await;
        let text = format!("{who} {number}");
        if world.time.one_in(4) {
            send_once(Arc::clone(&world), who, to, text, None, Arc::clone(&memory)).await;
            continue;
        }
        let key = Some(text.replace(' ', "-"));
        if world.time.mishap(6) {
            // Impatient: the same request twice at once.
            let again = send_once(Arc::clone(&world), who, to, text.clone(), key.clone(), Arc::clone(&memory));
            world.time.spawn(false, again);
        }
        send_once(Arc::clone(&world), who, to, text, key, Arc::clone(&memory)).await;
    }
}

/// Sends one message, under one key, until it is accepted or refused. Without a key, whoever does not know what became of
/// the message leaves it at that.
async fn send_once(
    world: Arc<World>,
    who: &'static str,
    to: &'static str,
    text: String,
    key: Option<String>,
    memory: Shared,
) {
    loop {
        let (of_text, of_key, of_memory) = (text.clone(), key.clone(), Arc::clone(&memory));
        let ended_before = world.tables().notes.ended.contains(&(channel(to), user(who)));
        let sent = request(&world, |node| async move {
            let process = std::mem::take(&mut *lock(&of_memory));
            let mut memory = Memory { head: process.head, full_at: process.full_at.get(&user(who)).copied() };
            let message = Send {
                channel_id: channel(to),
                sender_id: user(who),
                role: Role::User,
                draft: Draft { content: of_text, ..Draft::default() },
                idempotency_key: of_key.and_then(|key| key.parse().ok()),
                bucket: Some(BUCKET),
                trace: None,
            };
            let sent = send(&node, &node, message, &mut memory).await;
            let mut process = Process { head: memory.head, full_at: process.full_at };
            process.full_at.extend(memory.full_at.map(|full_at| (user(who), full_at)));
            *lock(&of_memory) = process;
            sent
        })
        .await;
        match sent {
            Some(Ok(sent)) => {
                let seq = sent.message().seq;
                let is_new = matches!(sent, Sent::Created(_));
                if who == STRANGER || (ended_before && is_new) {
                    world.violation(format!("{who} has sent to {to}, which is for its members"));
                }
                return world.tables().notes.accepted.push((channel(to), user(who), text, seq));
            }
            Some(Err(ChatError::ChannelNotFound)) => {
                let is_member = who != STRANGER && who != MEMBER;
                if is_member || to == PUBLIC {
                    world.violation(format!("{who} was refused in {to}"));
                }
                return;
            }
            Some(Err(ChatError::TooManyRequests { retry_after })) => world.time.sleep(retry_after).await,
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => {
                if key.is_none() {
                    return;
                }
                let pause = world.time.below(300);
                world.time.sleep(Duration::from_millis(pause)).await;
            }
            Some(Err(error)) => return world.violation(format!("{who} in {to}: {error}")),
        }
    }
}

/// The owner ends a membership of the private channel, and insists.
async fn end_membership(world: Arc<World>) {
    let pause = world.time.below(3_000);
    world.time.sleep(Duration::from_millis(pause)).await;
    loop {
        let removed = request(&world, |node| async move {
            let membership = Membership { channels: &node, connections: &node, sockets: &node, clock: &node };
            membership.remove(&channel(PRIVATE), &user(OWNER), &user(MEMBER)).await
        })
        .await;
        match removed {
            Some(Ok(()) | Err(ChatError::MemberNotFound)) => break,
            _ => world.time.sleep(Duration::from_millis(100)).await,
        }
    }
    world.tables().notes.ended.insert((channel(PRIVATE), user(MEMBER)));
}

/// `SendMessageFunction`, invoked asynchronously: three times at most.
pub(crate) fn send_message(world: &Arc<World>, broadcast: Broadcast) {
    let of_world = Arc::clone(world);
    world.time.spawn(false, async move {
        let world = of_world;
        for attempt in 0..3_u64 {
            let one = broadcast.clone();
            let sent = request(&world, |node| async move { node.delivery().broadcast(one).await }).await;
            match sent {
                Some(Ok(outcome)) if outcome.failed == 0 => return,
                Some(Ok(_)) => break,
                _ => world.time.sleep(Duration::from_millis(200 << attempt)).await,
            }
        }
        let given_up = broadcast.targets.iter().map(|target| target.connection_id.clone());
        world.tables().notes.given_up.extend(given_up);
    });
}

/// The message of a channel that holds a text, by which the model tells what it is asked.
pub(crate) fn question(tables: &mut Tables, channel: &ChannelId, text: &str) -> Option<QuestionKey> {
    let found =
        tables.messages.get(channel)?.iter().find(|message| message.role == Role::User && message.content == text)?;
    Some((channel.clone(), found.seq))
}
