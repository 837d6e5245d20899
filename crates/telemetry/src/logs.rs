//! Logs: JSON lines on standard output in Lambda, readable lines elsewhere. Each line contains its trace, its request, and
//! its channel if there is one. The log group has the name of the function. Lines cost money by their length.

use std::fmt::{Debug, Result};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, Targets, filter_fn},
    fmt::{
        self, FmtContext, FormatEvent, FormatFields,
        format::{Writer, debug_fn},
        time::{FormatTime, SystemTime},
    },
    layer::Context,
    registry::{Extensions, LookupSpan},
};

use crate::{context::ParentContext, invocation};

/// The workspace's crates that functions share. The function's own crate is added to them.
const CRATES: [&str; 8] = ["auth", "aws_json", "chat", "chat_aws", "http_api", "models", "secrets", "telemetry"];

/// The span field with a channel id.
const CHANNEL: &str = "switchboard.channel_id";

/// The span field with API Gateway's request id, which callers see.
const REQUEST: &str = "switchboard.request_id";

/// The span field with the caller's tenant.
const TENANT: &str = "switchboard.tenant";

/// Returns the filter of log lines. The level applies to the workspace's own crates. Libraries log warnings at most,
/// because below that the runtime and the HTTP clients log whole events and headers with callers' tokens.
pub(crate) fn filter(level: LevelFilter, function: Option<&str>) -> Targets {
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(own(function).map(|name| (name, level)))
}

/// Returns the workspace's crates that run in a function.
pub(crate) fn own(function: Option<&str>) -> impl Iterator<Item = String> {
    CRATES.into_iter().map(str::to_owned).chain(function.map(str::to_owned))
}

/// Selects spans of the own crates, at any log level. They contain the fields of a line, and the trace that is passed
/// on.
pub(crate) fn spans(function: Option<&str>) -> Targets {
    Targets::new().with_targets(own(function).map(|name| (name, LevelFilter::INFO)))
}

/// Selects lines by their level, and all spans that may contain them. Finer events of libraries then cost one comparison:
/// otherwise each asks all filters when it is first met, and most are met before the first response.
pub(crate) fn lines(level: LevelFilter, function: Option<&str>) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + use<>> {
    let (lines, spans) = (filter(level, function), spans(function));
    filter_fn(move |metadata| {
        let by = if metadata.is_span() { &spans } else { &lines };
        by.would_enable(metadata.target(), metadata.level())
    })
    .with_max_level_hint(level.max(LevelFilter::INFO))
}

/// Stores the log fields of a span with it.
#[derive(Debug)]
pub(crate) struct LogFieldsLayer;

#[derive(Debug, Default)]
struct LogFields {
    channel: Option<String>,
    request: Option<String>,
    /// Recorded when the token is verified.
    tenant: Option<String>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogFieldsLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !attributes.metadata().fields().iter().any(|field| matches!(field.name(), CHANNEL | REQUEST)) {
            return;
        }
        let mut known = LogFields::default();
        attributes.record(&mut known);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(known);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(known) = extensions.get_mut::<LogFields>() {
            values.record(known);
        }
    }
}

/// Adds the fields of a span to a line, if the line does not have them.
pub(crate) fn add_span_fields(extensions: &Extensions<'_>, line: &mut Map<String, Value>) {
    let mut add = |name: &str, value: &str| {
        line.entry(name).or_insert_with(|| value.into());
    };
    if let Some(remote) = extensions.get::<ParentContext>() {
        add("trace_id", &remote.trace_id());
    }
    if let Some(LogFields { channel, request, tenant }) = extensions.get() {
        let fields = [("channel_id", channel), ("request_id", request), ("tenant", tenant)];
        for (name, value) in fields {
            if let Some(value) = value {
                add(name, value);
            }
        }
    }
}

impl Visit for LogFields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            CHANNEL => self.channel = Some(format!("{value:?}")),
            REQUEST => self.request = Some(format!("{value:?}")),
            TENANT => self.tenant = Some(format!("{value:?}")),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            CHANNEL => self.channel = Some(value.to_owned()),
            REQUEST => self.request = Some(value.to_owned()),
            TENANT => self.tenant = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// A flat JSON object per line, with the fields of the event and of its spans.
#[derive(Debug)]
pub(crate) struct Json;

/// Writes JSON lines. They take the fields from [`LogFieldsLayer`], so that spans are not formatted as text.
pub(crate) fn json_lines<S>() -> fmt::Layer<S, impl for<'a> FormatFields<'a> + 'static, Json>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let unwritten = debug_fn(|_, _, _| Ok(()));
    fmt::layer().fmt_fields(unwritten).event_format(Json)
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> Result {
        let mut line = Map::new();
        event.record(&mut Fields(&mut line));
        let mut add = |name: &str, value: Value| {
            line.entry(name).or_insert(value);
        };
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        add("timestamp", timestamp.into());
        add("level", event.metadata().level().as_str().into());
        // Most lines are INFO, and report outcomes. Their messages are unique.
        if *event.metadata().level() != Level::INFO {
            add("target", event.metadata().target().into());
        }
        for span in context.event_scope().into_iter().flatten() {
            add_span_fields(&span.extensions(), &mut line);
        }
        if let Some(request_id) = invocation::request_id() {
            line.entry("request_id").or_insert_with(|| request_id.into());
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn add(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::info_span;
    use tracing_subscriber::{
        Registry,
        fmt::MakeWriter,
        layer::{Filter, SubscriberExt},
    };

    use super::*;

    #[test]
    fn libraries_never_say_more_than_their_warnings() {
        for level in [LevelFilter::TRACE, LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN] {
            let filter = filter(level, Some("on_connect"));
            for library in ["lambda_runtime", "lambda_http", "hyper_util", "aws_smithy_runtime", "reqwest"] {
                assert!(!filter.would_enable(library, &Level::INFO), "{library} at {level}");
                assert!(filter.would_enable(library, &Level::WARN), "{library} at {level}");
            }
            for own in ["on_connect::handler", "chat::app::send", "auth"] {
                assert_eq!(filter.would_enable(own, &Level::DEBUG), level >= LevelFilter::DEBUG, "{own} at {level}");
            }
        }
        assert!(!filter(LevelFilter::ERROR, None).would_enable("hyper_util", &Level::WARN));
    }

    #[test]
    fn no_finer_level_than_needed_is_asked_for() {
        for (level, finest) in [
            (LevelFilter::ERROR, LevelFilter::INFO),
            (LevelFilter::INFO, LevelFilter::INFO),
            (LevelFilter::TRACE, LevelFilter::TRACE),
        ] {
            let hint = Filter::<Registry>::max_level_hint(&super::lines(level, Some("on_connect")));
            assert_eq!(hint, Some(finest), "{level}");
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_tells_where_it_belongs() {
        let lines = Lines::default();
        let format = json_lines().with_writer(lines.clone());
        let subscriber = tracing_subscriber::registry().with(LogFieldsLayer).with(format);
        tracing::subscriber::with_default(subscriber, || {
            let span = info_span!(
                "outer",
                switchboard.channel_id = "lobby",
                switchboard.request_id = "r-1",
                switchboard.tenant = tracing::field::Empty,
            );
            span.record("switchboard.tenant", "acme");
            let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            ParentContext::of(Some(traceparent), None).unwrap().attach_to(&span);
            span.in_scope(|| info_span!("inner").in_scope(|| tracing::warn!(count = 3, ok = true, "it \"happened\"")));
            tracing::info!(channel_id = %"own", "outside");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let inside = &lines[0];
        assert_eq!(inside["message"], "it \"happened\"");
        assert_eq!((&inside["level"], &inside["count"], &inside["ok"]), (&json!("WARN"), &json!(3), &json!(true)));
        assert!(inside["target"].as_str().unwrap().starts_with("telemetry::logs"));
        assert_eq!((&inside["channel_id"], &inside["request_id"]), (&json!("lobby"), &json!("r-1")));
        assert_eq!(inside["tenant"], "acme");
        assert_eq!(inside["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert!(inside["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(lines[1]["channel_id"], "own");
        assert_eq!((lines[1].get("trace_id"), lines[1].get("target")), (None, None));
    }
}
