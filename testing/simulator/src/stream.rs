//! The stream and its workers: batches of a lane's records, in order, each repeated until it succeeds.

use std::{sync::Arc, time::Duration};

use chat::{
    app::{
        agent::{Agent, Budgets, filter::is_new_message},
        stream::{first_failed, joined},
    },
    model::{channel::Channel, incarnation::ChannelKey, message::MessageEvent, token_bucket::Bucket},
};

use crate::{
    mutant::Mutant,
    node::{Node, REACH},
    oracle::{self, Caller},
    tables::QuestionKey,
    world::{PRIVATE, PUBLIC, World},
};

/// Number of lanes. Channels overtake each other, and so do the incarnations of one channel.
const LANES: usize = 4;

/// Worker that reads the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Pushes every message to the sockets.
    Delivery,
    /// Replies to user messages.
    Agent,
}

fn lane(event: &MessageEvent) -> usize {
    let key = event.stored.channel();
    match key.channel_id.as_str() {
        PRIVATE => 0,
        PUBLIC => 1,
        _ => 2 + usize::from(key.incarnation.to_string().bytes().last().is_some_and(|last| last % 2 == 1)),
    }
}

/// Starts the lanes of a worker.
pub(crate) fn start(world: &Arc<World>, reader: Reader) {
    for number in 0..LANES {
        let of_world = Arc::clone(world);
        world.time.spawn(run_lane(of_world, reader, number));
    }
}

/// Runs one lane, without end. `next` counts the lane's own records.
async fn run_lane(world: Arc<World>, reader: Reader, number: usize) {
    let mut next = 0;
    let mut failures = 0;
    loop {
        let most = 1 + usize::try_from(world.time.below(4)).unwrap_or_default();
        let batch = world
            .appended
            .until(|| {
                let state = world.store.state();
                let of_lane = state
                    .stream
                    .iter()
                    .filter(|record| lane(&record.event) == number && (reader == Reader::Delivery || record.for_agent));
                let batch: Vec<MessageEvent> =
                    of_lane.skip(next).take(most).map(|record| record.event.clone()).collect();
                (!batch.is_empty()).then_some(batch)
            })
            .await;
        let length = batch.len();
        if world.time.one_in(10) {
            let lag = world.time.below(2_000);
            world.time.sleep(Duration::from_millis(lag)).await;
        }
        let invocation = {
            let of_world = Arc::clone(&world);
            world.time.spawn_process(async move { invoke(of_world, reader, batch).await })
        };
        // The stream has dropped the invocation, which continues nevertheless.
        let answer = if world.time.inject_fault(12) {
            let patience = world.time.below(3_000);
            world.time.sleep(Duration::from_millis(patience)).await;
            None
        } else {
            invocation.await
        };
        world.tell(|| format!("{reader:?} {number}: records {next} to {} returned {answer:?}", next + length - 1));
        match answer {
            Some(None) => {
                next += length;
                failures = 0;
                // The checkpoint was not saved in time: records that are done are delivered again.
                if world.time.inject_fault(12) {
                    let back = usize::try_from(world.time.below(4)).unwrap_or_default();
                    next = next.saturating_sub(back);
                }
            }
            Some(Some(failed)) => {
                next += if world.has(Mutant::CheckpointLost) { length } else { failed };
                failures += 1;
            }
            None => failures += 1,
        }
        if failures > 0 {
            let bound = 50_u64 << failures.min(6);
            let pause = world.time.below(bound);
            world.time.sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// Runs the worker's function on a batch. Returns the index of the first record to retry, if any.
async fn invoke(world: Arc<World>, reader: Reader, batch: Vec<MessageEvent>) -> Option<usize> {
    let mut groups: Vec<(ChannelKey, Vec<(usize, MessageEvent)>)> = Vec::new();
    for (index, event) in batch.into_iter().enumerate() {
        let channel = event.stored.channel();
        match groups.iter_mut().find(|(of, _)| *of == channel) {
            Some((_, events)) => events.push((index, event)),
            None => groups.push((channel, vec![(index, event)])),
        }
    }
    let caller = if reader == Reader::Agent { Caller::Agent } else { Caller::System };
    let node = Node::new(&world, caller);
    let mut failed = None;
    for (mut channel, events) in groups {
        if world.has(Mutant::StreamById) {
            let state = world.store.state();
            channel = state.channels.get(&channel.channel_id).map_or(channel, Channel::key);
        }
        let first = match reader {
            Reader::Delivery => deliver(&node, &channel, events).await,
            Reader::Agent => answer(&node, events).await,
        };
        failed = failed.into_iter().chain(first).min();
    }
    failed
}

async fn deliver(node: &Node, channel: &ChannelKey, events: Vec<(usize, MessageEvent)>) -> Option<usize> {
    let deliver = async |(), events: Vec<MessageEvent>| {
        node.take_frames();
        let delivered = node.delivery().deliver(channel, &events, REACH).await;
        oracle::delivered(&node.world, channel, &events, &node.take_frames());
        (delivered.is_ok() || node.world.has(Mutant::FailureSwallowed)).then_some(())
    };
    first_failed(joined(events), (), deliver).await
}

async fn answer(node: &Node, events: Vec<(usize, MessageEvent)>) -> Option<usize> {
    let endless = Bucket { every: Duration::from_millis(1), burst: 1_000 };
    let budgets = Budgets { context_tokens: 1_000, user: endless, channel: endless, tokens_per_day: u64::MAX };
    let agent = Agent {
        channels: &node.store,
        messages: &node.store,
        model: node,
        drafts: node,
        clock: node,
        name: chat::app::agent::NAME,
        budgets,
        deadline: node.deadline(300),
    };
    let records = events.into_iter().filter(|(_, event)| is_new_message(event));
    let answer = async |mut channel: Option<Channel>, MessageEvent { stored, .. }: MessageEvent| {
        let question = (stored.channel(), stored.message.seq);
        let mut attempt = Attempt { world: &node.world, question, done: false };
        attempt.done = Box::pin(agent.answer(&stored, &mut channel)).await.is_ok();
        attempt.done.then_some(channel)
    };
    first_failed(records, None, answer).await
}

/// One attempt at a reply. An attempt that does not succeed may have begun a model call that another worker repeats.
struct Attempt<'a> {
    world: &'a World,
    question: QuestionKey,
    done: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.done {
            *self.world.tables().notes.disturbances.entry(self.question.clone()).or_default() += 1;
        }
    }
}
