//! Settings of a run that come from environment variables or from its log level.

use std::time::Duration;

use emulator::{
    doors::{self, Limits as DoorLimits},
    websocket,
};

/// Returns the duration in seconds that an environment variable sets.
pub(super) fn seconds(name: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(std::env::var(name).ok()?.parse().ok()?).ok().filter(|set| !set.is_zero())
}

/// Returns the time limits of the listeners. This variable shortens them, so that tests need not wait for ten seconds.
pub(super) fn door_limits() -> DoorLimits {
    match seconds("SWITCHBOARD_LOCAL_REQUEST_SECONDS") {
        Some(limit) => DoorLimits { head: limit, body_pause: limit, body: limit, ..doors::LIMITS },
        None => doors::LIMITS,
    }
}

/// Returns the limits of API Gateway. These variables shorten them, so that tests of reconnects need not wait for
/// hours.
pub(super) fn websocket_options() -> websocket::WebSocketOptions {
    let defaults = websocket::WebSocketOptions::default();
    websocket::WebSocketOptions {
        idle_timeout: seconds("SWITCHBOARD_LOCAL_IDLE_SECONDS").unwrap_or(defaults.idle_timeout),
        maximum_duration: seconds("SWITCHBOARD_LOCAL_CONNECTION_SECONDS").unwrap_or(defaults.maximum_duration),
        ..defaults
    }
}

/// Returns the log level of the functions: the level of the run. It cannot be derived from a filter.
pub(super) fn function_log_level(log_level: &str) -> &str {
    match log_level {
        "off" => "error",
        "error" | "warn" | "info" | "debug" | "trace" => log_level,
        _ => "info",
    }
}
