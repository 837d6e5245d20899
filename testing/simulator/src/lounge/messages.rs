//! Users that write, change and read messages.

use std::sync::Arc;

use chat::{
    app::{agent::cancel, edit::Edit, history::PageRequest, members::list_members, read_mark::mark_read},
    model::{
        invitation::Addition, message_ref::MessageRef, patch::Patch, reaction::Toggle, seq::Seq,
        version_condition::VersionCondition,
    },
    ports::message_store::Range,
};
use futures::future::join;
use serde_json::{Map, Value};

use super::{by, pause, times};
use crate::{
    changes::{edit, thumb, trace},
    invocation::request,
    node::Node,
    sender::{Shared, send_once, some_thread},
    world::{LOUNGE, MODERATOR, OWNER, STRANGER, World, channel, user},
};

/// Maximum number of sockets that receive a read receipt.
const RECEIPTS: usize = 5;

/// Sends messages, sometimes the same one again under the same key. They go to the channel that has the id at that
/// time.
pub(super) async fn talk(world: Arc<World>, who: &'static str, cache: Shared) {
    let messages = 1 + world.time.below(4);
    for number in 0..messages {
        pause(&world, 1_500).await;
        let number = if world.time.one_in(4) { 0 } else { number };
        let text = format!("{who} says {number}");
        let key = (number == 0 || !world.time.one_in(4)).then(|| format!("{who}-{number}"));
        let text = if key.is_some() { text } else { format!("{text}, once, as {}", world.next_process()) };
        // A repeated message is in the same thread: in none.
        let thread = some_thread(&world, number);
        send_once(Arc::clone(&world), who, LOUNGE, text, key, thread, Arc::clone(&cache)).await;
    }
}

/// Edits, deletes, reacts, cancels, sets read marks and adds members, as long as the caller is allowed to.
pub(super) async fn moderate(world: Arc<World>, who: &'static str) {
    let times = 3 + world.time.below(6);
    for number in 0..times {
        pause(&world, 500).await;
        let seq = Seq::new(1 + world.time.below(4));
        let revision = MessageRef { channel_id: channel(LOUNGE), seq, caller: user(who), trace: None };
        let kind = world.time.below(8);
        let text = format!("{who} was here {number}");
        // The result is ignored: the oracle checks the effects.
        // Every other edit requires a version, which is often not the current one.
        let condition = (number % 2 == 1).then(|| only(1 + number % 3));
        request(&world, by(who), |node| async move {
            let revision = MessageRef { trace: Some(trace(&node)), ..revision };
            let (store, messages) = (&node.store, node.channel_messages());
            match kind {
                0 | 1 => {
                    // Some edits change nothing.
                    let content = (kind == 0).then_some(text);
                    edit(&node, &revision, condition, Edit { content, ..Edit::default() }).await;
                }
                2 => drop(messages.delete(&revision, condition.as_ref()).await),
                3 => drop(messages.react(&revision, &thumb(), Toggle::Add).await),
                4 => drop(messages.react(&revision, &thumb(), Toggle::Remove).await),
                5 => drop(mark_read(store, &node.delivery(), &channel(LOUNGE), &user(who), seq, RECEIPTS).await),
                6 => drop(cancel(&messages, &revision).await),
                _ => {
                    let (id, addition) = (channel(LOUNGE), Addition::Outright);
                    drop(node.membership().add(&id, &user(who), &user(STRANGER), None, addition).await);
                }
            }
        })
        .await;
    }
}

/// Edits the content of a message, and at the same time its metadata, as two users.
pub(super) async fn annotate(world: Arc<World>) {
    for number in 0..times(&world, 8) {
        pause(&world, 800).await;
        let seq = Seq::new(1 + world.time.below(2));
        let content = Edit { content: Some(format!("annotation {number}")), ..Edit::default() };
        let metadata = Map::from_iter([("annotation".to_owned(), Value::from(number))]);
        let metadata = Edit { metadata: Patch::Set(metadata), ..Edit::default() };
        join(amend(&world, OWNER, seq, content), amend(&world, MODERATOR, seq, metadata)).await;
    }
}

async fn amend(world: &Arc<World>, who: &'static str, seq: Seq, amended: Edit) {
    let revision = MessageRef { channel_id: channel(LOUNGE), seq, caller: user(who), trace: None };
    request(world, by(who), |node| async move { edit(&node, &revision, None, amended).await }).await;
}

/// Reads messages, members and settings, as long as the caller is allowed to.
pub(super) async fn peek(world: Arc<World>, who: &'static str) {
    let times = 3 + world.time.below(8);
    for _ in 0..times {
        pause(&world, 400).await;
        let kind = world.time.below(4);
        request(&world, by(who), |node| async move { look(&node, who, kind).await }).await;
    }
}

fn only(version: u64) -> VersionCondition {
    VersionCondition { only: Some(vec![version]), except: Vec::new() }
}

async fn look(node: &Node, who: &'static str, kind: u64) {
    let (id, caller) = (channel(LOUNGE), user(who));
    let shows = match kind {
        0 => node
            .channel_messages()
            .page(&id, &caller, PageRequest::of_history(Range::Newest, 5))
            .await
            .is_ok_and(|page| !page.messages.is_empty()),
        1 => node.channel_messages().one_message(&id, &caller, Seq::FIRST).await.is_ok(),
        2 => list_members(&node.store, &id, &caller, None, 5).await.is_ok_and(|page| !page.members.is_empty()),
        _ => node.presence().list(&id, &caller, None, 5, 200).await.is_ok_and(|page| !page.users.is_empty()),
    };
    if shows {
        node.answers_with_what_it_read();
    }
}
