//! The environments of one function, and its waiting invocations.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{FunctionError, InvokeError, Runner};
use crate::{quotas::Execution, stack::Function};
use futures::future::BoxFuture;

/// Maximum duration of a turn. An invocation that takes longer, because it waits or hangs, keeps no other from its turn.
pub(super) const TURN_DURATION: Duration = Duration::from_millis(50);

/// Minimum number of turns: two invocations of a function run at the same time on every machine.
const LEAST_TURNS: usize = 2;

/// Result of an invocation.
pub(super) type InvocationResult = Result<Result<Bytes, FunctionError>, InvokeError>;

/// Invocation that has no environment yet.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<InvocationResult>,
    /// Counts as one of the function's concurrent executions until the response.
    pub(super) execution: Execution,
}

/// Next step of a free environment.
pub(super) enum NextJob {
    /// Runs this invocation.
    Run(Job),
    /// Waits for an invocation.
    Wait(oneshot::Receiver<Job>),
}

/// Runs the environment of a number until it ends.
pub(super) type Start = fn(Arc<Pool>, u64) -> BoxFuture<'static, ()>;

/// A function and its environments.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) function: Function,
    pub(super) binary: PathBuf,
    pub(super) runner: Arc<Runner>,
    start: Start,
    /// Maximum number of environments.
    concurrency: usize,
    /// Maximum number of [`Turn`]s: the machine's processors.
    turns: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Waiting invocations, oldest first.
    waiting: VecDeque<Job>,
    /// Idle environments, the most recently used last. The last one is reused first, so that as many as possible stay
    /// idle.
    idle: Vec<(u64, oneshot::Sender<Job>)>,
    /// Number of environments that are still starting.
    starting: usize,
    /// Number of all environments.
    environments: usize,
    /// Number of environments that have responded and are expected to poll soon.
    returning: usize,
    /// Number of assigned invocations whose [`Turn`] has not ended.
    turns: usize,
    started: u64,
}

/// First part of an invocation: until its response, or [`TURN_DURATION`]. Further invocations wait for its end.
///
/// An environment at AWS has a processor of its own. Here all share those of the machine, and more of them at once take
/// longer together.
#[derive(Debug)]
pub(super) struct Turn(Arc<Pool>);

impl Turn {
    /// Returns the turn of an invocation that `pool` has assigned.
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        Self(Arc::clone(pool))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.turns -= 1;
        self.0.serve(&mut state);
    }
}

impl Pool {
    pub(super) fn new(
        function: Function,
        binary: PathBuf,
        concurrency: usize,
        runner: Arc<Runner>,
        start: Start,
    ) -> Self {
        let turns = thread::available_parallelism().map_or(LEAST_TURNS, usize::from).max(LEAST_TURNS);
        Self { function, binary, runner, start, concurrency, turns, state: Mutex::default() }
    }

    /// Queues `job` for the next free environment: an idle one, one that polls soon, or a new one.
    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<(), InvokeError> {
        let mut state = self.state();
        if self.runner.draining.is_cancelled() {
            return Err(InvokeError::Stopping);
        }
        state.waiting.retain(|waiting| !waiting.reply.is_closed());
        if self.concurrency == 0 || state.waiting.len() >= self.runner.queue_capacity {
            return Err(InvokeError::Throttled);
        }
        state.waiting.push_back(job);
        self.serve(&mut state);
        Ok(())
    }

    /// Marks an environment that has responded as about to poll: earlier than a new one starts, and with warm caches.
    /// The mark lasts until its next [`Pool::next_job`] or [`Pool::overdue`].
    pub(super) fn expect(&self) {
        self.state().returning += 1;
    }

    /// Removes the mark of an environment that did not poll in time, or has ended.
    pub(super) fn overdue(self: &Arc<Self>) {
        let mut state = self.state();
        state.returning -= 1;
        self.serve(&mut state);
    }

    /// Returns the oldest waiting invocation for the free environment `id` if a turn is free. Otherwise makes the
    /// environment idle. The caller holds the [`Turn`] of the invocation.
    pub(super) fn next_job(&self, id: u64, was_expected: bool) -> NextJob {
        let mut state = self.state();
        state.returning -= usize::from(was_expected);
        while self.ready(&state) > 0
            && let Some(job) = state.waiting.pop_front()
        {
            if !job.reply.is_closed() {
                state.turns += 1;
                return NextJob::Run(job);
            }
        }
        let (sender, receiver) = oneshot::channel();
        state.idle.push((id, sender));
        NextJob::Wait(receiver)
    }

    /// Requeues an invocation that did not reach its environment, at the front.
    pub(super) fn put_back(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        state.turns -= 1;
        if self.runner.draining.is_cancelled() {
            let _ = job.reply.send(Err(InvokeError::Stopping));
            return;
        }
        state.waiting.push_front(job);
        self.serve(&mut state);
    }

    /// Ends the start of an environment. If it failed, the oldest waiting invocation fails with it. Each failed start
    /// fails one invocation, so that a function that cannot start is not restarted without end.
    pub(super) fn started(&self, failure: Option<&dyn Fn(&str) -> FunctionError>) {
        let mut state = self.state();
        state.starting -= 1;
        if let (Some(failure), Some(job)) = (failure, failure.and_then(|_| state.waiting.pop_front())) {
            let error = failure(&job.request_id);
            let _ = job.reply.send(Ok(Err(error)));
        }
    }

    /// Removes the ended environment `id`.
    pub(super) fn ended(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        state.environments -= 1;
        state.idle.retain(|(idle, _)| *idle != id);
        self.serve(&mut state);
    }

    /// Fails the waiting invocations. The caller stops accepting new ones before.
    pub(super) fn drain(&self) {
        for job in self.state().waiting.drain(..) {
            let _ = job.reply.send(Err(InvokeError::Stopping));
        }
    }

    /// Returns the number of waiting invocations that have a free turn.
    fn ready(&self, state: &State) -> usize {
        state.waiting.len().min(self.turns.saturating_sub(state.turns))
    }

    /// Assigns waiting invocations to idle environments and starts new environments if there are too few. Environments
    /// that poll soon count as available.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while state.returning < self.ready(state) {
            if state.waiting.front().is_some_and(|job| job.reply.is_closed()) {
                state.waiting.pop_front();
            } else if let Some((_, environment)) = state.idle.pop() {
                let Some(job) = state.waiting.pop_front() else { return };
                match environment.send(job) {
                    Ok(()) => state.turns += 1,
                    // The environment has just ended.
                    Err(job) => state.waiting.push_front(job),
                }
            } else if state.returning + state.starting < self.ready(state) && state.environments < self.concurrency {
                state.starting += 1;
                state.environments += 1;
                state.started += 1;
                self.runner.environments.spawn((self.start)(Arc::clone(self), state.started));
            } else {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
