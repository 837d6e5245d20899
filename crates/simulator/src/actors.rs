//! Actors that start work by themselves: senders, an owner that ends a membership, functions that push batches, and
//! the maintenance.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use chat::{
    app::{
        maintenance::carry_out,
        send::{SendCache, SendMessage, SendResult, send},
    },
    model::{
        channel::{ChannelHead, MemberRole},
        error::ChatError,
        id::{ChannelId, UserId},
        limits::HANDSHAKE_DURATION,
        message::{NewMessage, Role},
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::{clock::Clock, fan_out::PushBatch, message_store::RecordKey},
};

use crate::{
    client,
    executor::lock,
    lounge,
    node::Node,
    oracle::{self, Caller},
    stream::{self, Reader},
    tables::{Accepted, EndCause, QuestionKey},
    world::{LOUNGE, MEMBER, OWNER, PRIVATE, PUBLIC, READER, STRANGER, World, channel, user},
};

/// Rate limit of each user.
const BUCKET: Bucket = Bucket { every: Duration::from_millis(400), burst: 3 };
/// Maximum number of concurrent maintenance functions.
const MAINTAINERS: usize = 2;
/// Maximum pending ends that one maintenance function reads.
const PENDING_AT_ONCE: usize = 10;

/// State that a process caches between invocations. It is lost when the process dies.
#[derive(Default)]
pub(crate) struct Environment {
    head: Option<ChannelHead>,
    full_at: BTreeMap<UserId, Timestamp>,
}

pub(crate) type Shared = Arc<Mutex<Environment>>;

/// Starts all actors.
pub(crate) fn start(world: &Arc<World>) {
    stream::start(world, Reader::Delivery);
    stream::start(world, Reader::Agent);
    for _ in 0..MAINTAINERS {
        world.time.spawn(false, run_maintenance(Arc::clone(world)));
    }
    client::start(world, "alice, all of hers", OWNER, None);
    client::start(world, "bob, all of his", MEMBER, None);
    // Some schedules concentrate on the lounge.
    let is_fought_over = world.time.one_in(2) || world.invites;
    if is_fought_over {
        lounge::start(world);
    } else {
        client::start(world, "bob, private", MEMBER, Some(PRIVATE));
        client::start(world, "carol, public", READER, Some(PUBLIC));
        client::start(world, "mallory, private", STRANGER, Some(PRIVATE));
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
        world.time.spawn(false, sender);
    }
    if world.time.one_in(2) {
        world.time.spawn(false, end_membership(Arc::clone(world)));
    }
}

/// Sends one more message to each channel, after all sockets accept pushes again.
pub(crate) fn send_final_messages(world: &Arc<World>) {
    world.tables().sockets.values_mut().for_each(|socket| socket.throttled_until = 0);
    for to in [PUBLIC, PRIVATE] {
        let last =
            send_once(Arc::clone(world), OWNER, to, "last".to_owned(), Some(LAST_KEY.to_owned()), Shared::default());
        world.time.spawn(false, last);
    }
    let owner = {
        let state = world.store.state();
        let live = state.channels.get(&channel(LOUNGE)).filter(|live| live.archived_at.is_none());
        let members = live.and_then(|live| state.members.get(&live.key())).into_iter().flatten();
        members.filter(|(_, member)| member.role == MemberRole::Owner).map(|(user, _)| user.to_string()).next()
    };
    if let Some(owner) = owner {
        let last = send_once(
            Arc::clone(world),
            &owner,
            LOUNGE,
            "last of all".to_owned(),
            Some(LAST_KEY.to_owned()),
            Shared::default(),
        );
        world.time.spawn(false, last);
    }
}

/// Idempotency key of the last message.
const LAST_KEY: &str = "last";

/// Runs a request of a caller in a process of its own. Returns the process's number, and `None` if the process died.
pub(crate) async fn request<T: std::marker::Send + 'static, F>(
    world: &Arc<World>,
    caller: Caller,
    handle: impl FnOnce(Node) -> F,
) -> (u64, Option<T>)
where
    F: Future<Output = T> + std::marker::Send + 'static,
{
    let node = Node::new(world, caller);
    let number = node.process().number;
    (number, world.time.spawn(true, handle(node)).await)
}

/// Sends messages in sequence, each until it is accepted or refused.
async fn insist_on(world: Arc<World>, who: &'static str, to: &'static str, messages: u64, cache: Shared) {
    for number in 0..messages {
        let pause = world.time.below(1_500);
        world.time.sleep(Duration::from_millis(pause)).await;
        let text = format!("{who} {number}");
        if world.time.one_in(4) {
            send_once(Arc::clone(&world), who, to, text, None, Arc::clone(&cache)).await;
            continue;
        }
        let key = Some(text.replace(' ', "-"));
        if world.time.inject_fault(6) {
            // An impatient client sends the same request twice concurrently.
            let again = send_once(Arc::clone(&world), who, to, text.clone(), key.clone(), Arc::clone(&cache));
            world.time.spawn(false, again);
        }
        send_once(Arc::clone(&world), who, to, text, key, Arc::clone(&cache)).await;
    }
}

/// Sends one message, under one key, until it is accepted or refused. Without a key, a sender without a response does
/// not retry.
pub(crate) fn send_once(
    world: Arc<World>,
    who: &str,
    to: &'static str,
    text: String,
    key: Option<String>,
    cache: Shared,
) -> impl Future<Output = ()> + std::marker::Send + 'static {
    let sender = user(who);
    async move {
        loop {
            let (of_text, of_key, of_memory, of_sender) =
                (text.clone(), key.clone(), Arc::clone(&cache), sender.clone());
            let sent = request(&world, Caller::User(sender.clone()), |node| async move {
                let environment = std::mem::take(&mut *lock(&of_memory));
                let full_at = environment.full_at.get(&of_sender).copied();
                let mut cache = SendCache { head: environment.head, full_at };
                let record_key = of_key.and_then(|key| key.parse().ok());
                let message = SendMessage {
                    channel_id: channel(to),
                    sender_id: of_sender.clone(),
                    role: Role::User,
                    draft: NewMessage { content: of_text, ..NewMessage::default() },
                    record_key: record_key.map(|key| RecordKey::Request { sender_id: of_sender.clone(), key }),
                    incarnation: None,
                    bucket: Some(BUCKET),
                    trace: None,
                };
                let sent = send(&node.store, &node, message, &mut cache).await;
                let mut environment = Environment { head: cache.head, full_at: environment.full_at };
                environment.full_at.extend(cache.full_at.map(|full_at| (of_sender, full_at)));
                *lock(&of_memory) = environment;
                sent
            })
            .await
            .1;
            match sent {
                Some(Ok(sent)) => return accept(&world, &sender, to, text, &sent),
                Some(Err(ChatError::ChannelNotFound)) => {
                    let is_member = ![STRANGER, MEMBER].contains(&sender.as_str());
                    if to != LOUNGE && (is_member || to == PUBLIC) {
                        world.violation(format!("{sender} was refused in {to}"));
                    }
                    return;
                }
                Some(Err(ChatError::ChannelArchived)) if to == LOUNGE => return,
                Some(Err(ChatError::TooManyRequests { retry_after })) => world.time.sleep(retry_after).await,
                Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => {
                    if key.is_none() {
                        return;
                    }
                    let pause = world.time.below(300);
                    world.time.sleep(Duration::from_millis(pause)).await;
                }
                Some(Err(error)) => return world.violation(format!("{sender} in {to}: {error}")),
            }
        }
    }
}

/// Records an accepted message for the oracle, and checks that the response holds the text that was sent.
fn accept(world: &World, sender: &UserId, to: &str, text: String, sent: &SendResult) {
    let message = sent.message();
    let is_changed = message.edited_at.is_some() || message.deleted_at.is_some();
    if message.sender_id != *sender || (message.content != text && !is_changed) {
        world.violation(format!("{sender} sent {text:?} to {to}, and the response has {:?}", message.content));
    }
    let mut tables = world.tables();
    let Some(channel) = tables.notes.channels.get(&message.message_id).cloned() else { return };
    let (seq, message_id, user) = (message.seq, message.message_id, sender.clone());
    tables.notes.accepted.push(Accepted { channel, seq, message_id, user, text });
}

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

/// Runs `SendMessageFunction` as an asynchronous invocation: at most three attempts.
pub(crate) fn send_message(world: &Arc<World>, broadcast: PushBatch) {
    let of_world = Arc::clone(world);
    world.time.spawn(false, async move {
        let world = of_world;
        for attempt in 0..3_u64 {
            let one = broadcast.clone();
            let sent =
                request(&world, Caller::System, |node| async move { node.delivery().push_batch(one).await }).await.1;
            match sent {
                Some(Ok(outcome)) if outcome.failed == 0 => return,
                Some(Ok(_)) => break,
                _ => world.time.sleep(Duration::from_millis(200 << attempt)).await,
            }
        }
        let given_up = broadcast.recipients.iter().map(|target| target.connection_id.clone());
        world.tables().notes.given_up.extend(given_up);
    });
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
            let Ok(due) = node.store.pending_ends(PENDING_AT_ONCE, node.now()).await else { return };
            for pending in due {
                // After a failure the record stays for the next tick.
                let _ = carry_out(&node.ending(), &node.store, &pending, until).await;
            }
        })
        .await;
    }
}

/// Returns the message of a channel that holds a text. The simulated model finds by it which message it replies to.
pub(crate) fn question(world: &World, id: &ChannelId, text: &str) -> Option<QuestionKey> {
    let state = world.store.state();
    let key = state.channels.get(id)?.key();
    let found = state.messages.get(&key)?.values().map(|item| &item.stored.message);
    let found =
        found.filter(|message| message.role == Role::User && message.content == text).map(|one| one.seq).next()?;
    Some((key, found))
}
