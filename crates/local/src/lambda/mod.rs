//! The functions: real binaries behind the real Runtime API.
//!
//! Every execution environment is a process of the function's binary with a Runtime API of its own. An
//! environment has one event at a time; idle ones are reused, and more are started on demand.

mod asynchronous;
mod body;
mod environment;
mod guardian;
mod invoke_api;
mod limits;
mod pool;
mod process;
mod queues;
mod runtime_api;
mod sqs_api;

use std::{collections::BTreeMap, env, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use self::{
    asynchronous::Deliveries,
    guardian::ProcessReaper,
    pool::{Job, Pool},
};
use crate::{
    doors::{Limits, RUNTIME_LIMITS},
    stack::Function,
};

pub use self::{
    asynchronous::AsyncInvokeError,
    guardian::guardian_main,
    invoke_api::router,
    limits::{INIT_TIMEOUT, MAX_ASYNC_REQUEST_BYTES, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, SHUTDOWN_PHASE},
    queues::{Message, OnFailure, Queues},
    sqs_api::sqs_router,
};

/// The one version that functions have here.
const VERSION: &str = "$LATEST";

/// Environments of a function without reserved concurrency: enough to show concurrency, few enough for a laptop.
pub const DEFAULT_CONCURRENCY: usize = 10;

/// Invocations of one function that may wait for an environment before more are throttled.
pub const QUEUE_CAPACITY: usize = 1000;

/// Pauses before the second and third attempt of an asynchronous invocation. AWS takes one and two minutes,
/// which nobody wants to wait for at a desk.
pub const ASYNC_RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Something that can run a function: [`Lambda`] in the local run, a closure in a gateway's own tests.
pub trait Invoke: Send + Sync + 'static {
    /// `RequestResponse`: runs `function` (a name or an ARN) with a JSON `payload` and waits for its answer.
    fn invoke(&self, function: &str, payload: Bytes) -> BoxFuture<'static, Result<Invocation, InvokeError>>;
}

/// An invocation that ran to its end.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The Lambda request id.
    pub request_id: String,
    /// The function's JSON answer, or how it failed.
    pub outcome: Result<Bytes, FunctionError>,
}

/// A function that failed: it returned an error, crashed, or ran out of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// `errorType`, for example `Runtime.ExitError` or `Sandbox.Timedout`.
    pub error_type: String,
    /// `errorMessage`.
    pub message: String,
}

/// An invocation that never reached the function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// No such function.
    #[error("function not found: {0}")]
    UnknownFunction(String),
    /// The payload is over Lambda's limit.
    #[error("{size} byte payload is too large, the limit is {limit} bytes")]
    PayloadTooLarge {
        /// Bytes sent.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Every environment is busy and the queue is full.
    #[error("rate exceeded")]
    Throttled,
    /// The local run is stopping.
    #[error("the local run is stopping")]
    Stopping,
}

/// What a [`Lambda`] runs, and how.
#[derive(Clone)]
pub struct LambdaConfig {
    /// The functions.
    pub functions: Vec<Function>,
    /// Where each binary ([`Function::binary`]) is.
    pub binaries: BTreeMap<String, PathBuf>,
    /// Added to, and stronger than, every function's own variables: endpoint URLs and dummy credentials.
    pub environment: BTreeMap<String, String>,
    /// `AWS_REGION`.
    pub region: String,
    /// Most environments of a function without reserved concurrency; [`DEFAULT_CONCURRENCY`].
    pub default_concurrency: usize,
    /// Most waiting invocations of a function; [`QUEUE_CAPACITY`].
    pub queue_capacity: usize,
    /// How long an environment may take to start; [`INIT_TIMEOUT`].
    pub init_timeout: Duration,
    /// From SIGTERM to SIGKILL, for environments with an extension; [`SHUTDOWN_PHASE`].
    pub shutdown_phase: Duration,
    /// Pauses between the attempts of an asynchronous invocation, the last of them repeated; [`ASYNC_RETRY_DELAYS`].
    pub async_retry_delays: Vec<Duration>,
    /// Where accepted asynchronous invocations are kept until they are done, one file each, so that the next
    /// start resumes them. `None` keeps them in memory: a stop loses those that are not done.
    pub pending_dir: Option<PathBuf>,
    /// How long an environment may keep its Runtime API waiting; [`RUNTIME_LIMITS`].
    pub runtime_limits: Limits,
    /// Takes the records of asynchronous invocations that failed for good.
    pub failures: Arc<dyn OnFailure>,
    /// The executable whose `main` starts with [`guardian_main`]; `None` is the running one.
    pub guardian: Option<PathBuf>,
}

impl LambdaConfig {
    /// A configuration with AWS's limits, or this module's defaults where a laptop needs others.
    #[must_use]
    pub fn new(
        functions: Vec<Function>,
        binaries: BTreeMap<String, PathBuf>,
        region: impl Into<String>,
        failures: Arc<dyn OnFailure>,
    ) -> Self {
        Self {
            functions,
            binaries,
            environment: BTreeMap::new(),
            region: region.into(),
            default_concurrency: DEFAULT_CONCURRENCY,
            queue_capacity: QUEUE_CAPACITY,
            init_timeout: INIT_TIMEOUT,
            shutdown_phase: SHUTDOWN_PHASE,
            async_retry_delays: ASYNC_RETRY_DELAYS.to_vec(),
            pending_dir: None,
            runtime_limits: RUNTIME_LIMITS,
            failures,
            guardian: None,
        }
    }
}

/// Why the functions cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// A function's binary is not among those given.
    #[error("function {function} has no binary: {binary} was neither built nor found")]
    NoBinary {
        /// The function's name.
        function: String,
        /// The binary's name.
        binary: String,
    },
    /// The process that keeps functions from outliving the runner did not start.
    #[error("cannot start the guardian of the functions: {0}")]
    Guardian(#[source] io::Error),
    /// The folder of pending asynchronous invocations cannot be used.
    #[error("cannot use {} for pending asynchronous invocations: {source}; check its permissions", path.display())]
    Pending {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What the environments of all functions share.
struct Runner {
    region: String,
    environment: BTreeMap<String, String>,
    queue_capacity: usize,
    init_timeout: Duration,
    shutdown_phase: Duration,
    runtime_limits: Limits,
    guardian: ProcessReaper,
    environments: TaskTracker,
    /// Nothing new is accepted, idle environments end.
    draining: CancellationToken,
    /// Busy environments end too.
    killing: CancellationToken,
}

impl fmt::Debug for Runner {
    // The variables may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The local AWS Lambda. Clones share it.
#[derive(Debug, Clone)]
pub struct Lambda {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pools: BTreeMap<String, Arc<Pool>>,
    runner: Arc<Runner>,
    deliveries: Deliveries,
    guardian: TaskTracker,
}

impl Lambda {
    /// Makes ready to run functions, and resumes the asynchronous invocations that an earlier run left
    /// unfinished. Environments only start with the first invocations.
    ///
    /// To be called within a Tokio runtime.
    pub fn new(config: LambdaConfig) -> Result<Self, LambdaError> {
        let executable = config.guardian.map_or_else(own_executable, Ok).map_err(LambdaError::Guardian)?;
        let guardian_task = TaskTracker::new();
        let guardian = ProcessReaper::start(&executable, &guardian_task).map_err(LambdaError::Guardian)?;
        let runner = Arc::new(Runner {
            region: config.region,
            environment: config.environment,
            queue_capacity: config.queue_capacity,
            init_timeout: config.init_timeout,
            shutdown_phase: config.shutdown_phase,
            runtime_limits: config.runtime_limits,
            guardian,
            environments: TaskTracker::new(),
            draining: CancellationToken::new(),
            killing: CancellationToken::new(),
        });
        let mut pools = BTreeMap::new();
        for function in config.functions {
            let Some(binary) = config.binaries.get(&function.binary).cloned() else {
                return Err(LambdaError::NoBinary { function: function.name, binary: function.binary });
            };
            let concurrency = function.reserved_concurrency.unwrap_or(config.default_concurrency);
            let name = function.name.clone();
            pools.insert(
                name,
                Arc::new(Pool::new(function, binary, concurrency, Arc::clone(&runner), |pool, id| {
                    Box::pin(environment::run_environment(pool, id))
                })),
            );
        }
        let (deliveries, unfinished) =
            Deliveries::open(config.pending_dir, config.async_retry_delays, config.failures)?;
        let lambda = Self { inner: Arc::new(Inner { pools, runner, deliveries, guardian: guardian_task }) };
        for pending in unfinished {
            lambda.deliver(pending);
        }
        Ok(lambda)
    }

    /// Stops all functions: idle ones now, busy ones when they are done or `grace` is over. Returns when none
    /// is left. Invocations that still waited end with [`InvokeError::Stopping`].
    pub async fn shutdown(&self, grace: Duration) {
        let Inner { pools, runner, deliveries, guardian } = &*self.inner;
        runner.draining.cancel();
        for pool in pools.values() {
            pool.drain();
        }
        runner.environments.close();
        let _ = timeout(grace, runner.environments.wait()).await;
        runner.killing.cancel();
        runner.environments.wait().await;
        deliveries.finished().await;
        runner.guardian.stop();
        guardian.close();
        guardian.wait().await;
    }

    /// The function with this name, ARN or partial ARN, each with or without its version
    /// (`FunctionName` of `Invoke` in the Lambda API reference).
    fn pool(&self, function: &str) -> Option<&Arc<Pool>> {
        let unqualified = function.strip_suffix(VERSION).and_then(|name| name.strip_suffix(':')).unwrap_or(function);
        let pools = &self.inner.pools;
        pools.get(unqualified).or_else(|| {
            pools.values().find(|pool| {
                let arn = pool.function.arn.as_str();
                // arn:aws:lambda:region:account:function:name, and the same from the account on.
                arn == unqualified || arn.splitn(5, ':').last() == Some(unqualified)
            })
        })
    }

    async fn run(&self, function: &str, request_id: String, payload: Bytes) -> Result<Invocation, InvokeError> {
        let pool = self.pool(function).ok_or_else(|| InvokeError::UnknownFunction(function.to_owned()))?;
        if payload.len() > MAX_REQUEST_BYTES {
            return Err(InvokeError::PayloadTooLarge { size: payload.len(), limit: MAX_REQUEST_BYTES });
        }
        let (reply, outcome) = oneshot::channel();
        pool.submit(Job { request_id: request_id.clone(), payload, reply })?;
        let outcome = outcome.await.unwrap_or(Err(InvokeError::Stopping))?;
        Ok(Invocation { request_id, outcome })
    }
}

impl Invoke for Lambda {
    fn invoke(&self, function: &str, payload: Bytes) -> BoxFuture<'static, Result<Invocation, InvokeError>> {
        let (lambda, function) = (self.clone(), function.to_owned());
        Box::pin(async move { lambda.run(&function, Uuid::new_v4().to_string(), payload).await })
    }
}

/// This program. A build may have replaced it meanwhile; Linux keeps the one that runs.
fn own_executable() -> io::Result<PathBuf> {
    let by_path = env::current_exe()?;
    let running = PathBuf::from("/proc/self/exe");
    Ok(if by_path.exists() || !running.exists() { by_path } else { running })
}
