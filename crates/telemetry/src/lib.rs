//! What a function tells about itself: structured logs, and the trace context that follows a message.

pub mod metrics;
pub mod traceparent;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The workspace's crates that functions share; the function's own comes to them.
const CRATES: [&str; 5] = ["auth", "chat", "chat_aws", "http_api", "telemetry"];

/// Sets up logging for the process: JSON lines on standard output inside Lambda, readable lines elsewhere.
/// `LOG_LEVEL` is `trace`, `debug`, `info` (when unset), `warn` or `error`.
pub fn init() {
    let level = std::env::var("LOG_LEVEL").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let function = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_str()?.replace('-', "_")));
    let registry = tracing_subscriber::registry().with(filter(level, function));
    // Lambda stamps each line with its own time.
    if std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some() {
        registry.with(fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false)).init();
    } else {
        registry.with(fmt::layer().compact()).init();
    }
}

/// The level is that of the workspace's own crates. Libraries get no further than their warnings: below those, the
/// runtime and the HTTP clients write down whole events and headers, and with them the callers' tokens.
fn filter(level: LevelFilter, function: Option<String>) -> Targets {
    let own = CRATES.map(str::to_owned).into_iter().chain(function).map(|name| (name, level));
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(own)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_never_say_more_than_their_warnings() {
        for level in [LevelFilter::TRACE, LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN] {
            let filter = filter(level, Some("on_connect".to_owned()));
            for library in ["lambda_runtime", "lambda_http", "hyper_util", "aws_smithy_runtime", "reqwest"] {
                assert!(!filter.would_enable(library, &Level::INFO), "{library} at {level}");
                assert!(filter.would_enable(library, &Level::WARN), "{library} at {level}");
            }
            for own in ["on_connect::handler", "chat::send", "auth"] {
                assert_eq!(filter.would_enable(own, &Level::DEBUG), level >= LevelFilter::DEBUG, "{own} at {level}");
            }
        }
        assert!(!filter(LevelFilter::ERROR, None).would_enable("hyper_util", &Level::WARN));
    }
}
