//! The functions: real binaries behind the real Runtime API.

use bytes::Bytes;
use futures::future::BoxFuture;

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
