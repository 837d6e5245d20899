//! Senders: each sends its messages until they are accepted or refused.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use chat::{
    app::{
        rate_limit::SenderTokens,
        send::{Rivals, SendCache, SendMessage, send},
    },
    model::{
        channel::ChannelHead,
        error::ChatError,
        id::UserId,
        message::{Message, NewMessage, Role},
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::message_store::RecordKey,
};

use crate::{
    executor::lock,
    invocation::request,
    mutant::Mutant,
    oracle::{Caller, outdated},
    tables::Accepted,
    world::{LOUNGE, MEMBER, PUBLIC, STRANGER, World, channel, user},
};

/// Messages of a busy sender from its first environment, and from its second.
const BUSY: [u64; 2] = [16, 6];

/// State that a process caches between invocations. It is lost when the process dies.
#[derive(Default)]
pub(crate) struct Environment {
    head: Option<ChannelHead>,
    /// Number of the channel's last change, and the time when it was read.
    rev: Option<(Rev, Timestamp)>,
    rivals: Option<Rivals>,
    tokens: BTreeMap<UserId, SenderTokens>,
}

pub(crate) type Shared = Arc<Mutex<Environment>>;

/// Sends messages in sequence, each until it is accepted or refused.
pub(crate) async fn insist_on(world: Arc<World>, who: &'static str, to: &'static str, messages: u64, cache: Shared) {
    for number in 0..messages {
        let pause = world.time.below(1_500);
        world.time.sleep(Duration::from_millis(pause)).await;
        let text = format!("{who} {number}");
        let thread = some_thread(&world, number);
        if world.time.one_in(4) {
            send_once(Arc::clone(&world), who, to, text, None, thread, Arc::clone(&cache)).await;
            continue;
        }
        let key = Some(text.replace(' ', "-"));
        if world.time.inject_fault(6) {
            // An impatient client sends the same request twice concurrently.
            let again = send_once(Arc::clone(&world), who, to, text.clone(), key.clone(), thread, Arc::clone(&cache));
            world.time.spawn(again);
        }
        send_once(Arc::clone(&world), who, to, text, key, thread, Arc::clone(&cache)).await;
    }
}

/// Sends messages as fast as they are accepted, from two environments of one function.
pub(crate) fn hurry(world: &Arc<World>, who: &'static str, to: &'static str) {
    for (environment, messages) in BUSY.into_iter().enumerate() {
        let of_world = Arc::clone(world);
        world.time.spawn(async move {
            let cache = Shared::default();
            for number in 0..messages {
                let pause = Duration::from_millis(of_world.time.below(60));
                of_world.time.sleep(pause).await;
                let text = format!("{who} hurries {environment} {number}");
                let key = of_world.time.one_in(2).then(|| text.replace(' ', "-"));
                send_once(Arc::clone(&of_world), who, to, text, key, None, Arc::clone(&cache)).await;
            }
        });
    }
}

/// Returns the root of the thread that a sender's message of this number is in. It may not exist, or be in a thread. A
/// message that is sent again, under the same key, is in the same thread.
pub(crate) fn some_thread(world: &World, number: u64) -> Option<Seq> {
    (world.threads && number > 0).then(|| Seq::new(1 + number % 3))
}

/// Sends one message, under one key, until it is accepted or refused. Without a key, a sender without a response does
/// not retry. `thread` is the root of the message's thread.
pub(crate) fn send_once(
    world: Arc<World>,
    who: &str,
    to: &'static str,
    text: String,
    key: Option<String>,
    thread: Option<Seq>,
    cache: Shared,
) -> impl Future<Output = ()> + std::marker::Send + 'static {
    let sender = user(who);
    async move {
        loop {
            let (of_text, of_key, of_memory, of_sender) =
                (text.clone(), key.clone(), Arc::clone(&cache), sender.clone());
            let sent = request(&world, Caller::User(sender.clone()), |node| async move {
                let Environment { head, rev, rivals, mut tokens } = std::mem::take(&mut *lock(&of_memory));
                let before = tokens.remove(&of_sender).unwrap_or_default();
                let mut cache = SendCache { head, rev, rivals, tokens: before };
                let record_key = of_key.and_then(|key| key.parse().ok());
                let message = SendMessage {
                    channel_id: channel(to),
                    sender_id: of_sender.clone(),
                    role: Role::User,
                    draft: NewMessage { content: of_text, thread_seq: thread, ..NewMessage::default() },
                    agent: None,
                    record_key: record_key.map(|key| RecordKey::Request { sender_id: of_sender.clone(), key }),
                    incarnation: None,
                    bucket: Some(node.world.bucket()),
                    trace: None,
                };
                let sent = send(&node.store, &node, message, &mut cache).await;
                let is_kept = cache.tokens.held() < before.held() && node.world.has(Mutant::TokensKept);
                tokens.insert(of_sender, if is_kept { before } else { cache.tokens });
                *lock(&of_memory) = Environment { head: cache.head, rev: cache.rev, rivals: cache.rivals, tokens };
                sent
            })
            .await
            .1;
            match sent {
                Some(Ok(sent)) => return accept(&world, &sender, to, text, sent.message(), sent.rev()),
                Some(Err(ChatError::ChannelNotFound)) => {
                    let is_member = ![STRANGER, MEMBER].contains(&sender.as_str());
                    if to != LOUNGE && (is_member || to == PUBLIC) {
                        world.violation(format!("{sender} was refused in {to}"));
                    }
                    return;
                }
                Some(Err(ChatError::ChannelArchived)) if to == LOUNGE => return,
                // The message with that number is no root. The oracle checks the threads.
                Some(Err(ChatError::Invalid(_))) if thread.is_some() => return,
                Some(Err(ChatError::TooManyRequests(quota))) => world.time.sleep(quota.reset).await,
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

/// Records an accepted message for the oracle, and checks that the response holds the text that was sent, and a `rev`
/// from before it.
fn accept(world: &World, sender: &UserId, to: &str, text: String, message: &Message, rev: Rev) {
    let is_changed = message.edited_at.is_some() || message.deleted_at.is_some();
    if message.sender_id != *sender || (message.content != text && !is_changed) {
        world.violation(format!("{sender} sent {text:?} to {to}, and the response has {:?}", message.content));
    }
    let mut tables = world.tables();
    let Some(channel) = tables.notes.channels.get(&message.message_id).cloned() else { return };
    let late = outdated(&tables.notes, &(channel.clone(), message.seq), message.version, rev);
    tables.violations.extend(late.map(|late| format!("the response to {sender} in {to}: {late}")));
    let (seq, message_id, user) = (message.seq, message.message_id, sender.clone());
    tables.notes.accepted.push(Accepted { channel, seq, message_id, user, text });
}
