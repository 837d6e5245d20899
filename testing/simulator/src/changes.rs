//! Users that edit, delete and react to messages, in every channel.

use std::{sync::Arc, time::Duration};

use chat::{
    app::edit::Edit,
    model::{
        access::Authority,
        error::ChatError,
        message::{Message, Role, StoredMessage},
        message_ref::MessageRef,
        patch::Patch,
        reaction::Toggle,
        rev::ChangeNumber,
        seq::Seq,
        text::emoji::Emoji,
        trace::TraceContext,
        version_condition::VersionCondition,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{MessageStore, UpdateResult},
    },
};
use futures::future::join;
use serde_json::{Map, Value};

use crate::{
    invocation::request,
    mutant::Mutant,
    node::Node,
    oracle::Caller,
    tables::AskedEdit,
    world::{OWNER, PUBLIC, World, channel, user},
};

/// Maximum attempts of the mutant [`Mutant::NumberKept`], and of the last reaction.
const ATTEMPTS: u32 = 8;

/// Changes messages of a channel as its owner and as another user, both at once and often the same message.
pub(crate) async fn revise(world: Arc<World>, of: &'static str, other: &'static str) {
    let rounds = 1 + world.time.below(3);
    for _ in 0..rounds {
        let pause = world.time.below(2_000);
        world.time.sleep(Duration::from_millis(pause)).await;
        let last = last_seq(&world, of).get();
        if last == 0 {
            continue;
        }
        let seq = Seq::new(1 + world.time.below(last));
        let beside = if world.time.one_in(2) { seq } else { Seq::new(1 + world.time.below(last)) };
        join(change(&world, OWNER, of, seq), change(&world, other, of, beside)).await;
    }
}

/// Makes one change of a message. The result is ignored: the oracle checks the effect.
async fn change(world: &Arc<World>, who: &'static str, of: &str, seq: Seq) {
    let revision = MessageRef { channel_id: channel(of), seq, caller: user(who), trace: None };
    let (kind, number) = (world.time.below(12), world.next_process());
    request(world, Caller::User(user(who)), |node| async move {
        let revision = MessageRef { trace: Some(trace(&node)), ..revision };
        match kind {
            0..4 => {
                // No two messages get the same text.
                let content = Some(format!("{who} was here, as {number}"));
                edit(&node, &revision, None, Edit { content, ..Edit::default() }).await;
            }
            4 => {
                let metadata = Map::from_iter([(who.to_owned(), Value::from(number))]);
                edit(&node, &revision, None, Edit { metadata: Patch::Set(metadata), ..Edit::default() }).await;
            }
            5 => drop(node.channel_messages().delete(&revision, None).await),
            6 | 7 => drop(node.channel_messages().react(&revision, &thumb(), Toggle::Remove).await),
            _ => drop(node.channel_messages().react(&revision, &thumb(), Toggle::Add).await),
        }
    })
    .await;
}

/// Reacts to the newest message of a channel until that succeeds. Clients that lack a change see a gap.
pub(crate) async fn react_last(world: &Arc<World>, who: &str, of: &str) {
    for _ in 0..ATTEMPTS {
        let (channel_id, caller) = (channel(of), user(who));
        let revision = MessageRef { channel_id, seq: last_seq(world, of), caller, trace: None };
        let reacted = request(world, Caller::User(user(who)), |node| async move {
            let revision = MessageRef { trace: Some(trace(&node)), ..revision };
            node.channel_messages().react(&revision, &flag(), Toggle::Add).await
        });
        match reacted.await.1 {
            Some(Err(ChatError::Contended { .. } | ChatError::Store(_))) | None => {
                world.time.sleep(Duration::from_millis(100)).await;
            }
            Some(_) => return,
        }
    }
}

/// Edits a message. The oracle is told before which fields the request names, and which versions it allows.
pub(crate) async fn edit(node: &Node, revision: &MessageRef, condition: Option<VersionCondition>, edit: Edit) {
    let world = &node.world;
    let asked = AskedEdit { condition: condition.clone(), edit: edit.clone() };
    world.tables().notes.edits.insert(node.process().number, asked);
    let condition = condition.filter(|_| !world.has(Mutant::ConditionIgnored));
    let faults = world.time.counts().1;
    let is_mutant = world.has(Mutant::NumberKept) && revision.channel_id.as_str() == PUBLIC && edit.content.is_some();
    let edited = if is_mutant {
        edit_with_first_number(node, revision, &edit).await
    } else {
        node.channel_messages().edit(revision, condition.as_ref(), &edit).await.map(drop)
    };
    match edited {
        Ok(()) if !is_mutant => node.answers_with_what_it_read(),
        Err(ChatError::Contended { .. }) if world.time.counts().1 == faults => {
            world.violation(format!(
                "an edit of message {} of {} is refused as contended, without a fault",
                revision.seq, revision.channel_id
            ));
        }
        _ => {}
    }
}

/// Edits a message of the public channel as its author. Each attempt has the number of the first one.
async fn edit_with_first_number(node: &Node, revision: &MessageRef, edit: &Edit) -> Result<(), ChatError> {
    let (store, MessageRef { channel_id, seq, caller, trace }) = (&node.store, revision);
    let mut first = None;
    for _ in 0..ATTEMPTS {
        let (channel, last) = store.channel_with_rev(channel_id).await?.ok_or(ChatError::ChannelNotFound)?;
        let expires_at = node.now().plus(node.world.change_duration);
        let number = *first.get_or_insert(ChangeNumber { last, expires_at });
        let message = store.message(&channel.key(), *seq, node.now()).await?.ok_or(ChatError::MessageNotFound)?;
        let is_author = message.role == Role::User && message.sender_id == *caller;
        if !is_author || message.deleted_at.is_some() {
            return Ok(());
        }
        let content = edit.content.clone().unwrap_or_else(|| message.content.clone());
        let revised = StoredMessage {
            message: Message { content, edited_at: Some(node.now()), ..message.revised() },
            incarnation: channel.incarnation,
            trace: trace.clone(),
            expires_at: None,
            rev: number.rev(),
        };
        let by = Authority { channel: &channel, member: None };
        if store.update_message(&by, &revised, number).await? == UpdateResult::Done {
            return Ok(());
        }
        node.sleep(Duration::from_millis(20)).await;
    }
    Err(ChatError::contended())
}

/// Returns a trace context that identifies the process. By it the oracle finds the channel of a reaction's event.
pub(crate) fn trace(node: &Node) -> TraceContext {
    let process = node.process().number;
    TraceContext { traceparent: format!("00-{process:032x}-{process:016x}-01"), tracestate: None }
}

pub(crate) fn thumb() -> Emoji {
    "👍".parse().unwrap_or_else(|_| unreachable!("a thumb is an emoji"))
}

/// Returns the emoji of the last reactions, which no other reaction has.
fn flag() -> Emoji {
    "🏁".parse().unwrap_or_else(|_| unreachable!("a flag is an emoji"))
}

fn last_seq(world: &World, of: &str) -> Seq {
    world.store.state().channels.get(&channel(of)).map_or(Seq::ZERO, |found| found.last_seq)
}
