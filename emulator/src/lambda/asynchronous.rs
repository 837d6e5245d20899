//! Asynchronous invocations: "Invoking a Lambda function asynchronously" in the Lambda developer guide.
//!
//! An accepted invocation is stored as a file until it has succeeded or its record is in the on-failure destination. If
//! a run ends earlier, the file remains and the next run continues: delivery is at least once.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};
use ulid::Ulid;
use uuid::Uuid;

use super::{
    FunctionError, InvokeError, Lambda, LambdaError, VERSION, limits::MAX_ASYNC_REQUEST_BYTES, queues::OnFailure,
};
use crate::stack::AsyncInvoke;

/// First and maximum pause after a throttled attempt. The pause doubles with each attempt (the page named above).
const THROTTLE_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(5)];

/// An asynchronous invocation that was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AsyncInvokeError {
    /// The invocation was rejected for a reason that also applies to synchronous invocations.
    #[error(transparent)]
    Refused(#[from] InvokeError),
    /// The file of the invocation could not be written, so a restart would lose it.
    #[error("cannot store the invocation in {}: {source}; check free space and permissions", path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

/// An accepted invocation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pending {
    /// A ULID. It sorts by time, so that a later run resumes in the order of acceptance.
    id: String,
    request_id: String,
    /// Name of the function.
    function: String,
    accepted_at: Timestamp,
    /// Number of attempts that ran and failed.
    attempts: u32,
    /// Error of the last attempt.
    last_error: Option<Failure>,
    /// Payload as JSON.
    payload: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    error_type: String,
    error_message: String,
}

/// Reason why an invocation failed.
#[derive(Debug, Clone, Copy)]
enum Condition {
    RetriesExhausted,
    EventAgeExceeded,
    /// The function's reserved concurrency is 0.
    ZeroReservedConcurrency,
}

/// Accepted invocations and their retry settings.
pub(super) struct Deliveries {
    directory: Option<PathBuf>,
    retry_delays: Vec<Duration>,
    failures: Arc<dyn OnFailure>,
    tasks: TaskTracker,
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Deliveries {
    /// Stores invocations in `directory`. Also returns the stored ones of an earlier run, oldest first.
    pub(super) fn open(
        directory: Option<PathBuf>,
        retry_delays: Vec<Duration>,
        failures: Arc<dyn OnFailure>,
    ) -> Result<(Self, Vec<Pending>), LambdaError> {
        let unfinished = match &directory {
            Some(path) => read(path).map_err(|source| LambdaError::Pending { path: path.clone(), source })?,
            None => Vec::new(),
        };
        Ok((Self { directory, retry_delays, failures, tasks: TaskTracker::new() }, unfinished))
    }

    /// Waits until no delivery is running. The caller stops the functions before.
    pub(super) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn file(&self, pending: &Pending) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(format!("{}.json", pending.id)))
    }

    async fn keep(&self, pending: &Pending) -> Result<(), AsyncInvokeError> {
        let Some(path) = self.file(pending) else { return Ok(()) };
        let written = async {
            // The rename ensures that a reader never reads a partial file.
            let draft = path.with_extension("tmp");
            tokio::fs::write(&draft, serde_json::to_vec_pretty(pending)?).await?;
            tokio::fs::rename(&draft, &path).await
        };
        written.await.map_err(|source| AsyncInvokeError::NotKept { path, source })
    }

    async fn forget(&self, pending: &Pending) {
        let Some(path) = self.file(pending) else { return };
        if let Err(reason) = tokio::fs::remove_file(&path).await {
            error!(%reason, file = %path.display(), "a finished invocation was not removed: the next start repeats it");
        }
    }

    fn pause_after(&self, attempts: u32) -> Duration {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.retry_delays.get(index).or(self.retry_delays.last()).copied().unwrap_or_default()
    }
}

fn read(directory: &Path) -> io::Result<Vec<Pending>> {
    fs::create_dir_all(directory)?;
    let mut unfinished = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match serde_json::from_slice::<Pending>(&fs::read(&path)?) {
            Ok(pending) => unfinished.push(pending),
            Err(reason) => warn!(%reason, file = %path.display(), "a file was not a pending invocation; it was kept"),
        }
    }
    unfinished.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(unfinished)
}

impl Lambda {
    /// `Event`: accepts `payload` (JSON) for `function` and returns the request id at once. Retries failed attempts by
    /// the function's [`AsyncInvoke`]. After the last attempt, sends the record to the on-failure destination.
    pub async fn invoke_async(&self, function: &str, payload: Bytes) -> Result<String, AsyncInvokeError> {
        let pool = self.pool(function).ok_or_else(|| InvokeError::UnknownFunction(function.to_owned()))?;
        if payload.len() > MAX_ASYNC_REQUEST_BYTES {
            let (size, limit) = (payload.len(), MAX_ASYNC_REQUEST_BYTES);
            return Err(InvokeError::PayloadTooLarge { size, limit }.into());
        }
        let deliveries = &self.inner.deliveries;
        if self.stopping() && deliveries.directory.is_none() {
            return Err(InvokeError::Stopping.into());
        }
        let pending = Pending {
            id: Ulid::generate().to_string(),
            request_id: Uuid::new_v4().to_string(),
            function: pool.function.name.clone(),
            accepted_at: Timestamp::now(),
            attempts: 0,
            last_error: None,
            payload: String::from_utf8_lossy(&payload).into_owned(),
        };
        deliveries.keep(&pending).await?;
        let request_id = pending.request_id.clone();
        self.deliver(pending);
        Ok(request_id)
    }

    /// Delivers `pending` in the background, with all retries.
    pub(super) fn deliver(&self, pending: Pending) {
        let Some(function) = self.pool(&pending.function).map(|pool| pool.function.clone()) else {
            warn!(function = pending.function, "a pending invocation was kept, because its function was not found");
            return;
        };
        let lambda = self.clone();
        self.inner.deliveries.tasks.spawn(async move {
            // Recorded at AWS: the record is sent at once, without an attempt.
            if function.reserved_concurrency == Some(0) {
                return lambda.discard(&pending, &function.async_invoke, Condition::ZeroReservedConcurrency).await;
            }
            lambda.attempt_all(pending, &function.async_invoke).await;
        });
    }

    async fn attempt_all(&self, mut pending: Pending, settings: &AsyncInvoke) {
        let deliveries = &self.inner.deliveries;
        let [mut throttle_pause, longest_pause] = THROTTLE_PAUSES;
        loop {
            if too_old(&pending, settings) {
                return self.discard(&pending, settings, Condition::EventAgeExceeded).await;
            }
            let payload = Bytes::from(pending.payload.clone());
            let pause = match self.run(&pending.function, pending.request_id.clone(), payload).await {
                Ok(invocation) => match invocation.outcome {
                    Ok(_) => return deliveries.forget(&pending).await,
                    Err(FunctionError { error_type, message }) => {
                        pending.attempts += 1;
                        pending.last_error = Some(Failure { error_type, error_message: message });
                        if pending.attempts > settings.maximum_retry_attempts {
                            return self.discard(&pending, settings, Condition::RetriesExhausted).await;
                        }
                        if let Err(reason) = deliveries.keep(&pending).await {
                            warn!(%reason, "a failed attempt was not saved; a restart would not count it");
                        }
                        deliveries.pause_after(pending.attempts)
                    }
                },
                Err(InvokeError::Throttled) => {
                    let pause = throttle_pause;
                    throttle_pause = (pause * 2).min(longest_pause);
                    pause
                }
                Err(InvokeError::Stopping) => return self.leave(&pending),
                // Both were checked when the invocation was accepted.
                Err(error @ (InvokeError::UnknownFunction(_) | InvokeError::PayloadTooLarge { .. })) => {
                    error!(%error, request_id = pending.request_id, "an accepted invocation could not run");
                    return;
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.inner.runner.draining.cancelled() => return self.leave(&pending),
            }
        }
    }

    /// Logs an invocation that the end of the run interrupts.
    fn leave(&self, pending: &Pending) {
        if self.inner.deliveries.directory.is_none() {
            warn!(
                function = pending.function,
                request_id = pending.request_id,
                "an asynchronous invocation was lost at the end of the run, because it was in memory only"
            );
        }
    }

    async fn discard(&self, pending: &Pending, settings: &AsyncInvoke, condition: Condition) {
        let Some(queue) = &settings.on_failure else {
            warn!(function = pending.function, request_id = pending.request_id, ?condition, "invocation dropped");
            return self.inner.deliveries.forget(pending).await;
        };
        let arn = self.pool(&pending.function).map(|pool| pool.function.arn.clone()).unwrap_or_default();
        match self.inner.deliveries.failures.send(queue, record(pending, &arn, condition)) {
            Ok(()) => self.inner.deliveries.forget(pending).await,
            Err(reason) => {
                error!(%reason, queue, "a failed invocation was not sent to its destination; the next start retries");
            }
        }
    }

    fn stopping(&self) -> bool {
        self.inner.runner.draining.is_cancelled()
    }
}

fn too_old(pending: &Pending, settings: &AsyncInvoke) -> bool {
    let age = Timestamp::now().duration_since(pending.accepted_at);
    // If the clock was set back, the age is negative and the event is not too old.
    Duration::try_from(age).is_ok_and(|age| age >= settings.maximum_event_age)
}

/// Returns the invocation record of "Capturing records of Lambda asynchronous invocations" in the developer guide.
fn record(pending: &Pending, function_arn: &str, condition: Condition) -> Value {
    let payload = serde_json::from_str(&pending.payload).unwrap_or_else(|_| json!(pending.payload));
    let mut record = json!({
        "version": "1.0",
        "timestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        "requestContext": {
            "requestId": pending.request_id,
            "functionArn": format!("{function_arn}:{VERSION}"),
            "condition": format!("{condition:?}"),
            "approximateInvokeCount": pending.attempts,
        },
        "requestPayload": payload,
    });
    if let Some(error) = &pending.last_error {
        record["responseContext"] =
            json!({ "statusCode": 200, "executedVersion": VERSION, "functionError": "Unhandled" });
        record["responsePayload"] = json!(error);
    }
    record
}
