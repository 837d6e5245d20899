//! Entries of the audit log: taken from events of the domain, and stored after the response in a log group of their own.
//!
//! An entry is an event with the target [`AUDIT_TARGET`], whose field `entry` is a JSON object. It gets the request, the
//! trace, the tenant and the function. An entry that cannot be stored becomes a log line of the function, so that it is
//! not lost.

use std::{
    fmt::Debug,
    mem,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use futures::future::BoxFuture;
use lambda_runtime::Error;
use serde_json::{Map, Value};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

use crate::{invocation, logs, variable};

/// Target of the events with entries. `chat` has the same text.
pub const AUDIT_TARGET: &str = "audit";

/// Field of the events with the entry.
const ENTRY: &str = "entry";

/// Entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// JSON object.
    pub text: String,
}

/// Store of entries.
pub trait AuditSink: Send + Sync {
    /// Stores entries, in the order of their times.
    fn store<'a>(&'a self, lines: &'a [AuditLine]) -> BoxFuture<'a, Result<(), Error>>;
}

/// Entries of the current invocation.
static ENTRIES: Mutex<Vec<AuditLine>> = Mutex::new(Vec::new());

fn take() -> Vec<AuditLine> {
    mem::take(&mut *ENTRIES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Stores the entries since the last call.
pub(crate) async fn store(sink: Option<&dyn AuditSink>) {
    let lines = take();
    if lines.is_empty() {
        return;
    }
    let Some(sink) = sink else {
        for line in lines {
            tracing::info!(entry = line.text, "audit entry without a log group");
        }
        return;
    };
    if let Err(error) = sink.store(&lines).await {
        for line in lines {
            tracing::error!(%error, entry = line.text, "audit entry was not stored");
        }
    }
}

/// Returns the layer that takes the entries.
pub(crate) fn layer<S>(function: Option<&str>) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let spans = logs::spans(function);
    // Spans are included, because an entry takes fields of the spans around it.
    let filter = filter_fn(move |metadata: &Metadata<'_>| {
        let of_span = metadata.is_span() && spans.would_enable(metadata.target(), metadata.level());
        of_span || metadata.target() == AUDIT_TARGET
    });
    let function = variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    AuditLayer { function }.with_filter(filter.with_max_level_hint(LevelFilter::INFO))
}

struct AuditLayer {
    function: String,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for AuditLayer {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut entry = Entry(None);
        event.record(&mut entry);
        let Some(Ok(Value::Object(mut line))) = entry.0.map(|text| serde_json::from_str(&text)) else { return };
        line.entry("function").or_insert_with(|| self.function.as_str().into());
        for span in context.event_scope(event).into_iter().flatten() {
            logs::add_span_fields(&span.extensions(), &mut line);
        }
        if let Some(request_id) = invocation::request_id() {
            line.entry("request_id").or_insert_with(|| request_id.into());
        }
        add(line);
    }
}

fn add(line: Map<String, Value>) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    let line = AuditLine { at, text: Value::Object(line).to_string() };
    ENTRIES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// Text of the entry in an event.
struct Entry(Option<String>);

impl Visit for Entry {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == ENTRY {
            self.0 = Some(value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Sink that keeps the entries, or fails.
    struct Kept(Mutex<Vec<AuditLine>>, bool);

    impl AuditSink for Kept {
        fn store<'a>(&'a self, lines: &'a [AuditLine]) -> BoxFuture<'a, Result<(), Error>> {
            Box::pin(async move {
                self.0.lock().unwrap().extend_from_slice(lines);
                if self.1 { Err("the service is away".into()) } else { Ok(()) }
            })
        }
    }

    /// One test, because all entries of a process are in one list.
    #[tokio::test]
    async fn entries_are_stored_once_with_the_fields_of_their_request() {
        let subscriber = tracing_subscriber::registry()
            .with(logs::LogFieldsLayer.with_filter(logs::spans(Some("telemetry"))))
            .with(layer(Some("telemetry")));
        tracing::subscriber::with_default(subscriber, || {
            let span = info_span!("request", switchboard.request_id = "r-1", switchboard.channel_id = "of the path");
            let text = json!({ "action": "channel_deleted", "channel_id": "c" }).to_string();
            span.in_scope(|| tracing::info!(target: AUDIT_TARGET, entry = text.as_str(), "audit entry"));
            span.in_scope(|| tracing::info!(entry = text.as_str(), "another target"));
            tracing::info!(target: AUDIT_TARGET, entry = "no JSON", "audit entry");
        });
        let kept = Kept(Mutex::default(), false);
        store(Some(&kept)).await;
        store(Some(&kept)).await;
        let lines = kept.0.lock().unwrap().clone();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0].text).unwrap();
        assert_eq!((&line["action"], &line["channel_id"]), (&json!("channel_deleted"), &json!("c")));
        assert_eq!(line["request_id"], "r-1");
        assert!(lines[0].at > 0);

        let failing = Kept(Mutex::default(), true);
        add(Map::from_iter([("action".to_owned(), json!("x"))]));
        store(Some(&failing)).await;
        assert_eq!(failing.0.lock().unwrap().len(), 1);
        assert!(take().is_empty(), "an entry that was not stored becomes a log line");
    }
}
