//! The limits of "Lambda quotas" in the Lambda developer guide.

use std::time::Duration;

/// Payload of a synchronous invocation: 6 MB.
pub const MAX_REQUEST_BYTES: usize = 6 * 1024 * 1024;

/// Payload of an asynchronous invocation: 1 MB.
pub const MAX_ASYNC_REQUEST_BYTES: usize = 1024 * 1024;

/// A function's answer: 6 MB too, but AWS's own error message counts 100 bytes more.
pub const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// How long a function may take before it asks for its first event ("Understanding the Lambda execution
/// environment lifecycle", init phase).
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// From SIGTERM to SIGKILL for a function with an internal extension (the same page, shutdown phase).
pub const SHUTDOWN_PHASE: Duration = Duration::from_millis(500);

/// One line of a function's output; the rest of a longer one becomes the next. `CloudWatch` Logs takes 1 MB.
pub(super) const MAX_LOG_LINE_BYTES: u64 = 1024 * 1024;
