//! Limits of "Lambda quotas" in the Lambda developer guide.

use std::time::Duration;

/// Maximum payload of a synchronous invocation: 6 MB.
pub const MAX_REQUEST_BYTES: usize = 6 * 1024 * 1024;

/// Maximum payload of an asynchronous invocation: 1 MB.
pub const MAX_ASYNC_REQUEST_BYTES: usize = 1024 * 1024;

/// Maximum response of a function: 6 MB. AWS's own error message names 100 bytes more.
pub const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// Maximum time until a function requests its first event ("Understanding the Lambda execution environment lifecycle",
/// init phase).
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between SIGTERM and SIGKILL for a function with an internal extension (the same page, shutdown phase).
pub const SHUTDOWN_PHASE: Duration = Duration::from_millis(500);

/// Maximum length of one line of a function's output. A longer line is split. `CloudWatch` Logs accepts 1 MB.
pub(super) const MAX_LOG_LINE_BYTES: u64 = 1024 * 1024;
