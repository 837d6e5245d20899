//! The functions: real binaries with a real Runtime API.
//!
//! Each execution environment is a process of the function's binary with its own Runtime API. An environment processes
//! one event at a time. Idle environments are reused, and new ones start on demand.

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
    quotas::Quotas,
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

/// The only version of the local functions.
const VERSION: &str = "$LATEST";

/// Maximum number of environments of a function without reserved concurrency: enough to show concurrency, few enough
/// for a laptop.
pub const DEFAULT_CONCURRENCY: usize = 10;

/// Maximum number of invocations of one function that wait for an environment. Further ones are throttled.
pub const QUEUE_CAPACITY: usize = 1000;

/// Pauses before the second and third attempt of an asynchronous invocation. AWS waits one and two minutes, which is
/// too long for local work.
pub const ASYNC_RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Interface to run a function: [`Lambda`] in the local run, a closure in a gateway's own tests.
pub trait Invoke: Send + Sync + 'static {
    /// `RequestResponse`: runs `function` (a name or an ARN) with a JSON `payload` and returns its response.
    fn invoke(&self, function: &str, payload: Bytes) -> BoxFuture<'static, Result<Invocation, InvokeError>>;
}

/// Result of an invocation that ran to its end.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Lambda request id.
    pub request_id: String,
    /// JSON response of the function, or its error.
    pub outcome: Result<Bytes, FunctionError>,
}

/// Error of a function that returned an error, crashed, or timed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// `errorType`, for example `Runtime.ExitError` or `Sandbox.Timedout`.
    pub error_type: String,
    /// `errorMessage`.
    pub message: String,
}

/// Reason why an invocation did not reach the function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function does not exist.
    #[error("function not found: {0}")]
    UnknownFunction(String),
    /// The payload exceeds Lambda's limit.
    #[error("{size} byte payload is too large, the limit is {limit} bytes")]
    PayloadTooLarge {
        /// Size of the payload in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// The function's concurrency is used up, or all environments are busy and the queue is full.
    #[error("rate exceeded")]
    Throttled,
    /// The local run is stopping.
    #[error("the local run is stopping")]
    Stopping,
}

/// Configuration of a [`Lambda`].
#[derive(Clone)]
pub struct LambdaConfig {
    /// Functions to run.
    pub functions: Vec<Function>,
    /// Path of each binary ([`Function::binary`]).
    pub binaries: BTreeMap<String, PathBuf>,
    /// Variables that are added to those of each function and override them: endpoint URLs and dummy credentials.
    pub environment: BTreeMap<String, String>,
    /// `AWS_REGION`.
    pub region: String,
    /// Maximum number of environments of a function without reserved concurrency; [`DEFAULT_CONCURRENCY`].
    pub default_concurrency: usize,
    /// Maximum number of waiting invocations of a function; [`QUEUE_CAPACITY`].
    pub queue_capacity: usize,
    /// Maximum time for an environment to start; [`INIT_TIMEOUT`].
    pub init_timeout: Duration,
    /// Time between SIGTERM and SIGKILL for environments with an extension; [`SHUTDOWN_PHASE`].
    pub shutdown_phase: Duration,
    /// Pauses between the attempts of an asynchronous invocation. The last one is repeated; [`ASYNC_RETRY_DELAYS`].
    pub async_retry_delays: Vec<Duration>,
    /// Directory of accepted asynchronous invocations that are not finished, one file each. The next start resumes
    /// them. With `None` they are in memory, and a stop loses the unfinished ones.
    pub pending_dir: Option<PathBuf>,
    /// Time limits of requests to the Runtime API; [`RUNTIME_LIMITS`].
    pub runtime_limits: Limits,
    /// Destination of the records of failed asynchronous invocations.
    pub failures: Arc<dyn OnFailure>,
    /// Executable whose `main` starts with [`guardian_main`]. `None` is the running one.
    pub guardian: Option<PathBuf>,
    /// Quotas of the account. With [`crate::quotas::Limits::concurrency`], an invocation over the concurrency of its
    /// function is throttled. Otherwise it waits for an environment.
    pub quotas: Quotas,
}

impl LambdaConfig {
    /// Returns a configuration with AWS's limits, or with this module's defaults where a laptop needs others.
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
            quotas: Quotas::default(),
        }
    }
}

/// Reason why the functions cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// The binary of a function is missing.
    #[error("function {function} has no binary: {binary} was neither built nor found")]
    NoBinary {
        /// Name of the function.
        function: String,
        /// Name of the binary.
        binary: String,
    },
    /// The process reaper did not start.
    #[error("cannot start the process reaper: {0}")]
    Reaper(#[source] io::Error),
    /// The directory of pending asynchronous invocations cannot be used.
    #[error("cannot use {} for pending asynchronous invocations: {source}; check its permissions", path.display())]
    Pending {
        /// Path of the directory.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

/// State shared by the environments of all functions.
struct Runner {
    region: String,
    environment: BTreeMap<String, String>,
    queue_capacity: usize,
    init_timeout: Duration,
    shutdown_phase: Duration,
    runtime_limits: Limits,
    guardian: ProcessReaper,
    environments: TaskTracker,
    /// Cancelled when no invocations are accepted and idle environments end.
    draining: CancellationToken,
    /// Cancelled when busy environments must end as well.
    killing: CancellationToken,
}

impl fmt::Debug for Runner {
    // Omits the variables, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Local AWS Lambda. Clones share it.
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
    quotas: Quotas,
}

impl Lambda {
    /// Creates the runner and resumes the unfinished asynchronous invocations of an earlier run. Environments start
    /// with the first invocations.
    ///
    /// Must be called within a Tokio runtime.
    pub fn new(config: LambdaConfig) -> Result<Self, LambdaError> {
        let executable = config.guardian.map_or_else(own_executable, Ok).map_err(LambdaError::Reaper)?;
        let guardian_task = TaskTracker::new();
        let guardian = ProcessReaper::start(&executable, &guardian_task).map_err(LambdaError::Reaper)?;
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
        config.quotas.reserve(&config.functions);
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
        let lambda = Self {
            inner: Arc::new(Inner { pools, runner, deliveries, guardian: guardian_task, quotas: config.quotas }),
        };
        for pending in unfinished {
            lambda.deliver(pending);
        }
        Ok(lambda)
    }

    /// Stops all functions: idle ones immediately, busy ones when they have finished or after `grace`. Returns when all
    /// have ended. Waiting invocations fail with [`InvokeError::Stopping`].
    pub async fn shutdown(&self, grace: Duration) {
        let Inner { pools, runner, deliveries, guardian, .. } = &*self.inner;
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

    /// Returns the function with this name, ARN or partial ARN, each with or without a version (`FunctionName` of
    /// `Invoke` in the Lambda API reference).
    fn pool(&self, function: &str) -> Option<&Arc<Pool>> {
        let unqualified = function.strip_suffix(VERSION).and_then(|name| name.strip_suffix(':')).unwrap_or(function);
        let pools = &self.inner.pools;
        pools.get(unqualified).or_else(|| {
            pools.values().find(|pool| {
                let arn = pool.function.arn.as_str();
                // arn:aws:lambda:region:account:function:name, and its part from the account on.
                arn == unqualified || arn.splitn(5, ':').last() == Some(unqualified)
            })
        })
    }

    async fn run(&self, function: &str, request_id: String, payload: Bytes) -> Result<Invocation, InvokeError> {
        let pool = self.pool(function).ok_or_else(|| InvokeError::UnknownFunction(function.to_owned()))?;
        if payload.len() > MAX_REQUEST_BYTES {
            return Err(InvokeError::PayloadTooLarge { size: payload.len(), limit: MAX_REQUEST_BYTES });
        }
        let execution = self.inner.quotas.execution(&pool.function.name).ok_or(InvokeError::Throttled)?;
        let (reply, outcome) = oneshot::channel();
        pool.submit(Job { request_id: request_id.clone(), payload, reply, execution })?;
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

/// Returns the path of this program. If a build has replaced the file, Linux still provides the running one.
fn own_executable() -> io::Result<PathBuf> {
    let by_path = env::current_exe()?;
    let running = PathBuf::from("/proc/self/exe");
    Ok(if by_path.exists() || !running.exists() { by_path } else { running })
}
