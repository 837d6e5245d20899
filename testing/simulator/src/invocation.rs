//! Invocations: each runs in a process of its own, which may die.

use std::{future::Future, sync::Arc, time::Duration};

use chat::ports::fan_out::PushBatch;

use crate::{node::Node, oracle::Caller, world::World};

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
    (number, world.time.spawn_process(handle(node)).await)
}

/// Runs `SendMessageFunction` as an asynchronous invocation: at most three attempts.
pub(crate) fn send_message(world: &Arc<World>, batch: PushBatch) {
    let of_world = Arc::clone(world);
    world.time.spawn(async move {
        let world = of_world;
        for attempt in 0..3_u64 {
            let one = batch.clone();
            let sent =
                request(&world, Caller::System, |node| async move { node.delivery().push_batch(one).await }).await.1;
            match sent {
                Some(Ok(outcome)) if outcome.failed == 0 => return,
                Some(Ok(_)) => break,
                _ => world.time.sleep(Duration::from_millis(200 << attempt)).await,
            }
        }
        let failed = batch.recipients.iter().map(|target| target.connection.id.clone());
        world.tables().notes.failed.extend(failed);
    });
}
