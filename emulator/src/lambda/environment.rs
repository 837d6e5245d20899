//! One execution environment, from its start to its end: "Understanding the Lambda execution environment
//! lifecycle" in the Lambda developer guide.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{
    FunctionError, InvokeError, VERSION,
    pool::{InvocationResult, Job, NextJob, Pool, TURN_DURATION, Turn},
    process::{self, Process},
    runtime_api::{Event, RuntimeApi, Step},
};
use crate::quotas::Execution;

/// Time within which an environment is expected to poll again after its response. A slower one is not waited for,
/// because a cold start takes about as long.
const RETURN: Duration = Duration::from_millis(5);

struct Environment {
    pool: Arc<Pool>,
    process: Process,
    api: RuntimeApi,
    /// Process group whose end also ends the process, so that it does not outlive the runner.
    group: i32,
    /// Duration of the init phase. It is reported with the first invocation.
    init_duration: Option<Duration>,
    /// `true` if the environment polled within [`RETURN`] after its last response.
    is_prompt: bool,
    /// `true` while the pool expects the environment to poll soon.
    is_expected: bool,
}

/// State of an environment after an invocation.
#[derive(Debug, PartialEq, Eq)]
enum AfterInvocation {
    Usable,
    Over,
}

/// Starts an environment and runs invocations in it until its process ends or the local run stops.
pub(super) async fn run_environment(pool: Arc<Pool>, id: u64) {
    match Environment::start(&pool).await {
        Ok(environment) => {
            pool.started(None);
            environment.run(id).await;
        }
        Err(failure) => {
            pool.started(Some(&|request_id| failure.error(request_id)));
        }
    }
    pool.ended(id);
}

/// Reason why an environment did not start.
enum StartFailure {
    Reported(FunctionError),
    Crashed(String),
    TimedOut(Duration),
    NotRunnable(String),
}

impl StartFailure {
    fn error(&self, request_id: &str) -> FunctionError {
        match self {
            Self::Reported(error) => error.clone(),
            Self::Crashed(how) => exit_error(request_id, how),
            Self::TimedOut(after) => timeout_error(request_id, *after),
            Self::NotRunnable(reason) => FunctionError {
                error_type: "Runtime.InvalidEntrypoint".into(),
                message: format!("RequestId: {request_id} Error: {reason}"),
            },
        }
    }
}

impl Environment {
    async fn start(pool: &Arc<Pool>) -> Result<Self, StartFailure> {
        let began = Instant::now();
        let mut environment = Self::spawn(pool).await?;
        let timeout = pool.runner.init_timeout;
        let deadline = began + timeout;
        let failure = loop {
            tokio::select! {
                // The process's own report before its end has priority.
                biased;
                step = environment.api.steps.recv() => match step {
                    Some(Step::Next) => {
                        environment.init_duration = Some(began.elapsed());
                        return Ok(environment);
                    }
                    Some(Step::InitFailed(error) | Step::ExtensionFailed(error)) => {
                        break StartFailure::Reported(error);
                    }
                    Some(Step::Answered(_)) => {}
                    None => break StartFailure::Crashed("its Runtime API ended".into()),
                },
                status = environment.process.ended() => break StartFailure::Crashed(process::describe(&status)),
                () = sleep_until(deadline) => break StartFailure::TimedOut(timeout),
                () = pool.runner.draining.cancelled() => break StartFailure::Crashed("the local run stops".into()),
            }
        };
        let phase = began.elapsed();
        warn!(target: "function", name = pool.function.name, ?phase, "init failed: {}", failure.error("-"));
        environment.process.end(None).await;
        Err(failure)
    }

    async fn spawn(pool: &Arc<Pool>) -> Result<Self, StartFailure> {
        let (function, runner) = (&pool.function, &pool.runner);
        let not_runnable = |error: std::io::Error| {
            StartFailure::NotRunnable(format!("cannot start {}: {error}", pool.binary.display()))
        };
        let api = RuntimeApi::listen(&function.name, &function.arn, &function.binary, runner.runtime_limits);
        let api = api.await.map_err(not_runnable)?;
        // Starts a second time if the process reaper, whose group the process joins, has died meanwhile.
        let mut attempts_left = 2;
        loop {
            attempts_left -= 1;
            let group = runner.guardian.group().await.map_err(not_runnable)?;
            let command = process::command(function, &pool.binary, &runner.region, &runner.environment, api.address);
            match Process::start(command, group, &function.name) {
                Ok(process) => {
                    return Ok(Self {
                        pool: Arc::clone(pool),
                        process,
                        api,
                        group,
                        init_duration: None,
                        is_prompt: true,
                        is_expected: false,
                    });
                }
                Err(error) if attempts_left == 0 => return Err(not_runnable(error)),
                Err(_) => {
                    tokio::select! {
                        () = runner.guardian.replaced(group) => {}
                        () = sleep(runner.init_timeout) => {}
                    }
                }
            }
        }
    }

    async fn run(mut self, id: u64) {
        let pool = Arc::clone(&self.pool);
        let fate = loop {
            if pool.runner.draining.is_cancelled() {
                break AfterInvocation::Usable;
            }
            let job = match pool.next_job(id, std::mem::take(&mut self.is_expected)) {
                NextJob::Run(job) => job,
                NextJob::Wait(mut next) => {
                    if let Some(job) = self.idle(&mut next).await {
                        job
                    } else {
                        next.close();
                        if let Ok(job) = next.try_recv() {
                            pool.put_back(job);
                        }
                        break AfterInvocation::Usable;
                    }
                }
            };
            if self.invoke(job).await == AfterInvocation::Over {
                break AfterInvocation::Over;
            }
        };
        if self.is_expected {
            pool.overdue();
        }
        // Lambda sends SIGTERM only to processes with an extension. A hanging process would ignore it.
        let notice =
            (fate == AfterInvocation::Usable && self.api.has_extensions()).then_some(pool.runner.shutdown_phase);
        self.process.end(notice).await;
    }

    /// Waits for an invocation. Returns `None` when the environment has ended.
    async fn idle(&mut self, next: &mut oneshot::Receiver<Job>) -> Option<Job> {
        let runner = Arc::clone(&self.pool.runner);
        tokio::select! {
            biased;
            status = self.process.ended() => {
                warn!(target: "function", name = self.pool.function.name, "{}", process::describe(&status));
                None
            }
            () = runner.draining.cancelled() => None,
            () = runner.guardian.replaced(self.group) => None,
            job = next => job.ok(),
        }
    }

    async fn invoke(&mut self, job: Job) -> AfterInvocation {
        let Job { request_id, payload, reply, execution } = job;
        let (name, timeout) = (self.pool.function.name.as_str(), self.pool.function.timeout);
        debug!(target: "function", name, "START RequestId: {request_id} Version: {VERSION}");
        let began = Instant::now();
        let deadline = began + timeout;
        self.api.run(Event { request_id: request_id.clone(), payload, trace_id: trace_id(), timeout });
        let mut call = Call { reply: Some((reply, execution)), due: None, turn: Some(Turn::of(&self.pool)) };
        let fate = loop {
            tokio::select! {
                biased;
                step = self.api.steps.recv() => {
                    if let Some(fate) = self.on_step(step, &mut call) {
                        break fate;
                    }
                }
                status = self.process.ended() => {
                    call.answer(Ok(Err(exit_error(&request_id, &process::describe(&status)))));
                    break AfterInvocation::Over;
                }
                () = sleep_until(call.due.unwrap_or(deadline)), if self.is_expected => {
                    self.is_expected = false;
                    self.pool.overdue();
                }
                () = sleep_until(began + TURN_DURATION), if call.turn.is_some() => call.turn = None,
                () = sleep_until(deadline) => {
                    call.answer(Ok(Err(timeout_error(&request_id, timeout))));
                    break AfterInvocation::Over;
                }
                () = self.pool.runner.killing.cancelled() => {
                    call.answer(Err(InvokeError::Stopping));
                    break AfterInvocation::Over;
                }
            }
        };
        self.is_prompt = call.due.is_none_or(|due| Instant::now() <= due);
        self.report(&request_id, began.elapsed());
        fate
    }

    /// Handles a step of the process during an invocation. Returns the fate of the environment if the step ends the
    /// invocation.
    fn on_step(&mut self, step: Option<Step>, call: &mut Call) -> Option<AfterInvocation> {
        match step {
            Some(Step::Answered(outcome)) => {
                call.due = Some(Instant::now() + RETURN);
                if self.is_prompt {
                    self.is_expected = true;
                    // Runs before the response, so that the caller's next invocation finds this environment.
                    self.pool.expect();
                }
                call.answer(Ok(outcome));
                None
            }
            // The invocation lasts until the process and its extensions poll again. Work after the response, such as
            // exports of telemetry, is part of it.
            Some(Step::Next) => Some(AfterInvocation::Usable),
            Some(Step::InitFailed(_)) => None,
            Some(Step::ExtensionFailed(error)) => {
                warn!(target: "function", name = self.pool.function.name, "an extension failed: {error}");
                call.answer(Ok(Err(error)));
                Some(AfterInvocation::Over)
            }
            None => Some(AfterInvocation::Over),
        }
    }

    /// Logs the end of an invocation as Lambda does. The first one includes the init phase.
    fn report(&mut self, request_id: &str, duration: Duration) {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let duration = milliseconds(duration);
        let init = self
            .init_duration
            .take()
            .map_or_else(String::new, |init| format!("\tInit Duration: {:.2} ms", milliseconds(init)));
        let (name, memory) = (self.pool.function.name.as_str(), self.pool.function.memory_mb);
        debug!(target: "function", name, "END RequestId: {request_id}");
        debug!(
            target: "function",
            name,
            "REPORT RequestId: {request_id}\tDuration: {duration:.2} ms\tMemory Size: {memory} MB{init}",
        );
    }
}

/// An invocation that an environment runs.
struct Call {
    reply: Option<(oneshot::Sender<InvocationResult>, Execution)>,
    /// Time at which the environment must poll again after its response.
    due: Option<Instant>,
    /// Ends before the response, so that the caller's next invocation does not wait for it.
    turn: Option<Turn>,
}

impl Call {
    /// Gives the caller its result. Only the first result counts.
    fn answer(&mut self, result: InvocationResult) {
        if let Some((reply, execution)) = self.reply.take() {
            // Ends before the response, so that the caller's next invocation is not throttled.
            drop(execution);
            self.turn = None;
            // A caller that has disconnected does not need the result.
            let _ = reply.send(result);
        }
    }
}

fn exit_error(request_id: &str, how: &str) -> FunctionError {
    FunctionError { error_type: "Runtime.ExitError".into(), message: format!("RequestId: {request_id} Error: {how}") }
}

fn timeout_error(request_id: &str, after: Duration) -> FunctionError {
    FunctionError {
        error_type: "Sandbox.Timedout".into(),
        message: format!("RequestId: {request_id} Error: Task timed out after {:.2} seconds", after.as_secs_f64()),
    }
}

/// Returns a trace header that is not sampled ("Tracing header" in the X-Ray developer guide).
fn trace_id() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let random = Uuid::new_v4().simple().to_string();
    let parent = Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[..24], &parent[..16])
}
