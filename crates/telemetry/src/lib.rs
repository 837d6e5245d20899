//! What a function tells about itself: structured logs, and the trace context that follows a message.

pub mod traceparent;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Sets up logging for the process: JSON lines on standard output inside Lambda, readable lines elsewhere.
/// `LOG_LEVEL` (`info` when unset) takes a level or a filter as `tracing_subscriber::EnvFilter` reads it.
pub fn init() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default();
    let filter =
        EnvFilter::try_new(if level.is_empty() { "info" } else { &level }).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // Lambda stamps each line with its own time.
    if std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some() {
        registry.with(fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false)).init();
    } else {
        registry.with(fmt::layer().compact()).init();
    }
}
