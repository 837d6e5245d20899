//! The environments of one function, and the invocations that wait for them.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{FunctionError, InvokeError, Runner};
use crate::stack::Function;
use futures::future::BoxFuture;

/// What came of an invocation.
pub(super) type InvocationResult = Result<Result<Bytes, FunctionError>, InvokeError>;

/// An invocation on its way to an environment.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request_id: String,
    pub(super) payload: Bytes,
    pub(super) reply: oneshot::Sender<InvocationResult>,
}

/// What an environment that is free does next.
pub(super) enum NextJob {
    /// Runs this.
    Run(Job),
    /// Waits for what comes here.
    Wait(oneshot::Receiver<Job>),
}

/// Runs the environment of a number until it ends.
pub(super) type Start = fn(Arc<Pool>, u64) -> BoxFuture<'static, ()>;

/// One function with everything that runs it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) function: Function,
    pub(super) binary: PathBuf,
    pub(super) runner: Arc<Runner>,
    start: Start,
    /// Most environments at a time.
    concurrency: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// First come, first served.
    waiting: VecDeque<Job>,
    /// Most recently used last, and reused first: as many stay idle as can be.
    idle: Vec<(u64, oneshot::Sender<Job>)>,
    /// Environments before their first turn.
    starting: usize,
    /// All environments.
    environments: usize,
    /// Environments that have answered, and will be back in a moment.
    returning: usize,
    started: u64,
}

impl Pool {
    pub(super) fn new(
        function: Function,
        binary: PathBuf,
        concurrency: usize,
        runner: Arc<Runner>,
        start: Start,
    ) -> Self {
        Self { function, binary, runner, concurrency, start, state: Mutex::default() }
    }

    /// Queues `job` for the next environment that is free: idle, about to return, or started for it.
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

    /// An environment has answered and is expected back at once: sooner than another is started, and with all that it
    /// remembers. Until its next [`Pool::turn`], or [`Pool::overdue`].
    pub(super) fn expect(&self) {
        self.state().returning += 1;
    }

    /// An environment that was expected is not back yet, or has ended.
    pub(super) fn overdue(self: &Arc<Self>) {
        let mut state = self.state();
        state.returning -= 1;
        self.serve(&mut state);
    }

    /// The environment `id` is free, and may have been expected: the oldest waiting invocation, or a place among the idle.
    pub(super) fn turn(&self, id: u64, was_expected: bool) -> NextJob {
        let mut state = self.state();
        state.returning -= usize::from(was_expected);
        while let Some(job) = state.waiting.pop_front() {
            if !job.reply.is_closed() {
                return NextJob::Run(job);
            }
        }
        let (sender, receiver) = oneshot::channel();
        state.idle.push((id, sender));
        NextJob::Wait(receiver)
    }

    /// Puts back an invocation that its environment never saw.
    pub(super) fn put_back(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        if self.runner.draining.is_cancelled() {
            let _ = job.reply.send(Err(InvokeError::Stopping));
            return;
        }
        state.waiting.push_front(job);
        self.serve(&mut state);
    }

    /// An environment is through with its start. When that failed, the invocation that has waited longest
    /// fails with it: one for each failed start, so that a function that never starts is not started for ever.
    pub(super) fn started(&self, failure: Option<&dyn Fn(&str) -> FunctionError>) {
        let mut state = self.state();
        state.starting -= 1;
        if let (Some(failure), Some(job)) = (failure, failure.and_then(|_| state.waiting.pop_front())) {
            let error = failure(&job.request_id);
            let _ = job.reply.send(Ok(Err(error)));
        }
    }

    /// The environment `id` is no more.
    pub(super) fn ended(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        state.environments -= 1;
        state.idle.retain(|(idle, _)| *idle != id);
        self.serve(&mut state);
    }

    /// Refuses what still waits; called once no more is accepted.
    pub(super) fn drain(&self) {
        for job in self.state().waiting.drain(..) {
            let _ = job.reply.send(Err(InvokeError::Stopping));
        }
    }

    /// Gives what waits, and what no environment is about to return for, to idle ones; starts more where there are none.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while state.returning < state.waiting.len() {
            if state.waiting.front().is_some_and(|job| job.reply.is_closed()) {
                state.waiting.pop_front();
            } else if let Some((_, environment)) = state.idle.pop() {
                let Some(job) = state.waiting.pop_front() else { return };
                if let Err(job) = environment.send(job) {
                    // That environment has just ended.
                    state.waiting.push_front(job);
                }
            } else if state.returning + state.starting < state.waiting.len() && state.environments < self.concurrency {
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
